"""Time of each cell by phase: data, features, fit, measures, and overhead of the harness."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.basis.results import Run
from afrad_bench.report.model import Entry, Heading, Line, Table

WORK = ("data", "features", "build", "fit", "peak memory")
"""Phases of a cell's work, in addition to its measures: reading the data, backbone features, building and fitting the
method, and returning freed memory so that the peak memory of the fit can be measured. All other time is overhead."""


def timing_table(grid: Grid) -> Table | None:
    """Seconds of each phase of each run in the report, with its share of the run; None if no timings are stored."""
    rows: dict[tuple[str, str], tuple[str, str, Run]] = {}
    for use in grid.counted:
        if use.run.row["timings"]:
            part = f", {use.cell.part}" if use.cell.part else ""
            name = f"{use.row.label}, {use.cell.dataset}{part}, seed {use.cell.seed}"
            rows.setdefault((use.run.cell_id, use.run.run_id), (name, use.cell.dataset, use.run))
    if not rows:
        return None
    spent = [(name, _phases(run), _total(run)) for name, _, run in rows.values()]
    phases = _ordered([times for _, times, _ in spent], grid.spec.measures)
    measures = tuple(grid.spec.measures)
    lines = [
        replace(_line(name, times, total, phases, measures), dataset=dataset)
        for (name, times, total), (_, dataset, _) in zip(spent, rows.values(), strict=True)
    ]
    if len(spent) > 1:
        everything = {p: sum(times.get(p, 0.0) for _, times, _ in spent) for p in phases}
        whole = _line("all", everything, sum(total for _, _, total in spent), phases, measures, strong=True)
        lines.append(whole)
    headings = (
        Heading("Run", numeric=False),
        *(Heading(phase, unit="s") for phase in phases),
        Heading("total", unit="s"),
        Heading("harness", unit="%", hint="Share of the run that is not data, features, build, fit or a measure"),
    )
    return Table("Time of each run", headings, tuple(lines), folded=True)


def overhead(times: Mapping[str, float], total: float, measures: Iterable[str]) -> float:
    """Fraction of a run that is overhead of the harness: everything except its work and its measures.

    >>> round(overhead({"data": 1.0, "fit": 7.0, "accuracy": 1.5, "store": 0.2}, 10.0, ["accuracy"]), 3)
    0.05
    """
    work = sum(times.get(phase, 0.0) for phase in (*WORK, *measures))
    return max(0.0, total - work) / total if total > 0 else 0.0


def _phases(run: Run) -> dict[str, float]:
    return {name: float(seconds) for name, seconds in run.row["timings"].items() if name != "total"}


def _total(run: Run) -> float:
    """Seconds of the run: its stored "total", else end minus start; never less than the sum of its phases."""
    kept = run.row["timings"].get("total")
    if kept is None and run.row["started_at"] is not None and run.row["ended_at"] is not None:
        kept = (run.row["ended_at"] - run.row["started_at"]).total_seconds()
    return max(float(kept or 0.0), sum(_phases(run).values()))


def _ordered(all_times: Sequence[Mapping[str, float]], measures: Iterable[str]) -> tuple[str, ...]:
    seen = dict.fromkeys(phase for times in all_times for phase in times)
    first = [phase for phase in (*WORK, *measures) if phase in seen]
    return (*first, *(phase for phase in seen if phase not in first))


def _line(
    name: str,
    times: Mapping[str, float],
    total: float,
    phases: Sequence[str],
    measures: Sequence[str],
    strong: bool = False,
) -> Line:
    entries = [Entry(name)]
    for phase in phases:
        seconds = times.get(phase)
        share = "" if seconds is None or total <= 0 else f" ({seconds / total:.0%})"
        entries.append(Entry("–" if seconds is None else f"{seconds:.2f}{share}", number=seconds))
    of_harness = 100 * overhead(times, total, measures)
    entries += [Entry(f"{total:.2f}", number=total), Entry(f"{of_harness:.1f}", number=of_harness)]
    return Line(tuple(entries), strong)
