"""Checks the paper's own numbers against each other."""

from __future__ import annotations

from typing import Annotated

import typer

from afrad_bench.cli.options import JsonOption
from afrad_bench.errors import fail


def audit(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look for contradictions in the paper's own numbers: means, numbers printed twice, claims, marks."""
    from afrad_bench.audit import audit as audited
    from afrad_bench.audit import to_json, to_markdown, to_terminal
    from afrad_bench.cli.screen import console

    if markdown and as_json:
        raise fail("--markdown and --json exclude each other", hint="give one of them")
    found = audited()
    if markdown:
        typer.echo(to_markdown(found).encode(), nl=False)
    elif as_json:
        console.show_json(to_json(found))
    else:
        to_terminal(found, console.make())
