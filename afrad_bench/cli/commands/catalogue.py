"""Commands that list methods, data sets, suites and backbones, show methods, and check this machine."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from afrad_bench.cli.options import CacheOption, JsonOption, Place, cache_folder, suite_folders


def list_(
    what: Annotated[
        Literal["methods", "datasets", "backbones", "suites", "measures"], typer.Argument(help="What to list.")
    ],
    pattern: Annotated[str, typer.Option("--like", help="Only names that contain this.")] = "",
    everything: Annotated[
        bool, typer.Option("--all", help="Backbones: also those without weights on this machine.")
    ] = False,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """List methods, data sets, backbones, suites or measures, one per line."""
    from afrad_bench.cli import catalogue
    from afrad_bench.cli.screen import console, listings

    rows = catalogue.listing(what, pattern, everything, cache_folder(cache), suite_folders())
    console.show_json(rows) if as_json else listings.show_listing(console.make(), what, rows)


def show(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Name of a method.")], as_json: JsonOption = False
) -> None:
    """Show a method: its paper, and its fields with defaults, values and meanings."""
    from afrad_bench.cli import catalogue
    from afrad_bench.cli.screen import console, listings

    sheet = catalogue.method_sheet(method)
    console.show_json(sheet) if as_json else listings.show_method(console.make(), sheet)


def schema(
    what: Annotated[
        Literal["suite", "report"], typer.Argument(help="Of suite files, or of `report --json`.")
    ] = "suite",
) -> None:
    """Print the JSON Schema of suite files, for editors, or of a report as JSON."""
    from afrad_bench.cli.screen import console
    from afrad_bench.report import json_schema as of_reports
    from afrad_bench.suite.suite import json_schema as of_suites

    console.show_json(of_suites() if what == "suite" else of_reports())


def doctor(place: Place, as_json: JsonOption = False) -> None:
    """Check device, packages, data sets and weights, and say how to get what is missing."""
    from afrad_bench.cli import catalogue
    from afrad_bench.cli.screen import console, listings

    findings = catalogue.examine(place.workspace())
    console.show_json(findings) if as_json else listings.show_findings(console.make(), findings)
