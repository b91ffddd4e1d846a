"""The command line: `afrad-bench run SUITE` and what goes with it.

`commands/` has one module per family of commands, `screen/` what they print, `options` what they have in common."""

from __future__ import annotations

from afrad_bench.cli.program import app, main

__all__ = ["app", "main"]
