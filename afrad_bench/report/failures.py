"""Misclassified images: the worst false negatives and false positives of each category, with pictures if the store has
them.

A method gives scores, not decisions, so a threshold is needed. By default it is the threshold with the best F1 of the
category. It is chosen on the test labels, so no other threshold has a higher F1. The alternative is a limit on the
share of normal test images that are called anomalous."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from afrad_bench.report.basis import evidence, results
from afrad_bench.report.basis.cautions import cautions
from afrad_bench.report.basis.evidence import RowEvidence, best_f1, collect
from afrad_bench.report.basis.figures import key, label, of_data, packed, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.terms import terms
from afrad_bench.report.build import checked
from afrad_bench.report.drawing.shapes import Figure, Gallery
from afrad_bench.report.model import Entry, Heading, Line, Report, ReportInput, Section, Table
from afrad_bench.report.sections.gallery import COLOURS, COLUMNS, SCALE, Shown
from afrad_bench.types import Example, Score

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["missed", "false alarm"]
NONE = (
    "None: every image is on the right side of the threshold of its category. A category whose test images are all "
    "normal, or all anomalous, has no threshold."
)
"""Stands in place of an empty table."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One image on the wrong side of the threshold."""

    row: str
    dataset: str
    seed: int
    category: str
    kind: Kind
    rank: int
    """1 is the worst failure of its category and kind."""
    of: int
    """Number of failures of its category and kind."""
    image_id: str
    defect: str
    score: float
    threshold: float
    above_normal: float
    """Share of the category's normal test images with a lower score; in [0, 1]."""


def failures(grid: Grid, seen: Sequence[RowEvidence[Score]], top: int, fpr: float | None) -> tuple[Failure, ...]:
    """The `top` worst failures of each kind, by category. An image is called anomalous if its score >= the threshold.

    With `fpr` None, the threshold is that of the best F1. Otherwise it is the lowest one at which at most the share
    `fpr` of the normal images is called anomalous. A category without normal or without anomalous images has no
    threshold and no failures."""
    found: list[Failure] = []
    for one in seen:
        for category, scores in one.by_category.items():
            normal = sorted(each.pred_score for each in scores if not each.gt_label)
            if not normal or len(normal) == len(scores):
                continue
            limit = best_f1(scores) if fpr is None else at_rate(normal, fpr)
            missed = sorted(
                (each for each in scores if each.gt_label and each.pred_score < limit), key=lambda each: each.pred_score
            )
            alarms = sorted(
                (each for each in scores if not each.gt_label and each.pred_score >= limit),
                key=lambda each: -each.pred_score,
            )
            kinds: tuple[tuple[Kind, list[Score]], ...] = (("missed", missed), ("false alarm", alarms))
            for kind, wrong in kinds:
                for rank, each in enumerate(wrong[:top], 1):
                    above = bisect_left(normal, each.pred_score) / len(normal)
                    found.append(
                        Failure(
                            *(one.row.label, one.dataset, one.seed, category, kind, rank, len(wrong)),
                            *(each.image_id, each.defect, each.pred_score, limit, above),
                        )
                    )
    return tuple(found)


def at_rate(normal: Sequence[float], fpr: float) -> float:
    """The lowest threshold at which at most the share `fpr` of normal images is called anomalous.

    `normal`: scores of the normal images, ascending.

    >>> at_rate([0.1, 0.2, 0.3, 0.4], 0.25) > 0.3
    True
    """
    import math

    allowed = int(fpr * len(normal) + 1e-9)
    if allowed >= len(normal):
        return normal[0]
    return math.nextafter(normal[len(normal) - allowed - 1], math.inf)


