"""All results of stores as a folder of pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def site(
    stores: Annotated[list[Path], typer.Argument(metavar="STORES", help="Folders of stores.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the pages, for any host.")],
    gates: Annotated[
        list[Path] | None,
        typer.Option("--gates", help="Folder of verdicts that `gate --record` kept, for the history; repeatable."),
    ] = None,
) -> None:
    """Write an index, leaderboards, history, all rows and every report of stores as static pages. Measures nothing."""
    from afrad_bench.cli.screen import console
    from afrad_bench.site import write_site
    from afrad_bench.site.layout import counted

    screen = console.make()
    with console.busy(screen) as watch:
        written = write_site(stores, out, gates or (), watch)
    console.show_cautions(screen, written.faults)
    screen.print(f"site: {written.index}, with {counted(len(written.reports), 'report')}", soft_wrap=True, markup=False)
