"""Options shared by several commands: single options as types, and bundles of options (see `bundles`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.suite.options import DETERMINISTIC, as_override, data_sets

if TYPE_CHECKING:
    from rich.console import Console

    from afrad_bench.report import Also
    from afrad_bench.running.workspace import Workspace
    from afrad_bench.suite.selection import Selection
    from afrad_bench.suite.suite import Suite

STORE, REPORTS, LIMIT_GIB, DEVICE = Path("results"), Path("reports"), 80.0, "auto"
STORE_VARIABLE, CACHE_VARIABLE, LIMIT_VARIABLE = "AFRAD_BENCH_STORE", "AFRAD_BENCH_CACHE", "AFRAD_BENCH_CACHE_LIMIT"

WHAT, WHERE = "What is measured", "Where"
"""Headings of the help."""

DataOption = Annotated[
    list[str] | None,
    typer.Option("--data", metavar="NAME=PATH", help="Folder of a data set; repeatable.", rich_help_panel=WHERE),
]
StoreOption = Annotated[
    Path, typer.Option("--store", envvar=STORE_VARIABLE, help="Folder of the Parquet store.", rich_help_panel=WHERE)
]
ReportsOption = Annotated[
    Path, typer.Option("--reports", file_okay=False, help="Folder in which reports are written.", rich_help_panel=WHERE)
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache", envvar=CACHE_VARIABLE, help="Cache folder; default: the user's cache folder.", rich_help_panel=WHERE
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option("--threads", min=1, max=4096, help="CPU threads; default: the physical cores.", rich_help_panel=WHERE),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

SIDE = "A store folder, FOLDER:SUITE, SUITE, rev:REVISION, FOLDER:SUITE:rev:REVISION or NAME.json."


@dataclass(frozen=True, kw_only=True)
class ProfileChoice:
    """A profile of a suite, and the overrides of the command line."""

    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Profile; default: the suite's default.", rich_help_panel=WHAT)
    ] = None
    override: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Override: afrad.training.epochs=2, image_size=64, seeds=[0].",
            rich_help_panel=WHAT,
        ),
    ] = None
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on",
            metavar="NAME[:PATH]",
            help="These data instead of the profile's: folder:PATH for your own images, demo, ...; repeatable.",
            rich_help_panel=WHAT,
        ),
    ] = None
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="LABEL", help="Only this row; repeatable.", rich_help_panel=WHAT),
    ] = None
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="Only deterministic algorithms of torch: a card repeats results to the bit.",
            rich_help_panel=WHAT,
        ),
    ] = False

    @property
    def overrides(self) -> tuple[str, ...]:
        """All overrides, as `--set` takes them. Raises `UserError` if two options set the same field."""
        given = tuple(self.override or ())
        made = []
        for option, field, values in (("--on", "datasets", data_sets(self.on)), ("--only", "rows", self.only)):
            if not values:
                continue
            if any(text.partition("=")[0] == field for text in given):
                raise fail(f"{option} and --set {field}=... say the same", option, "give one of them")
            made.append(as_override(field, values))
        if self.deterministic:
            made.append(DETERMINISTIC)
        return (*given, *made)


@dataclass(frozen=True, kw_only=True)
class SuiteChoice(ProfileChoice):
    """A suite, one of its profiles, and the overrides of the command line."""

    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one in ./suites.")]

    def load(self) -> Suite:
        """The checked suite file."""
        return load_suite(self.suite)

    def selection(self, workspace: Workspace) -> Selection:
        """The chosen profile, resolved; raises `UserError` if it does not use a folder of `--data`."""
        return chosen(self.load(), self.profile, self.overrides, workspace)


@dataclass(frozen=True, kw_only=True)
class StoredChoice(SuiteChoice):
    """The choice of a command that measures nothing: by default, with the options of the newest run."""

    as_declared: Annotated[
        bool,
        typer.Option(
            "--as-declared",
            help="Leave out the options (--set, --data) of the newest run of this profile.",
            rich_help_panel=WHAT,
        ),
    ] = False

    def measured(self, place: Place, out: Console) -> tuple[Selection, Workspace]:
        """The chosen profile as the newest run in the store measured it: with the overrides and data folders of that
        run, unless others are given; says which."""
        from afrad_bench.cli.newest import as_measured

        workspace, suite = place.workspace(), self.load()
        selection = suite.select(self.profile, self.overrides)
        if not self.as_declared:
            selection, workspace = as_measured(suite, selection, workspace, out)
        check_data([(suite, selection)], workspace)
        return selection, workspace


@dataclass(frozen=True)
class Place:
    """Where a command works: data, store, cache, device."""

    data: DataOption = None
    store: StoreOption = STORE
    cache: CacheOption = None
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.", rich_help_panel=WHERE)] = (
        DEVICE
    )
    threads: ThreadsOption = None

    @property
    def limit_gib(self) -> float:
        """Maximum size of the feature cache in GiB; only commands that fill the cache have an option for it."""
        return LIMIT_GIB

    @property
    def workers(self) -> str | None:
        """Devices of several worker processes; only commands that run cells have an option for it."""
        return None

    def workspace(self) -> Workspace:
        """These options as a `Workspace`."""
        from afrad_bench.machine.devices import several
        from afrad_bench.running.workspace import Workspace, parse_roots, roots_from

        if self.store.exists() and not self.store.is_dir():
            raise fail(f"{self.store} is not a folder", "--store", "name a folder; it is created if needed")
        if self.workers is not None and self.device != DEVICE:
            raise fail("--device and --devices both say where to work", "--devices", "give one of them")
        devices = () if self.workers is None else several(self.workers)
        return Workspace(
            store=self.store,
            cache=cache_folder(self.cache),
            cache_limit=int(self.limit_gib * 2**30),
            device=devices[0] if devices else self.device,
            threads=self.threads,
            devices=devices if len(devices) > 1 else (),
            roots=parse_roots(self.data or []),
            environment_roots=roots_from(os.environ),
        )


@dataclass(frozen=True)
class MeasuringPlace(Place):
    """The place of a command that computes features."""

    cache_limit: Annotated[
        float,
        typer.Option(
            "--cache-limit", envvar=LIMIT_VARIABLE, min=0, help="GiB of cached features.", rich_help_panel=WHERE
        ),
    ] = LIMIT_GIB

    @property
    def limit_gib(self) -> float:
        return self.cache_limit


@dataclass(frozen=True)
class Formats:
    """In which formats reports are written besides the usual ones."""

    latex: Annotated[
        bool, typer.Option("--latex", help="Also tables for LaTeX, booktabs style.", rich_help_panel=WHERE)
    ] = False
    pdf: Annotated[bool, typer.Option("--pdf", help="Also the figures as PDF.", rich_help_panel=WHERE)] = False

    @property
    def also(self) -> tuple[Also, ...]:
        """As `publish` takes them."""
        asked: dict[Also, bool] = {"latex": self.latex, "pdf": self.pdf}
        return tuple(name for name, wanted in asked.items() if wanted)

    def need_folder(self, folder: Path | None) -> None:
        """Raise `UserError` if a format was asked for, but no report is written."""
        if self.also and folder is None:
            options = ", ".join(f"--{name}" for name in self.also)
            raise fail("no report is written that could have this format", options, "--out FOLDER writes one")


@dataclass(frozen=True)
class Output(Formats):
    """Where reports are written, and in which formats besides the usual ones."""

    reports: ReportsOption = REPORTS


@dataclass(frozen=True)
class WorkingPlace(MeasuringPlace):
    """The place of a command that runs cells, perhaps several at a time."""

    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="LIST",
            help="A worker process on each of these: cuda:0,cuda:1, auto for all cards, cpu:4 for four on the CPU.",
            rich_help_panel=WHERE,
        ),
    ] = None

    @property
    def workers(self) -> str | None:
        return self.devices


@dataclass(frozen=True)
class Sides:
    """Two sides of a comparison, and which of their differences are allowed."""

    base: Annotated[str, typer.Argument(metavar="BASE", help=SIDE)]
    new: Annotated[str, typer.Argument(metavar="NEW", help="The same.")]
    allow: Annotated[
        list[str] | None,
        typer.Option(
            "--allow", metavar="TERM", help="Compare even if this term differs: device, seeds...; repeatable."
        ),
    ] = None
    store: StoreOption = STORE


def chosen(suite: Suite, profile: str | None, overrides: Sequence[str], workspace: Workspace) -> Selection:
    """A profile of a suite, resolved; raises `UserError` if it does not use a folder of `--data`."""
    selection = suite.select(profile, overrides)
    check_data([(suite, selection)], workspace)
    return selection


def check_data(selections: Sequence[tuple[Suite, Selection]], workspace: Workspace) -> None:
    """Raise `UserError` for every folder of `--data` that none of the selections uses."""
    used = {one.name for _, selection in selections for one in selection.datasets}
    problems = []
    for name in sorted(set(workspace.roots) - used):
        profiles = ", ".join(f"{selection.profile} of {suite.name}" for suite, selection in selections)
        what = f"it would not be used: the data of the profile {profiles}: {', '.join(sorted(used))}"
        others = [
            f"--profile {profile} of {suite.name} uses it"
            for suite, _ in selections
            for profile, one in suite.file.profiles.items()
            if name in {each.name for each in one.datasets}
        ]
        hint = "\n".join(others) if others else f"no profile uses it; --set 'datasets=[{name}]' would"
        problems.append(Problem(what, f"--data {name}={workspace.roots[name]}", hint))
    if problems:
        raise UserError(*problems)


def load_suite(name: str) -> Suite:
    """The checked suite file of that path, or of that name in `suite_folders`."""
    from afrad_bench.suite.suite import find, load

    path = find(name, suite_folders())
    if not path.exists():
        raise fail("no such suite file", str(path), "`afrad-bench list suites` lists the available suites")
    return load(path)


def cache_folder(cache: Path | None) -> Path:
    """The given cache folder, or the user's default one."""
    from platformdirs import user_cache_path

    try:
        folder = cache or user_cache_path("afrad-bench")
    except RuntimeError as error:  # a user without a home
        raise fail(
            f"there is no default cache folder: {error}", hint=f"--cache FOLDER, or set {CACHE_VARIABLE}"
        ) from error
    if folder.exists() and not folder.is_dir():
        raise fail(f"{folder} is not a folder", "--cache", "name a folder; it is created if needed")
    return folder


def suite_folders() -> list[Path]:
    """./suites, then the suites installed with the package."""
    import importlib.util

    spec = importlib.util.find_spec("afrad_bench_suites")
    installed = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    return list(dict.fromkeys(path.resolve() for path in (Path("suites"), *installed) if path.is_dir()))
