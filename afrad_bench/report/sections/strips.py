"""Strips of image scores: a dot for each test image of a method and category, the threshold of the best F1, and that of
the stored operating point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from afrad_bench.report.basis import evidence
from afrad_bench.report.basis.evidence import RowEvidence, not_drawn
from afrad_bench.report.basis.figures import blocks, key, label, named, of_data, part_of, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.terms import some
from afrad_bench.report.drawing.shapes import Dots, Figure, Strip, Strips
from afrad_bench.types import Score

COLUMNS, ROWS, PANELS = 6, 8, 42
"""Largest number of categories in a figure, and of methods and panels that are drawn; a panel takes time to draw."""
MEASURE, THRESHOLD = "operating_point", "threshold"
DOTS, MOST, LEAST = 6000, 60, 6
"""Dots that all figures of a data set share; largest and smallest number of a kind in one panel."""


def strips(grid: Grid, dataset: str, seen: Sequence[RowEvidence[Score]]) -> list[Figure]:
    """Figures for blocks of categories; `seen` has one seed of each row. Says what is not drawn."""
    if not seen:
        return []
    names = evidence.categories(seen)
    count = min(ROWS, max(2, PANELS // len(names)))
    shown, rest = seen[:count], seen[count:]
    most = min(MOST, max(LEAST, DOTS // (2 * len(shown) * len(names))))
    seeds = evidence.of_seeds(shown)
    labels = tuple(label(grid, one.row) for one in shown)
    parts = blocks(len(names), COLUMNS)
    figures = []
    for number, part in enumerate(parts, 1):
        made = tuple(tuple(_strip(grid, one, name, most) for name in names[part]) for one in shown)
        figures.append(
            Figure(
                key=key(grid, "score_strips", dataset, number),
                title=of_data(grid, part_of("Scores of single images", number, parts), dataset),
                description=f"A dot for each test image by its score, normal ones below anomalous ones: a row for each "
                f"of {named(labels)}, a column for each of {named(names[part])}.",
                caption=(*_caption(shown, most, seeds, grid.spec.profile), *_points(grid, shown), *not_drawn(rest)),
                stamp=stamp(grid, dataset, seeds),
                drawing=Strips(labels, names[part], made),
                folded=True,
                dataset=dataset,
            )
        )
    return figures


def _caption(shown: Sequence[RowEvidence[Score]], most: int, seeds: str, profile: str) -> list[str]:
    panels = [found for one in shown for found in one.by_category.values()]
    largest = max(len(_of(found, kind)) for found in panels for kind in (False, True))
    said = [
        "The height within a lane means nothing. Dashed: the threshold of the best F1, chosen on these labels, so that "
        "it is no operating point. On a page, a dot that is pointed at names its image, and shows it if the gallery "
        f"has it. Scores of {seeds}, profile {profile}."
    ]
    if largest > most:
        said.append(
            f"Of a panel with more than {most} images of a kind, {most} are drawn, at equal distances in rank, the "
            "lowest and the highest among them; the threshold is of all."
        )
    return said


def _points(grid: Grid, shown: Sequence[RowEvidence[Score]]) -> Iterator[str]:
    """What the operating points are, and what decided them; nothing if none is stored."""
    rows: dict[str, dict[str, None]] = {}
    for one in shown:
        for cell in one.cells.values():
            point = grid.of_cell(cell, MEASURE, THRESHOLD)
            if point.value is not None:
                rows.setdefault(point.note, {})[one.row.label] = None
    if rows:
        every = len({one.row.label for one in shown})
        notes = "; ".join(note if len(of) == every else f"{note} ({some(list(of))})" for note, of in rows.items())
        yield (
            "Solid, with its value, or an arrow where it is far from all dots: the stored operating point, one for all "
            f"categories of a model: {notes}."
        )


def _strip(grid: Grid, one: RowEvidence[Score], category: str, most: int) -> Strip | None:
    scores = one.by_category.get(category)
    if not scores:
        return None
    normal, anomalous = _of(scores, False), _of(scores, True)
    threshold = evidence.best_f1(scores) if normal and anomalous else None
    point = grid.of_cell(one.cells[category], MEASURE, THRESHOLD).value if category in one.cells else None
    return Strip(_dots(normal, most), _dots(anomalous, most), threshold, point)


def _of(scores: Iterable[Score], anomalous: bool) -> list[Score]:
    return [one for one in scores if one.gt_label == anomalous]


def _dots(scores: Sequence[Score], most: int) -> Dots:
    """At most so many of the images, at equal distances in rank, the lowest and the highest among them."""
    ordered = sorted(scores, key=lambda one: (one.pred_score, one.image_id))
    if len(ordered) > most:
        ordered = [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]
    return Dots(tuple(float(f"{one.pred_score:.6g}") for one in ordered), tuple(one.image_id for one in ordered))
