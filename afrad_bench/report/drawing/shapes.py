"""Drawings as values: points, lines, bars and images, independent of how they look.

A report holds drawings. They become SVG and PNG files when the report is written (`report.drawing.pictures`), and only
if they have changed. Colours and dashes depend on the index of a row in the suite (`style`), so a method looks the same
in every figure of a report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

Numbers = tuple[float, ...]
View = Literal["history", "importances", "slice", "parallel", "pareto"]


@dataclass(frozen=True, slots=True)
class Tile:
    """One image of a gallery."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"ser_json_bytes": "base64", "val_json_bytes": "base64"}
    kind: Literal["image", "mask", "map", "none"]
    data: bytes = b""
    """An image file, as it is in the store."""
    span: tuple[float, float] = (0.0, 1.0)
    """For a map: where its values 0 and 255 are on the colour scale, which runs from 0 to 1."""
    outline: bytes = b""
    """For a map: the mask whose border is drawn on it."""
    text: str = ""
    """Shown below the image, or in its place if there is none."""


@dataclass(frozen=True, slots=True)
class Column:
    """One test image: a tile for each row of the gallery."""

    group: str
    """Category; adjacent columns of one category share a heading."""
    head: str
    tiles: tuple[Tile, ...]
    image: str = ""
    """Id of the image in its data set."""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Rows × columns of images."""

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    scale: str
    """Meaning of the two ends of the colour scale."""


@dataclass(frozen=True, slots=True)
class Bubble:
    """A measured method: its cost, its accuracy with the spread over seeds, its size."""

    label: str
    style: int
    x: float
    y: float
    spread: float | None
    size: float | None
    """Drawn as an area; None if unknown."""
    text: str = ""
    """What a page says of it under the pointer."""
    range: tuple[float, float] | None = None
    """The cost of single calls, from low to high; None if it does not vary."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A published accuracy without a published cost."""

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
    """Whether published and measured accuracies are for the same data and can share an axis."""

    @property
    def front(self) -> tuple[Bubble, ...]:
        """The Pareto front, cheapest first: whatever is more accurate than one of them costs more."""
        found: list[Bubble] = []
        for bubble in sorted(self.bubbles, key=lambda each: (each.x, -each.y)):
            if not found or bubble.y > found[-1].y:
                found.append(bubble)
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Stroke:
    """One line of a panel; with several seeds, `low` and `high` are their lowest and highest values."""

    style: int
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()


@dataclass(frozen=True, slots=True)
class Panel:
    """The lines of one category, or of one method."""

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
    """Whether to draw the diagonal, the curve of a random classifier."""


@dataclass(frozen=True, slots=True)
class Losses:
    """A panel for each method, each on its own axes: mean loss by epoch, a line for each seed."""

    panels: tuple[Panel, ...]
    labels: tuple[tuple[int, str], ...]
    """Style -> name of the seed."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Score histogram of one method on one category: shares of the normal and of the anomalous images in each bin."""

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
    """A complete trial of a search."""

    number: int
    params: tuple[tuple[str, float | int | str | bool | None], ...]
    distributions: tuple[tuple[str, str], ...]
    """Parameter -> its distribution, as Optuna's JSON."""
    values: Numbers


@dataclass(frozen=True, slots=True)
class Attempts:
    """One of Optuna's plots of a study."""

    view: View
    directions: tuple[Literal["maximize", "minimize"], ...]
    names: tuple[str, ...]
    """Names of the objectives."""
    trials: tuple[Attempt, ...]
    params: tuple[str, ...] = ()
    """The parameters that slices show."""


@dataclass(frozen=True, slots=True)
class CriticalDifference:
    """Mean ranks on a line, best first, and bars over groups that do not differ significantly."""

    labels: tuple[str, ...]
    ranks: Numbers
    groups: tuple[tuple[int, ...], ...]
    """Indices into `labels`."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A difference with its interval, in a panel of a forest plot."""

    mean: float
    low: float | None
    high: float | None
    """Ends of the interval; None without one."""
    gain: Literal[-1, 0, 1]
    """Whether the difference is an improvement; 0 for none."""
    certainty: Literal["certain", "likely", "unclear"]
    text: str
    """The difference in words and figures."""


@dataclass(frozen=True, slots=True)
class ForestPanel:
    """One metric of a forest plot."""

    title: str
    higher_is_better: bool
    intervals: tuple[Interval | None, ...]
    """One for each row; None where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Differences of rows to one of them: a line for each row, a panel for each metric."""

    rows: tuple[str, ...]
    panels: tuple[ForestPanel, ...]
    reference: str


Judged = Literal["", "pass", "cannot tell", "regression"]


@dataclass(frozen=True, slots=True)
class Moment:
    """One metric of a row as one revision of the code measured it."""

    at: int
    """Index into the times of the drawing."""
    y: float
    spread: float | None
    """Standard deviation over seeds."""
    text: str
    """What a page says of it under the pointer."""
    joined: bool = True
    """Whether a line may lead to it from the moment before: both were measured on equal terms."""
    verdict: Judged = ""
    """What the gate said of it; empty if it was not asked."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One metric of one row over time."""

    style: int
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True)
class TimePanel:
    """One metric of a timeline."""

    title: str
    traces: tuple[Trace, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Metrics over revisions of the code, oldest first: a panel for each metric, a line for each row."""

    times: tuple[str, ...]
    labels: tuple[tuple[int, str], ...]
    """Style -> name of the row."""
    panels: tuple[TimePanel, ...]

    @property
    def moments(self) -> tuple[Moment, ...]:
        """All points, in the order in which they are drawn."""
        return tuple(moment for panel in self.panels for trace in panel.traces for moment in trace.moments)


@dataclass(frozen=True, slots=True)
class Span:
    """The cost of a row: the median of single calls, and the ends between which most of them are."""

    label: str
    low: float | None
    value: float
    high: float | None
    doubted: bool
    """Whether the times must not be trusted."""
    text: str
    """The numbers, in figures."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Costs as intervals, a line for each row."""

    spans: tuple[Span, ...]
    x_label: str
    meaning: str
    """What the dots and the ends are."""


@dataclass(frozen=True, slots=True)
class Dots:
    """Image scores of one kind of images, ascending, and the names of the images."""

    scores: Numbers
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """The image scores of one method on one category."""

    normal: Dots
    anomalous: Dots
    threshold: float | None
    """That of the best F1 on these images; None if there is none."""
    operating: float | None = None
    """The threshold of the stored operating point; None if none is stored."""


@dataclass(frozen=True, slots=True)
class Strips:
    """Rows × columns of strips: methods × categories."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    strips: tuple[tuple[Strip | None, ...], ...]


Drawing = (
    Gallery
    | Bubbles
    | Curves
    | Losses
    | Histograms
    | Attempts
    | CriticalDifference
    | Forest
    | Spans
    | Strips
    | Timeline
)


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: what to draw, how to read it, and a description for readers who cannot see it."""

    key: str
    """Name of its files without suffix, unique in the report."""
    title: str
    description: str
    caption: tuple[str, ...]
    stamp: tuple[str, ...]
    """Lines inside the picture, since it may be shown without its report: suite, profile, data, seeds, every alarm."""
    drawing: Drawing
    folded: bool = False
    """Details that a page may collapse."""
    dataset: str = ""
    """The data set that it is about; empty for a figure about several."""

    @property
    def photographs(self) -> bool:
        """Whether it shows images, whose colours must stay as they are."""
        return isinstance(self.drawing, Gallery)
