"""Figures that other sources publish for the methods of the paper: the same data sets, but independent runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from afrad_bench.published._read import lines


@dataclass(frozen=True, slots=True)
class Independent:
    """One figure that another source prints, with the conditions that it states.

    The sources are ADer, which trained all methods in the same way, and MambaAD's comparison table, which later papers
    repeat. ADer's lines are its whole benchmark table for these data sets, including methods that the paper does not
    compare. Figures are not corrected, and missing information is not filled in."""

    source: str
    """Short name, e.g. "ADer"."""
    method: str
    """As in `Figure.row` if the paper has the method, else a name of the same form."""
    dataset: str
    category: str
    """Always "mean" so far: these sources do not print categories."""
    metric: str
    value: float
    """As printed, in the unit."""
    unit: str
    epochs: int | None
    """None if the source does not state it."""
    image_size: int
    """Side of the input in pixels."""
    setting: str
    seeds: int | None
    """Number of seeds; None if the source does not state it."""
    confidence: str
    """"T": read in a table of the paper or of its authors' repository; "A": in an abstract or on a leaderboard;
    "r": from memory, not verified; "M": measured with the official code."""
    citation: str
    note: str
    """A known reason why the figure is not comparable, or empty."""

    @property
    def label(self) -> str:
        """The source and the number of epochs, e.g. "ADer, 100 epochs"."""
        return f"{self.source}, {self.epochs} epochs" if self.epochs else self.source


@cache
def independent() -> tuple[Independent, ...]:
    """Every figure from other sources, source by source.

    >>> [f.value for f in independent() if (f.label, f.method, f.metric) == ("ADer, 100 epochs", "diad", "pixel_aupro")]
    [63.9, 44.5, 58.1]
    """
    return tuple(
        Independent(
            source=line["source"],
            method=line["method"],
            dataset=line["dataset"],
            category=line["category"],
            metric=line["metric"],
            value=float(line["value"]),
            unit=line["unit"],
            epochs=int(line["epochs"]) if line["epochs"] else None,
            image_size=int(line["image_size"]),
            setting=line["setting"],
            seeds=int(line["seeds"]) if line["seeds"] else None,
            confidence=line["confidence"],
            citation=line["citation"],
            note=line["note"],
        )
        for line in lines("independent")
    )
