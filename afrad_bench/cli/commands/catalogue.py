"""Commands that list methods, data sets, suites and backbones, show methods, and check this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from afrad_bench.cli import exits
from afrad_bench.cli.options import CacheOption, JsonOption, Place, cache_folder, suite_folders
from afrad_bench.errors import fail

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def doctor(
    place: Place,
    check_device: Annotated[
        str | None,
        typer.Option(
            "--check-device",
            metavar="DEVICE",
            help="Compare every method on this device with the CPU instead: auto, cpu, cuda:N or mps.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="METHOD", help="Only this method of --check-device; repeatable."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check device, packages, data sets and weights, and say how to get what is missing."""
    from afrad_bench.cli import catalogue
    from afrad_bench.cli.screen import console, listings

    if check_device is not None:
        return _check_device(check_device, only or [], place.threads, as_json=as_json)
    if only:
        raise fail("without --check-device, no method is tried", "--only", "add --check-device DEVICE")
    findings = catalogue.examine(place.workspace())
    console.show_json(findings) if as_json else listings.show_findings(console.make(), findings)


def _check_device(wanted: str, only: Sequence[str], threads: int | None, *, as_json: bool) -> None:
    """Compare methods on a device with the CPU; ends with an exit code if one of them differs or fails there."""
    from afrad_bench import registry
    from afrad_bench.cli.screen import console, parity
    from afrad_bench.machine.environment import name_of, resolve_device

    device = resolve_device(wanted, "--check-device")
    chosen = [registry.find("method", name, "--only") for name in dict.fromkeys(only)]
    entries = chosen or list(registry.entries("method").values())
    from afrad_bench.instruments.clock import pinned_threads
    from afrad_bench.running.parity import compared

    # more than one thread would only wait for each other in networks so small
    with pinned_threads(threads or 1), console.busy(console.make(stderr=as_json)) as watch:
        found = list(compared(entries, device, watch))
    if as_json:
        console.show_json(parity.as_data(device, found))
    else:
        parity.show(console.make(), f"{device}, {name_of(device)}", found)
    if not all(one.good for one in found):
        raise typer.Exit(exits.DIFFERS)
