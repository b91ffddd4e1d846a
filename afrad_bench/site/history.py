"""The history of each number over revisions of the code: figures, tables, and what the gate said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from afrad_bench.comparing.gate import GRAVITY
from afrad_bench.comparing.record import Record, RecordedCheck
from afrad_bench.comparing.show import LEVELS, SIGNS
from afrad_bench.comparing.side import metrics
from afrad_bench.report import Report
from afrad_bench.report.basis.comparison import Item, fact, incomparable
from afrad_bench.report.basis.figures import named
from afrad_bench.report.basis.grid import Grid, Measured
from afrad_bench.report.basis.results import doubts
from afrad_bench.report.basis.tables import defined, heading, items, summary_table
from afrad_bench.report.drawing.shapes import Figure, Judged, Moment, Timeline, TimePanel, Trace
from afrad_bench.report.model import Entry, Fact, Heading, Line, RowSpec, Section, Table
from afrad_bench.site.layout import HISTORY, Shown, by_place, caption_of, counted, framed, grid_on, noted
from afrad_bench.site.stored import UNKNOWN, Group, Opened, by_revision, parted, revisions_of
from afrad_bench.types import MEAN

IN_TIME = (
    "A line is a row of a suite as one revision of the code measured it, with the newest run of each cell; "
    "“+” after a revision: the code had uncommitted changes.",
    "Nothing is ranked here: whether a difference is more than noise, `afrad-bench compare` and `gate` tell.",
)
MARKED: Mapping[str, Judged] = {"pass": "pass", "cannot tell": "cannot tell", "regression": "regression"}
"""Verdicts with a sign in figures; an advisory one decides nothing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A check of a gate, and the gate that it is from."""

    record: Record
    check: RecordedCheck

    @property
    def text(self) -> str:
        return f"gate of {_minute(self.record)}: {self.check.verdict} against {self.record.base} ({self.check.why})"


def history(stores: Sequence[Opened], shown: Sequence[Shown], records: Sequence[Record] = ()) -> Report:
    """A section for each data set and setting: every metric of each row, by revision of the code and date, with the
    verdicts of gates on these runs; then the gates."""
    by_time = {id(one): by_revision(one.group) for one in shown}
    every = [Judgement(record, check) for record in records for check in record.checks]
    known: set[str] = set()
    sections = []
    for key, (dataset, setting, here) in by_place(shown).items():
        figures: list[Figure] = []
        tables: list[Table] = []
        revisions: dict[str, str] = {}
        for number, one in enumerate(here, 1):
            group, grid = by_time[id(one)], grid_on(by_time[id(one)], dataset)
            figure = _figure(f"{key}-{number}", caption_of(one, shown), dataset, group, grid, every)
            figures += [] if figure is None else [figure]
            tables += _tables(caption_of(one, shown), group, grid)
            cells, ids = group.frames["cells"], [cell.id for row in grid.spec.rows for cell in row.cells]
            runs, of_run = cells["run_id"][cells["cell_id"].isin(ids)], revisions_of(one.group)
            revisions |= {run: of_run[run] for run in runs}
        known |= revisions.keys()
        if mine := [each for each in every if revisions.keys() & {*each.check.runs}]:
            tables.append(_verdicts("Verdicts of the gate", mine, revisions))
        sections.append(
            Section(key, f"{dataset} · {setting}", tuple(tables), IN_TIME, tuple(figures), figures_first=True)
        )
    if records:
        left = [each for each in every if not known & {*each.check.runs}]
        told = [_gates(records)]
        told += [_verdicts("Verdicts on runs that are not in these stores", left, {})] if left else []
        sections.append(Section("gates", "Gates", tuple(told)))
    return framed(HISTORY, "History", tuple(sections), stores, _answer(records), tabbed=True)


def _answer(records: Sequence[Record]) -> tuple[str, ...]:
    if not records:
        return ()
    newest = records[-1]
    return (f"The newest of {counted(len(records), 'gate')}, {_minute(newest)}: {newest.verdict}.",)


# ------------------------------------------------------------------------------------------------------------- figures


def _figure(
    key: str, terms: str, dataset: str, group: Group, grid: Grid, judgements: Sequence[Judgement]
) -> Figure | None:
    """The headline metrics of the rows that several revisions measured; None if there are none."""
    first = group.frames["cells"].groupby("cell_id")["started_at"].min()
    of_row = {row.label: min(first[cell.id] for cell in row.cells) for row in grid.spec.rows}
    starts: dict[str, object] = {}
    for name in sorted(of_row, key=lambda name: of_row[name]):
        starts.setdefault(parted(name)[1], of_row[name])
    revisions = list(starts)
    rows: dict[str, list[RowSpec]] = {}
    for row in sorted(grid.spec.rows, key=lambda row: revisions.index(parted(row.label)[1])):
        rows.setdefault(parted(row.label)[0], []).append(row)
    order = list(dict.fromkeys(parted(row.label)[0] for row in grid.spec.rows))
    several = [name for name in order if len(rows[name]) > 1]
    panels = []
    for cost in (False, True):
        for item in defined(grid, items(grid, cost=cost, headline=True))[0]:
            traces = (
                Trace(style, _moments(grid, rows[name], item, revisions, judgements))
                for style, name in enumerate(several)
            )
            drawn = tuple(trace for trace in traces if trace.moments)
            panels += [TimePanel(heading(item).label, drawn)] if drawn else []
    if not panels:
        return None
    random = {parted(each)[0] for each in grid.random}
    labels = tuple(
        (style, f"{name} ⚠ random weights" if name in random else name) for style, name in enumerate(several)
    )
    dates = tuple(f"{_short(each)}\n{starts[each]:%Y-%m-%d}" for each in revisions)
    drawing = Timeline(dates, labels, tuple(panels))
    return Figure(
        key=key.replace("-", "_"),
        title=f"{dataset} · {terms}",
        description=f"{'; '.join(moment.text for moment in drawing.moments)}.",
        caption=_caption([name for name in order if len(rows[name]) == 1], drawing),
        stamp=(f"{terms} · data {dataset} · {counted(len(revisions), 'revision')} of the code",),
        drawing=drawing,
    )


def _short(revision: str) -> str:
    return revision if revision == UNKNOWN else revision[:7] + "+" * revision.endswith("+")


def _caption(left_out: Sequence[str], drawing: Timeline) -> tuple[str, ...]:
    moments = drawing.moments
    told = ["Each point: a row as one revision measured it; the date is that of the revision's first run."]
    if any(moment.spread for moment in moments):
        told.append("Bars: ± one standard deviation over seeds.")
    told.append("A line joins points of equal terms (data, settings, version of the measure, device of a cost).")
    if any(moment.verdict for moment in moments):
        told.append("Signs around points: what the gate said of these runs, the gravest if it said several things.")
    if left_out:
        told.append(f"Not drawn, since only one revision measured them: {named(left_out)}.")
    return tuple(told)


def _moments(
    grid: Grid, rows: Sequence[RowSpec], item: Item, revisions: Sequence[str], judgements: Sequence[Judgement]
) -> tuple[Moment, ...]:
    """The points of one metric of one row, given as a row for each revision, oldest first."""
    known = [(row, fact(grid, row, item)) for row in rows]
    known = [(row, found) for row, found in known if found[0].summary.mean is not None]
    said = _said([found for _, found in known], item, judgements)
    made = []
    for at, (row, (mine, measured)) in enumerate(known):
        differing = incomparable([known[at - 1][1], (mine, measured)], item) if at else ()
        words = [_words(row, mine, item)]
        words += [f"other terms than before: {', '.join(differing)}"] if differing else []
        verdicts = [MARKED[each.check.verdict] for each in said[at] if each.check.verdict in MARKED]
        assert mine.summary.mean is not None
        made.append(
            Moment(
                revisions.index(parted(row.label)[1]),
                mine.summary.mean,
                mine.summary.std,
                "; ".join((*words, *(each.text for each in said[at]))),
                not differing,
                min(verdicts, key=GRAVITY.index, default=""),
            )
        )
    return tuple(made)


def _said(
    known: Sequence[tuple[Fact, Measured]], item: Item, judgements: Sequence[Judgement]
) -> tuple[tuple[Judgement, ...], ...]:
    """For each point, the verdicts on it: each stands at the newest point with a run that it judged."""
    runs = [{run.run_id for run in measured.runs} for _, measured in known]
    at: dict[int, list[Judgement]] = {}
    for each in judgements:
        if each.check.metric == item.name and each.check.category in (MEAN, None):
            judged = [number for number, mine in enumerate(runs) if mine & {*each.check.runs}]
            if judged:
                at.setdefault(judged[-1], []).append(each)
    return tuple(tuple(at.get(number, ())) for number in range(len(known)))


def _words(row: RowSpec, mine: Fact, item: Item) -> str:
    name, revision = parted(row.label)
    summary, places = mine.summary, item.metric.decimals
    spread = f" ± {summary.std:.{places}f}" if summary.std else ""
    doubted = " (unreliable)" if any(map(doubts, summary.notes)) else ""
    unit = "" if item.unit in item.metric.title else f" {item.unit}"
    seeds = counted(summary.seeds, "seed")
    return f"{name} at {revision}: {item.metric.title} {summary.mean:.{places}f}{spread}{unit}{doubted}, {seeds}"


# -------------------------------------------------------------------------------------------------------------- tables


def _tables(terms: str, group: Group, grid: Grid) -> list[Table]:
    """The numbers of each row and revision; further metrics in a folded table."""
    ended = group.frames["cells"].groupby("cell_id")["started_at"].max()
    when = {row.label: max(ended[cell.id] for cell in row.cells).strftime("%Y-%m-%d %H:%M") for row in grid.spec.rows}
    measured = {metric for use in grid.uses for metric in use.taken.values}
    made = []
    for headline in (True, False):
        columns = (*items(grid, cost=False, headline=headline), *items(grid, cost=True, headline=headline))
        columns, left_out = defined(grid, [item for item in columns if item.name in measured])
        if columns:
            name = terms + ("" if headline else " · further metrics")
            table = replace(summary_table(grid, columns, name, folded=True), folded=not headline)
            made.append(noted(_dated(table, when), left_out))
    return made


def _dated(table: Table, when: Mapping[str, str]) -> Table:
    """A table of rows by revision with revision and date as columns of their own."""
    headings = (
        table.headings[0],
        Heading("Revision", numeric=False),
        Heading("Newest run (UTC)", numeric=False),
        *table.headings[1:],
    )
    lines = []
    for line in table.lines:
        name, *rest = line.entries
        row, revision = parted(name.text)
        lines.append(Line((replace(name, text=row), Entry(revision), Entry(when[name.text]), *rest)))
    return replace(table, headings=headings, lines=tuple(lines), keys=3, compared="")


def _verdicts(caption: str, judgements: Sequence[Judgement], revisions: Mapping[str, str]) -> Table:
    """A line for each check: the newest gate first, in it the gravest verdict first."""
    headings = (
        *(Heading(text, numeric=False) for text in ("Gate (UTC)", "Verdict", "Row", "Metric", "Revision")),
        *(Heading(text) for text in ("BASE", "NEW")),
        Heading("Why", numeric=False),
    )
    order = sorted(judgements, key=lambda each: GRAVITY.index(each.check.verdict))
    order.sort(key=lambda each: each.record.at, reverse=True)
    lines = []
    for each in order:
        check = each.check
        told = dict.fromkeys(revisions[run] for run in check.runs if run in revisions)
        texts = (f"{check.label}, {check.dataset}", check.title, " and ".join(told))
        values = (_value(check, check.base), _value(check, check.new))
        first = (Entry(_minute(each.record)), _verdict(check.verdict))
        lines.append(Line((*first, *map(Entry, texts), *values, Entry(check.why))))
    return Table(caption, headings, tuple(lines), folded=True, keys=2)


def _gates(records: Sequence[Record]) -> Table:
    """A line for each gate, the newest first."""
    headings = (
        *(Heading(text, numeric=False) for text in ("Gate (UTC)", "Verdict", "BASE", "NEW")),
        *(Heading(text) for text in ("Checks", "Regressions", "Cannot tell")),
        Heading("Not measured", numeric=False),
    )
    lines = []
    for each in reversed(records):
        found = [check.verdict for check in each.checks]
        counts = (len(found), found.count("regression"), found.count("cannot tell"))
        entries = (Entry(_minute(each)), _verdict(each.verdict), Entry(each.base), Entry(each.new))
        numbers = (Entry(str(count), number=count) for count in counts)
        lines.append(Line((*entries, *numbers, Entry("; ".join(each.unmeasured)))))
    return Table("Gates", headings, tuple(lines))


def _verdict(verdict: str) -> Entry:
    return Entry(SIGNS[verdict], level=LEVELS.get(verdict, "plain"))


def _value(check: RecordedCheck, value: float | None) -> Entry:
    if value is None:
        return Entry("–")
    metric = metrics().get(check.metric)
    return Entry(f"{value:.6g}" if metric is None else f"{value:.{metric.decimals + 1}f}", number=value)


def _minute(record: Record) -> str:
    return f"{record.at:%Y-%m-%d %H:%M}"
