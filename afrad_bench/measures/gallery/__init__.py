"""Gallery: test images of each category kept with their heat maps, for the report's pictures. Measures no number.

Which images are kept is decided by the data alone, so that every method is shown on the same ones: of each category
the first defective image of each kind of defect in turn, and the first normal ones, in the order of the test split.
On request the images are kept too that a method gets most wrong; these differ from method to method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from afrad_bench.measures.gallery.config import Config
from afrad_bench.types import Example, Metric, Subject

__all__ = ["METRICS", "TERMS", "VERSION", "Config", "measure"]

VERSION = "1"
TERMS: tuple[str, ...] = ()
METRICS: Mapping[str, Metric] = {}


def measure(subject: Subject, config: Config) -> Iterator[Example]:
    """Predict the images to keep, or with `failures` all of them; yields the chosen ones of each category in order,
    then the failures, the worst first. Raises `ValueError` for predictions of a wrong shape or that are not finite."""
    from afrad_bench.measures.gallery.examples import examples

    yield from examples(subject, config)
