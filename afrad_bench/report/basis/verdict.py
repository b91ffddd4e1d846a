"""Compare a measured value with a published one: reproduced, not reproduced, or not comparable and why.

Comparable means measured on the paper's terms (`afrad_bench.published.PROTOCOL`): its data with all categories and
images, its image size and setting, a configuration that the method was published with (`methods.recipes`: every field,
the backbone and its weights among them), no random weights, and the usual definitions of the metrics. A time is
comparable only on the paper's GPU, whatever the training was.
Reproduced means that the gap is within the tolerance, or within our standard deviation over seeds if that is larger."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from afrad_bench import published
from afrad_bench.methods.recipes import TRAINING, shown
from afrad_bench.published import PROTOCOL, Figure
from afrad_bench.report.basis.recipes import Unknown, differences_of
from afrad_bench.report.basis.results import Run, doubts
from afrad_bench.report.basis.terms import count
from afrad_bench.report.model import Quote, RowSpec, Summary, Verdict
from afrad_bench.types import MEAN

TOLERANCE_POINTS = 0.5
"""For a percentage, in points: covers printed rounding, other metric code and other libraries."""
TOLERANCE_RELATIVE = 0.1
"""For any other value, as a fraction of the published one."""

NOT_PUBLISHED = "differ from the published data set"
"""Text in a data set's note if the number of its images is not the published one."""

RULE = (
    f"Verdicts: reproduced means within {TOLERANCE_POINTS} points ({TOLERANCE_RELATIVE:.0%} of a time) or, if larger, "
    "within our standard deviation over seeds."
)


def published_for(
    table: str | None, row: RowSpec, dataset: str, metric: str, category: str | None
) -> tuple[Figure, ...]:
    """The paper's values to compare with a measured one; `category` is None for a metric without categories.

    These are the values for the same data set or, if the paper has none, the values for its own data sets."""
    if table is None or row.published_row is None:
        return ()
    found = tuple(
        figure
        for figure in published.figures(table)
        if (figure.row, figure.metric, figure.category) == (row.published_row, metric, category)
    )
    same = tuple(figure for figure in found if figure.dataset in (None, dataset))
    return same or found


@dataclass(frozen=True, slots=True)
class Beside:
    """What was measured in the place of a published value, and beside it."""

    summary: Summary
    """Of the row itself."""
    runs: Sequence[Run]
    """The runs of this summary."""
    others: Sequence[Run]
    """Runs of the other rows in the same column."""
    categories: Sequence[str]
    """Categories in the measured mean."""


def judge(figures: Sequence[Figure], row: RowSpec, beside: Beside) -> tuple[Quote, ...]:
    """A quote with its verdict for each published value. A value of a row that was not measured is held against the
    other rows of its column, beside which it stands."""
    several = len({figure.dataset for figure in figures}) > 1
    return tuple(_judge(figure, row, beside, several) for figure in figures)


def _judge(figure: Figure, row: RowSpec, beside: Beside, named: bool) -> Quote:
    summary, others = beside.summary, beside.others
    text, dataset = f"{figure.value:.1f}", (figure.dataset or "") if named else ""
    if summary.mean is not None:
        why = differences(figure, row, beside.runs, beside.categories)
        why += tuple(f"unreliable ({doubt})" for note in summary.notes for doubt in doubts(note))
    else:
        why = differences(figure, row, others, beside.categories, own=False) if others else ()
    told = "not comparable: " + "; ".join(why) if why else ""
    if summary.mean is None:
        return Quote(text, figure.value, "not measured", told, dataset)
    if why:
        return Quote(text, figure.value, "not comparable", told, dataset)
    percent = figure.unit == "%"
    tolerance = TOLERANCE_POINTS if percent else TOLERANCE_RELATIVE * figure.value
    gap = summary.mean - figure.value
    allowed = max(tolerance, summary.std or 0.0)
    verdict: Verdict = "reproduced" if abs(gap) <= allowed + 1e-9 else "not reproduced"
    return Quote(text, figure.value, verdict, dataset=dataset, gap=f"{gap:+.1f}".replace("-", "−"))