def failure_report(
    spec: ReportInput,
    cells: pd.DataFrame,
    measurements: pd.DataFrame,
    scores: pd.DataFrame,
    examples: pd.DataFrame | None,
    top: int,
    fpr: float | None,
) -> tuple[Report, tuple[Failure, ...]]:
    """The failures of every row of a suite, as a report and as values.

    Frames as for `build`. Each row shows its first seed with scores. Without `examples` there are no pictures."""
    grid = Grid(checked(spec), results.read(cells, measurements))
    found = collect(grid, scores, None, examples)
    sections: list[Section] = []
    all_of: list[Failure] = []
    for style, row in enumerate(grid.spec.rows):
        for dataset in grid.datasets:
            seen = [one for one in evidence.first_seeds(found.scores, dataset) if one.style == style]
            mine = failures(grid, seen, top, fpr)
            all_of += mine
            if seen:
                pictures = [
                    one
                    for one in found.examples
                    if (one.style, one.dataset, one.seed) == (style, dataset, seen[0].seed)
                ]
                figures = _figures(grid, Shown.of(grid, found, tuple(pictures)), dataset, mine) if pictures else ()
                title = of_data(grid, label(grid, row), dataset)
                tables, intro = ((_table(title, mine),), ()) if mine else ((), (NONE,))
                sections.append(Section(f"row-{len(sections) + 1}", title, tables, intro, figures))
    report = Report(
        suite=spec.suite,
        title=f"{spec.title}: what each method gets wrong",
        profile=spec.profile,
        reproduces="",
        command=spec.command,
        terms=terms(grid),
        warnings=cautions(grid, times=False),
        sections=(*_with_rule(sections, fpr, top),),
        facts=(),
        name="failures",
    )
    return report, tuple(all_of)


def _with_rule(sections: Sequence[Section], fpr: float | None, top: int) -> list[Section]:
    """Add to the first section how to read all sections."""
    chosen = (
        "the best F1 of its category, chosen on the test labels: the kindest choice in F1's sense, no operating point"
        if fpr is None
        else f"at most {fpr:.1%} of the category's normal test images being called anomalous"
    )
    rule = (
        f"The threshold is that of {chosen}. Images are called anomalous from it on; listed are the {top} missed ones "
        "of the lowest score and the false alarms of the highest, category by category.",
        *(
            (COLOURS,)
            if any(section.figures for section in sections)
            else (
                "No pictures: `--out FOLDER` writes those that the store has; a suite asks for them with the measure "
                "`gallery: {failures: 3}`.",
            )
        ),
    )
    return [replace(each, intro=(*each.intro, *rule)) if i == 0 else each for i, each in enumerate(sections)]


def _table(caption: str, found: Sequence[Failure]) -> Table:
    texts = ("Category", "Kind", "Image", "Defect", "Seed")
    numbers = ("Rank", "Score", "Threshold", "Above normal")
    lines = [Line(tuple(map(Entry, _texts(one)))) for one in found]
    headings = (*(Heading(text, numeric=False) for text in texts), *(Heading(text) for text in numbers))
    return Table(caption, headings, tuple(lines), keys=3)


def _texts(one: Failure) -> tuple[str, ...]:
    place = (one.category, one.kind, one.image_id, one.defect, str(one.seed))
    return (*place, f"{one.rank} of {one.of}", f"{one.score:.5g}", f"{one.threshold:.5g}", f"{one.above_normal:.0%}")


def _figures(grid: Grid, shown: Shown, dataset: str, found: Sequence[Failure]) -> tuple[Figure, ...]:
    """Galleries of the failures that have pictures in the store, in the order of the table."""
    (row,) = shown.rows
    pictures: dict[tuple[str, str], Example] = {}
    for category, of_category in row.by_category.items():
        for one in of_category:
            pictures.setdefault((category, one.image_id), one)
    wanted = [one for one in found if (one.category, one.image_id) in pictures]
    groups = [
        [one for one in wanted if one.category == category] for category in dict.fromkeys(w.category for w in wanted)
    ]
    made = []
    for number, part in enumerate(packed(groups, COLUMNS), 1):
        columns = tuple(
            shown.column(one.category, pictures[one.category, one.image_id], f"{one.kind} {one.rank}") for one in part
        )
        name = label(grid, row.row)
        made.append(
            Figure(
                key=key(grid, f"row_{row.style + 1}", dataset, number),
                title=of_data(grid, f"{name}: pictures" + (f" ({number})" if number > 1 else ""), dataset),
                description=f"Rows: image, ground truth, anomaly map of {name}. Columns: "
                + ", ".join(f"{one.image_id} ({one.kind})" for one in part),
                caption=(f"Pictures of seed {row.seed}, profile {grid.spec.profile}.",),
                stamp=stamp(grid, dataset, f"seed {row.seed}"),
                drawing=Gallery(("image", "ground truth", name), columns, SCALE),
            )
        )
    return tuple(made)
