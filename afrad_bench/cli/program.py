"""The program: all commands by name, and the handling of errors.

Exit codes: 0 success, 1 regression, 2 an error that the user can fix, 3 some cells failed or the gate cannot tell, 70 a
bug in this program, 130 interrupted."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from afrad_bench import __version__, writing
from afrad_bench.cli import exits
from afrad_bench.cli.bundles import bundled
from afrad_bench.cli.commands import (
    catalogue,
    comparing,
    latency,
    models,
    opening,
    paper,
    searching,
    sites,
    stored,
    suites,
)
from afrad_bench.cli.screen import streams
from afrad_bench.errors import UserError, fail

app = typer.Typer(
    help="Benchmark and ablation harness for multi-class unsupervised anomaly detection.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

COMMANDS: Mapping[str, Mapping[str, Callable[..., None]]] = {
    "Before a run": {
        "doctor": catalogue.doctor,
        "list": catalogue.list_,
        "show": catalogue.show,
        "check": suites.check,
        "plan": suites.plan,
        "schema": catalogue.schema,
    },
    "Measure": {"run": suites.run, "search": searching.search, "latency": latency.latency},
    "Look at results": {
        "report": suites.report,
        "open": opening.open_,
        "rank": comparing.rank,
        "failures": suites.failures,
        "why": stored.why,
        "site": sites.site,
        "audit": paper.audit,
    },
    "Compare and ship": {
        "compare": comparing.compare,
        "gate": comparing.gate,
        "calibrate": models.calibrate,
        "predict": models.predict,
        "export": models.export,
    },
}
"""Heading of the help -> name -> command."""
GROUPS: Mapping[str, tuple[str, Mapping[str, Callable[..., None]]]] = {
    "metrics": ("Compute accuracy again from stored maps.", {"recompute": stored.metrics_recompute}),
    "store": ("Maintain the store of results.", {"compact": stored.store_compact}),
    "cache": ("List or clear the cached backbone features.", {"list": stored.cache_list, "clear": stored.cache_clear}),
}
KEEPING = "Store and cache"
"""Heading of the groups."""


def _own_exit_code(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose defects are never taken for a regression: Typer ends with 1 on these two kinds of errors."""

    @wraps(command)
    def called(**given: Any) -> None:
        try:
            command(**given)
        except (EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.EPIPE:
                raise
            raise RuntimeError(f"{type(error).__name__}: {error}") from error

    return called


class _Command(TyperCommand):
    """A command that takes no option for the value of the option before it, as Click would: `--log-json --devices`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        known = {name for option in self.params for name in option.opts if name.startswith("-")}
        for option in self.params:
            value = ctx.params.get(option.name)
            for each in value if isinstance(value, (list, tuple)) else [value]:
                if str(each) in known:
                    ctx.fail(f"Option '{option.opts[0]}' requires a value, but the option {each} follows.")
        return rest


for _panel, _commands in COMMANDS.items():
    for _name, _command in _commands.items():
        app.command(_name, cls=_Command, rich_help_panel=_panel)(_own_exit_code(bundled(_command)))
for _name, (_help, _commands) in GROUPS.items():
    _group = typer.Typer(help=_help, no_args_is_help=True)
    app.add_typer(_group, name=_name, rich_help_panel=KEEPING)
    for _inner, _command in _commands.items():
        _group.command(_inner, cls=_Command)(_own_exit_code(bundled(_command)))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afrad-bench {__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that need no command."""


def main() -> None:
    """Entry point. Errors that the user can fix are printed as text with exit code 2. All other errors keep their
    traceback and exit with 70, because 1, Python's own code of a crash, means a regression here."""
    streams.prepare()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # on damaged EXIF data, without a name; see `images.decoding`
    try:
        _main()
    except Exception:  # noqa: BLE001 - shown unchanged; only the exit code differs
        import traceback

        traceback.print_exc()
        sys.exit(exits.DEFECT)


def _main() -> None:
    try:
        try:
            app()
        finally:
            streams.finish()
    except Exception as error:
        if (shown := _fixable(error)) is None:
            raise
        from afrad_bench.cli.screen.console import show_error

        show_error(shown)
        sys.exit(exits.USER)


def _fixable(error: Exception) -> UserError | None:
    """An error as one that the user can fix; None for a defect."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.filename is not None:
        return fail(error.strerror or str(error), str(error.filename))
    if writing.is_full(error):
        return fail(f"a disk is full: {error}", hint="free some space where this command writes, or in TMPDIR")
    return None
