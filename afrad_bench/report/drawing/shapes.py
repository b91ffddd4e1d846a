"""What there is to draw, as values: points, lines, bars and pictures, without a word on how they look.

A report holds drawings; they become SVG and PNG when it is written (`report.pictures`), and only if they have changed.
Colours, dashes and markers belong to the place of a row in the suite (`style`), so that a method looks the same in
every figure of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Numbers = tuple[float, ...]
View = Literal["history", "importances", "slice", "parallel", "pareto"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a gallery."""

    kind: Literal["image", "mask", "map", "none"]
    data: bytes = b""
    """An image file as the store keeps it."""
    span: tuple[float, float] = (0.0, 1.0)
    """Of a map: where its 0 and its 255 lie on the scale that is shown, whose ends are 0 and 1."""
    outline: bytes = b""
    """Of a map: the mask whose border is drawn on it."""
    text: str = ""
    """Stands below it, or in its place if there is none."""


@dataclass(frozen=True, slots=True)
class Column:
    """One image and what each row shows of it."""

    group: str
    """Category; neighbours of one group share a head."""
    head: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Rows × columns of pictures."""

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    scale: str
    """What the two ends of the colour scale stand for."""


@dataclass(frozen=True, slots=True)
class Bubble:
    """A measured method: its cost, its accuracy with the spread over seeds, its size."""

    label: str
    style: int
    x: float
    y: float
    spread: float | None
    size: float | None
    """Drawn as an area; None where it is not known."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A published accuracy that comes without a cost."""

    label: str
    style: int
    y: float


@dataclass(frozen=True, slots=True)
class Bubbles:
    """Accuracy against cost."""

    bubbles: tuple[Bubble, ...]
    marks: tuple[Mark, ...]
    x_label: str
    y_label: str
    size_label: str
    marks_label: str = ""
    shared: bool = True
    """Whether published and measured accuracies are of the same data, and so may share their axis."""


@dataclass(frozen=True, slots=True)
class Stroke:
    """One line of a panel; `low` and `high` bound the seeds where there are several."""

    style: int
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """The lines of one category."""

    title: str
    strokes: tuple[Stroke, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """A panel for each category, all on the same axes."""

    panels: tuple[Panel, ...]
    labels: tuple[tuple[int, str], ...]
    """Style -> name of the row."""
    x_label: str
    y_label: str
    x_limit: float = 1.0
    diagonal: bool = True
    """Whether to draw the line of a coin toss."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Scores of one method on one category: shares of the normal and of the anomalous images in each bin."""

    edges: Numbers
    normal: Numbers
    anomalous: Numbers
    note: str = ""


@dataclass(frozen=True, slots=True)
class Histograms:
    """Rows × columns of bars: methods × categories."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    bars: tuple[tuple[Bars | None, ...], ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A trial of a search. Values are empty for one that was ended early."""

    number: int
    params: tuple[tuple[str, float | int | str | bool | None], ...]
    distributions: tuple[tuple[str, str], ...]
    """Parameter -> what it was drawn from, as Optuna writes it (JSON)."""
    values: Numbers


@dataclass(frozen=True, slots=True)
class Attempts:
    """One of Optuna's views of a study."""

    view: View
    directions: tuple[Literal["maximize", "minimize"], ...]
    names: tuple[str, ...]
    """Of the objectives."""
    trials: tuple[Attempt, ...]
    params: tuple[str, ...] = ()
    """The parameters that slices show."""


@dataclass(frozen=True, slots=True)
class CriticalDifference:
    """Mean ranks on a line, best first, and bars over those that cannot be told apart."""

    labels: tuple[str, ...]
    ranks: Numbers
    groups: tuple[tuple[int, ...], ...]
    """Places in `labels`."""


Drawing = Gallery | Bubbles | Curves | Histograms | Attempts | CriticalDifference


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture: what to draw, how to read it, and what it shows in words for those who cannot see it."""

    key: str
    """Name of its files, unique in the report."""
    title: str
    description: str
    caption: tuple[str, ...]
    stamp: tuple[str, ...]
    """Stands inside the picture, which may travel alone: suite, profile, data, seeds, and every alarm."""
    drawing: Drawing
    folded: bool = False
    """Detail that a page may hide until it is asked for."""
