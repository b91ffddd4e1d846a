"""The command line: `afrad-bench run SUITE` and the other commands.

`commands/` has one module per family of commands, `screen/` prints their output, `options` holds shared options."""

from __future__ import annotations

from afrad_bench.cli.program import app, main

__all__ = ["app", "main"]
