"""ROC and PRO curves and histograms of image scores by category, from the scores and curves in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from afrad_bench.report.basis import evidence
from afrad_bench.report.basis.evidence import Evidence, RowEvidence, not_drawn
from afrad_bench.report.basis.figures import blocks, key, label, named, of_data, over, part_of, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.drawing.shapes import Bars, Curves, Figure, Histograms, Panel, Stroke
from afrad_bench.report.model import Section
from afrad_bench.report.sections.strips import strips
from afrad_bench.types import Curve, Score

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray

    Line = tuple[FloatArray, FloatArray]

SEEDS = (
    "Lines: with several seeds, their mean at each false positive rate; the shade reaches from the lowest to the "
    "highest seed."
)
BINS, COLUMNS = 20, 8
PANELS, LINES = 72, 216
"""Largest number of histograms, and of lines in a figure of curves: each takes time to draw."""
_PLACES = 101
"""Number of x values at which the curves of several seeds are averaged; they are closer together near 0."""
_SLACK, _ENOUGH = 2e-4, 150


def curves(grid: Grid, found: Evidence) -> Section | None:
    """Folded figures of all curves and histograms; None if the store has neither scores nor curves."""
    figures: list[Figure] = []
    for dataset in grid.datasets:
        scores = [one for one in found.scores if one.dataset == dataset]
        pixels = [one for one in found.curves if one.dataset == dataset]
        figures += _lines(grid, dataset, "roc_images", scores, _image_line)
        figures += _lines(grid, dataset, "roc_pixels", pixels, _pixel_line("pixel_roc"))
        figures += _lines(grid, dataset, "pro", pixels, _pixel_line("pro"))
        figures += _histograms(grid, dataset, evidence.first_seeds(scores, dataset))
        figures += strips(grid, dataset, evidence.first_seeds(scores, dataset))
    if not figures:
        return None
    return Section("curves", "Curves and scores", (), (SEEDS, *_missing(found)), tuple(figures))


TITLES: Mapping[str, tuple[str, str, str]] = {
    "roc_images": ("ROC, images", "false positive rate, images", "true positive rate, images"),
    "roc_pixels": ("ROC, pixels", "false positive rate, pixels", "true positive rate, pixels"),
    "pro": ("PRO", "false positive rate, pixels", "mean overlap with the defective regions"),
}


def _missing(found: Evidence) -> tuple[str, ...]:
    """A note on rows with scores but without pixel curves: measured before curves were stored, or no masks or maps."""
    with_curves = {one.row.label for one in found.curves}
    without = dict.fromkeys(one.row.label for one in found.scores if one.row.label not in with_curves)
    if not without:
        return ()
    return (
        f"No curve over pixels is stored for {named(list(without))}: there are no masks or no maps, or the accuracy "
        "was measured before curves were kept (`run --force` measures it again).",
    )


# -------------------------------------------------------------------------------------------------------------- curves


def _image_line(scores: Sequence[Score]) -> Line | None:
    """The ROC curve of image scores; equal scores give a straight segment. None without normal or without anomalous
    images."""
    import numpy as np

    from afrad_bench.instruments.polyline import thinned

    labels = np.array([one.gt_label for one in scores])
    values = np.array([one.pred_score for one in scores])
    if not labels.any() or labels.all():
        return None
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # of each group of equal scores
    hits, alarms = labels[order].cumsum()[last], (~labels[order]).cumsum()[last]
    x, y = np.append(0.0, alarms / alarms[-1]), np.append(0.0, hits / hits[-1])
    return thinned(x, y, _SLACK, _ENOUGH)


def _pixel_line(kind: Literal["pixel_roc", "pro"]) -> Callable[[Sequence[Curve]], Line | None]:
    def made(of_category: Sequence[Curve]) -> Line | None:
        import numpy as np

        found = [curve for curve in of_category if curve.kind == kind]
        return (np.array(found[0].x), np.array(found[0].y)) if found else None

    return made


def _lines(
    grid: Grid,
    dataset: str,
    name: str,
    seen: Sequence[RowEvidence[evidence.T]],
    make: Callable[[Sequence[evidence.T]], Line | None],
) -> list[Figure]:
    """A figure with a panel for each category that has lines; no figure if there are no lines."""
    panels, labels = [], {}
    categories = evidence.categories(seen)
    styles = list(dict.fromkeys(one.style for one in seen))[: max(2, LINES // max(len(categories), 1))]
    shown: list[RowEvidence[evidence.T]] = [one for one in seen if one.style in styles]
    rest: list[RowEvidence[evidence.T]] = [one for one in seen if one.style not in styles]
    for category in categories:
        strokes = []
        for style, ones in groupby(shown, key=lambda one: one.style):
            of_row = list(ones)
            lines = [make(one.by_category[category]) for one in of_row if category in one.by_category]
            if drawn := [line for line in lines if line is not None]:
                strokes.append(_stroke(style, drawn))
                labels[style] = label(grid, of_row[0].row)
        if strokes:
            panels.append(Panel(category, tuple(strokes)))
    if not panels:
        return []
    title, x_label, y_label = TITLES[name]
    limit = max(x for panel in panels for stroke in panel.strokes for x in stroke.x)
    seeds = over((one.seed for one in seen), "mean over ")
    names = [text for _, text in sorted(labels.items())]
    return [
        Figure(
            key=key(grid, name, dataset),
            title=of_data(grid, title, dataset),
            description=f"{title}: one panel for each of {named([panel.title for panel in panels])}, "
            f"one line for each of {named(names)}. The areas under the lines stand in the tables by category.",
            caption=(f"{seeds[0].upper()}{seeds[1:]}, profile {grid.spec.profile}.", *not_drawn(rest)),
            stamp=stamp(grid, dataset, seeds),
            drawing=Curves(tuple(panels), tuple(sorted(labels.items())), x_label, y_label, limit, name != "pro"),
            folded=True,
            dataset=dataset,
        )
    ]


def _stroke(style: int, lines: Sequence[Line]) -> Stroke:
    import numpy as np

    from afrad_bench.instruments.polyline import spread

    if len(lines) == 1:
        return Stroke(style, *map(_rounded, lines[0]))
    at = min(float(x[-1]) for x, _ in lines) * np.linspace(0.0, 1.0, _PLACES) ** 2
    mean, low, high = spread(lines, at)
    # A curve starts at (0, 0), even if its value at x = 0 is higher.
    return Stroke(style, (0.0, *_rounded(at)), (0.0, *_rounded(mean)), (0.0, *_rounded(low)), (0.0, *_rounded(high)))


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)


# ---------------------------------------------------------------------------------------------------------- histograms


def _histograms(grid: Grid, dataset: str, seen: Sequence[RowEvidence[Score]]) -> list[Figure]:
    if not seen:
        return []
    categories = evidence.categories(seen)
    count = max(2, PANELS // len(categories))
    shown, rest = seen[:count], seen[count:]
    seeds = evidence.of_seeds(shown)
    labels = tuple(label(grid, one.row) for one in shown)
    parts = blocks(len(categories), COLUMNS)
    figures = []
    for number, part in enumerate(parts, 1):
        names = categories[part]
        bars = tuple(tuple(_bars(one.by_category.get(name, ())) for name in names) for one in shown)
        figures.append(
            Figure(
                key=key(grid, "score_histograms", dataset, number),
                title=of_data(grid, part_of("Image scores", number, parts), dataset),
                description=f"Histograms of the image scores of normal and anomalous images: a row for each of "
                f"{named(labels)}, a column for each of {named(names)}.",
                caption=(
                    f"Shares of the normal and of the anomalous test images in each of {BINS} bins, each kind on its "
                    f"own; every panel has its own scale of scores. Scores of {seeds}, profile {grid.spec.profile}.",
                    *not_drawn(rest),
                ),
                stamp=stamp(grid, dataset, seeds),
                drawing=Histograms(labels, names, bars),
                folded=True,
                dataset=dataset,
            )
        )
    return figures


def _bars(scores: Sequence[Score]) -> Bars | None:
    import numpy as np

    if not scores:
        return None
    values = np.array([one.pred_score for one in scores])
    labels = np.array([one.gt_label for one in scores])
    edges = np.histogram_bin_edges(values, BINS)

    def shares(of: Sequence[float]) -> tuple[float, ...]:
        counts, _ = np.histogram(of, edges)
        return tuple((counts / max(len(of), 1)).tolist())

    note = f"{np.count_nonzero(~labels)} normal, {np.count_nonzero(labels)} anomalous"
    return Bars(tuple(edges.tolist()), shares(values[~labels]), shares(values[labels]), note)