def differences(
    figure: Figure, row: RowSpec, runs: Iterable[Run], categories: Sequence[str], *, own: bool = True
) -> tuple[str, ...]:
    """Every term in which the runs differ from the paper; empty if they are comparable. Without `own`, only the terms
    that a whole column shares: not the configuration of a row and its weights."""
    runs = tuple(runs)
    place = None if row.published_row is None else (figure.table, row.published_row)
    if figure.dataset is None:
        return (
            *_differ(runs, "image size", "image_size", PROTOCOL.image_size, " px"),
            *(_other_configuration(runs, place, trained=False) if own else ()),
            *_other_device(runs),
        )
    data = _differ(runs, "data", "dataset", figure.dataset)
    if not data and figure.category == MEAN:
        data = _other_categories(figure.dataset, categories)
    return (
        *data,
        *(() if data else _other_images(runs)),
        *_differ(runs, "image size", "image_size", PROTOCOL.image_size, " px"),
        *_differ(runs, "setting", "setting", PROTOCOL.setting),
        *(_other_configuration(runs, place, figure.dataset) if own else ()),
        *(_stopped_early(runs) if own else ()),
        *(("random weights ≠ pretrained",) if own and any(run.is_random for run in runs) else ()),
        *_other_definition(runs, figure.metric),
    )


def _other_configuration(
    runs: Sequence[Run], place: tuple[str, str] | None, dataset: str | None = None, *, trained: bool = True
) -> tuple[str, ...]:
    """Every field in which the runs differ from the published configuration, with that for the figure's data set if
    one is given. Without `trained`, only what a fitted method's time may depend on."""
    found: dict[str, None] = {}
    for run in runs:
        try:
            differs = differences_of(run, place, dataset)
        except Unknown as error:
            return (f"published configuration not known ({error})",)
        for change in differs.changes if trained else differs.timed:
            found[f"{change.field} {shown(change.value)} ≠ {shown(change.published)}"] = None
    return tuple(found)


def _stopped_early(runs: Sequence[Run]) -> tuple[str, ...]:
    """Runs that trained for fewer epochs than their configuration says."""
    found: dict[str, None] = {}
    for run in runs:
        wanted = ((run.row["params"] or {}).get(TRAINING) or {}).get("epochs")
        if wanted is not None and run.row["epochs"] != wanted:
            done = run.row["epochs"]
            found[f"trained epochs {'not recorded' if done is None else done} ≠ {wanted}"] = None
    return tuple(found)


def _differ(runs: Sequence[Run], what: str, term: str, expected: object, unit: str = "") -> tuple[str, ...]:
    strange = [value for value in dict.fromkeys(run.term(term) for run in runs) if value != expected]
    values = ", ".join("not recorded" if value is None else f"{value}{unit}" for value in strange)
    return (f"{what} {values} ≠ {expected}{unit}",) if strange else ()


def _other_device(runs: Sequence[Run]) -> tuple[str, ...]:
    names = dict.fromkeys(str(run.term("device_name") or run.term("device") or "not recorded") for run in runs)
    strange = [name for name in names if PROTOCOL.device_name not in name]
    return (f"device {', '.join(strange)} ≠ {PROTOCOL.device_name}",) if strange else ()


def _other_images(runs: Sequence[Run]) -> tuple[str, ...]:
    """Whether images were left out on purpose, or the loader found other images than the published ones."""
    limits = dict.fromkeys(
        f"{name} {value}"
        for run in runs
        for name, value in (run.row["dataset_params"] or {}).items()
        if name in ("limit_train", "limit_test") and value is not None
    )
    if limits:
        return (f"fewer images ({', '.join(limits)}) ≠ all",)
    strange = any(NOT_PUBLISHED in note for run in runs for note in run.row["notes"] or ())
    return ("other images than were published, by their counts",) if strange else ()


def _other_definition(runs: Iterable[Run], metric: str) -> tuple[str, ...]:
    """Options that make it a different metric: for AUPRO, a false positive rate other than 0.3 or other regions; for
    image and pixel metrics, any unusual convention."""
    usual: dict[str, object] = {"image_score": "method"} if metric.startswith("image_") else {}
    if metric.startswith("pixel_"):
        usual |= {"resolution": "input", "mask_rule": "nearest"}
    if metric == "pixel_aupro":
        usual |= {"fpr_limit": 0.3, "connectivity": 8}
    strange: dict[str, None] = {}
    for run in runs:
        options = json.loads((run.measures.get("accuracy", {}).get("terms") or {}).get("options", "{}"))
        for name, value in usual.items():
            if options.get(name, value) != value:
                strange[f"{name} {options[name]} ≠ {value}"] = None
    return tuple(strange)


def _other_categories(dataset: str, measured: Sequence[str]) -> tuple[str, ...]:
    wanted = published.categories(dataset)
    if set(measured) == set(wanted):
        return ()
    known = sum(category in wanted for category in measured)
    return (f"mean over {count(len(measured), 'category')}, {known} of them among the paper's {len(wanted)}",)
