"""Gallery: test images of each category kept with their heat maps, for the report's pictures. Measures no number.

Which images are kept is decided by the data alone, so that every method is shown on the same ones: of each category
the first defective image of each kind of defect in turn, and the first normal ones, in the order of the test split.
On request the images are kept too that a method gets most wrong; these differ from method to method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.types import Example, Metric, Subject

VERSION = "1"
TERMS: tuple[str, ...] = ()
METRICS: Mapping[str, Metric] = {}


class Config(BaseModel):
    """How many images are kept, and how large."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    defective: int = Field(2, ge=0, description="defective images of each category, of its kinds of defect in turn")
    good: int = Field(1, ge=0, description="normal images of each category")
    failures: int = Field(
        0,
        ge=0,
        description="per category, defective images that the method scores lowest and normal ones that it scores "
        "highest, this many of each; every test image is predicted again for it",
    )
    side: int = Field(192, ge=16, description="largest side of the kept pictures in pixels; smaller inputs stay as are")
    batch_size: int = Field(16, ge=1, description="images predicted at a time; no effect on what is kept")


def measure(subject: Subject, config: Config) -> Iterator[Example]:
    """Predict the images to keep, or with `failures` all of them; yields the chosen ones of each category in order,
    then the failures, the worst first. Raises `ValueError` for predictions of a wrong shape or that are not finite."""
    from afrad_bench.measures._gallery import examples

    yield from examples(subject, config)
