"""Comparisons: two stores or revisions, a gate for CI, ranks of methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from afrad_bench import writing
from afrad_bench.cli import exits
from afrad_bench.cli.again import run_command
from afrad_bench.cli.commands.latency import Fitted
from afrad_bench.cli.commands.timed_gate import OneSession, timed_sides
from afrad_bench.cli.folders import destination
from afrad_bench.cli.options import JsonOption, Output, Place, Sides, StoredChoice
from afrad_bench.cli.planning import plan_of, publish
from afrad_bench.errors import fail

HtmlOption = Annotated[Path | None, typer.Option("--html", help="A page in the style of the reports.")]


def compare(
    sides: Sides,
    pair: Annotated[
        list[str] | None,
        typer.Option("--pair", metavar="LABEL=LABEL", help="Compare this row of BASE with that of NEW; repeatable."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also further metrics, and each category.")] = False,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="Markdown file.")] = None,
    html: HtmlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what changed from BASE to NEW, with intervals over images, seeds and rounds. Measures nothing."""
    from afrad_bench.cli.screen import comparison, console
    from afrad_bench.comparing import compare as compared
    from afrad_bench.comparing import comparison_report
    from afrad_bench.comparing.pairs import renamed_from
    from afrad_bench.comparing.place import both
    from afrad_bench.comparing.show import comparison_data
    from afrad_bench.report import to_html, to_markdown

    before, after = both(sides.base, sides.new, sides.store)
    found = compared(before, after, sides.allow or (), renamed_from(pair or ()))
    if found.changes and all(change.refused for change in found.changes):
        raise fail(f"nothing can be compared: {found.changes[0].why}", hint="--allow TERM compares anyway")
    if not found.changes:
        raise fail("the two sides have no row in common", hint="\n".join(found.missing))
    page = comparison_report(found, everything=everything)
    _write((markdown, lambda: to_markdown(page)), (html, lambda: to_html(page)))
    if as_json:
        console.show_json(comparison_data(found))
    else:
        comparison.show_comparison(console.make(), found, everything)


def gate(
    sides: Sides,
    timed: OneSession,
    fitted: Fitted,
    rules: Annotated[Path | None, typer.Option("--rules", help="YAML file; default: those in docs/ci.md.")] = None,
    update_baseline: Annotated[
        Path | None, typer.Option("--update-baseline", help="Write NEW to this file and accept it. BASE may be absent.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Markdown file for a pull request comment.")
    ] = None,
    html: HtmlOption = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="JUnit XML file.")] = None,
    record: Annotated[
        Path | None, typer.Option("--record", help="Folder that keeps this verdict, for `site --gates`.")
    ] = None,
    github: Annotated[bool, typer.Option("--github", help="Also print annotations for GitHub.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fail if NEW is worse than BASE: exit 0 passed, 1 regression, 3 could not measure or cannot tell."""
    from afrad_bench.cli.screen import comparison, console
    from afrad_bench.comparing import baseline, decide, decision_report, default_rules, latency_rules, read_rules
    from afrad_bench.comparing import compare as compared
    from afrad_bench.comparing.place import both, locate
    from afrad_bench.comparing.record import keep, record_of
    from afrad_bench.comparing.show import decision_data, to_github, to_junit, to_markdown
    from afrad_bench.report import to_html

    chosen = default_rules() if rules is None else read_rules(rules)
    out = console.make(stderr=as_json)
    if timed.latency and update_baseline is not None:
        raise fail("--latency measures times, of which no baseline is written", "--update-baseline")
    if not timed.latency:
        timed.refuse(fitted)
    if update_baseline is not None and update_baseline.suffix != baseline.SUFFIX:
        raise fail(f"the name of a baseline file must end in {baseline.SUFFIX}", str(update_baseline))
    if update_baseline is not None and sides.base == str(update_baseline) and not update_baseline.exists():
        baseline.write(locate(sides.new, sides.store), update_baseline)
        out.print(f"baseline: {update_baseline}", soft_wrap=True)
        return
    notes: tuple[str, ...] = ()
    if timed.latency:
        every, chosen = chosen, latency_rules(None if rules is None else chosen, str(rules))
        before, after, notes = timed_sides(sides, timed, fitted, out)
        if rules is not None and (others := [rule.metric for rule in every.rules if rule not in chosen.rules]):
            notes += (f"--latency measures times only; not checked: {', '.join(others)}",)
    else:
        before, after = both(sides.base, sides.new, sides.store)
    comparing = compared(before, after, sides.allow or ())
    decision = decide(replace(comparing, notes=(*comparing.notes, *notes)), chosen)
    try:
        _write(
            (markdown, lambda: to_markdown(decision)),
            (html, lambda: to_html(decision_report(decision))),
            (junit, lambda: to_junit(decision)),
        )
        if record is not None:
            keep(record_of(decision, datetime.now(UTC)), record)
        if update_baseline is not None:
            baseline.write(after, update_baseline)
    finally:  # the decision is shown even if a file cannot be written
        console.show_json(decision_data(decision)) if as_json else comparison.show_decision(out, decision)
        for line in to_github(decision) if github else ():
            typer.echo(line, err=as_json)
    if update_baseline is not None:
        out.print(f"baseline: {update_baseline}; review its diff before you commit it", soft_wrap=True)
    elif decision.verdict != "pass":
        raise typer.Exit(exits.REGRESSION if decision.verdict == "regression" else exits.CANNOT_TELL)


def _write(*files: tuple[Path | None, Callable[[], str]]) -> None:
    """Write each text to its file, if there is one."""
    for path, text in files:
        if path is not None:
            with writing.replacing(path, "free some space there, or write the file to another disk") as scratch:
                scratch.write_text(text(), encoding="utf-8")


def rank(
    choice: StoredChoice,
    place: Place,
    output: Output,
    metric: Annotated[str, typer.Option("--metric", help="Metric of accuracy.")] = "image_auroc",
    test: Annotated[Literal["nemenyi", "wilcoxon"], typer.Option("--test", help="Pairwise test.")] = "nemenyi",
    alpha: Annotated[float, typer.Option("--alpha", min=1e-6, max=0.5, help="Significance level.")] = 0.05,
    as_json: JsonOption = False,
) -> None:
    """Rank the methods of a suite over its categories, and show which do not differ significantly. Measures nothing.

    Without --set and --data, with those of the newest run."""
    from afrad_bench.cli.screen import console
    from afrad_bench.report.from_plan import ranking_of
    from afrad_bench.store import Store

    out = console.make(stderr=as_json)
    selection, workspace = choice.measured(place, out)
    found = plan_of(selection, workspace, out)
    again = run_command(choice.suite, selection, workspace, place, output.reports)
    made, ranking = ranking_of(found, Store(place.store), again, metric, test, alpha)
    publish(made, destination(output.reports, found), out, also=output.also)
    if as_json:
        console.show_json(ranking)
