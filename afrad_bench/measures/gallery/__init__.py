"""Gallery: test images of each category kept with their heat maps, for the report's pictures. Measures no number.

The choice of images depends on the data alone, so that all methods show the same ones: for each category the first
defective image of each kind of defect in turn, and the first normal ones, in the order of the test split. Optionally it
also keeps the images that a method scores worst; these differ between methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from afrad_bench.measures.gallery.config import Config
from afrad_bench.types import Example, Metric, Subject

__all__ = ["METRICS", "TERMS", "VERSION", "Config", "measure"]

VERSION = "1"
TERMS: tuple[str, ...] = ()
METRICS: Mapping[str, Metric] = {}


def measure(subject: Subject, config: Config) -> Iterator[Example]:
    """Predict the chosen images, or with `failures` all of them; yields per category the chosen ones in order, then the
    failures, worst first. Raises `ValueError` for predictions that have a wrong shape or are not finite."""
    from afrad_bench.measures.gallery.examples import examples

    yield from examples(subject, config)
