"""The command line: `afrad-bench run SUITE` and what goes with it. Heavy imports stand inside the commands.

Exit codes: 0 good, 1 regression, 2 something the user can fix, 3 some cells failed or the gate cannot tell, 70 a defect
of this program, 130 interrupted."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from afrad_bench import __version__
from afrad_bench.errors import UserError, fail

if TYPE_CHECKING:
    from afrad_bench.plan import Plan
    from afrad_bench.selection import Selection
    from afrad_bench.suite import Suite
    from afrad_bench.workspace import Workspace

STARTED = time.perf_counter()

EXIT_REGRESSION, EXIT_USER, EXIT_FAILED_CELLS, EXIT_CANNOT_TELL, EXIT_DEFECT, EXIT_INTERRUPTED = 1, 2, 3, 3, 70, 130

app = typer.Typer(
    help="Benchmark and ablation harness for multi-class unsupervised anomaly detection.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache_app = typer.Typer(help="List or clear the cached backbone features.", no_args_is_help=True)
app.add_typer(cache_app, name="cache")
metrics_app = typer.Typer(help="Compute accuracy anew from stored maps.", no_args_is_help=True)
app.add_typer(metrics_app, name="metrics")
store_app = typer.Typer(help="Look after the store of results.", no_args_is_help=True)
app.add_typer(store_app, name="store")

SuiteArgument = Annotated[str, typer.Argument(metavar="SUITE", help="A suite file, or the name of one in ./suites.")]
ProfileOption = Annotated[str | None, typer.Option("--profile", "-p", help="Profile; default: the suite's default.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Override: afrad.training.epochs=2, image_size=64, seeds=[0]."),
]
DataOption = Annotated[
    list[str] | None, typer.Option("--data", metavar="NAME=PATH", help="Where a data set lies; repeatable.")
]
StoreOption = Annotated[Path, typer.Option("--store", envvar="AFRAD_BENCH_STORE", help="Folder of the Parquet store.")]
ReportsOption = Annotated[Path, typer.Option("--reports", help="Folder in which reports are written.")]
CacheOption = Annotated[
    Path | None, typer.Option("--cache", envvar="AFRAD_BENCH_CACHE", help="Cache folder; default: the user's.")
]
LimitOption = Annotated[
    float, typer.Option("--cache-limit", envvar="AFRAD_BENCH_CACHE_LIMIT", min=0, help="GiB of cached features.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; default: the physical cores.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

SideArgument = Annotated[
    str,
    typer.Argument(help="A store folder, FOLDER:SUITE, SUITE, rev:REVISION, FOLDER:SUITE:rev:REVISION or NAME.json."),
]
AllowOption = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="TERM", help="Compare although this term differs: device, seeds...; repeatable."),
]
PairOption = Annotated[
    list[str] | None,
    typer.Option("--pair", metavar="LABEL=LABEL", help="Compare this row of BASE with that row of NEW; repeatable."),
]

STORE, REPORTS, LIMIT_GIB = Path("results"), Path("reports"), 20.0


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"afrad-bench {__version__}")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options that need no command."""


@app.command()
def run(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    reports: ReportsOption = REPORTS,
    cache: CacheOption = None,
    cache_limit: LimitOption = LIMIT_GIB,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Measure again what is done already.")] = False,
    keep_models: Annotated[
        bool, typer.Option("--keep-models", help="Keep each fitted model as a file in STORE/models, for `export`.")
    ] = False,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep each anomaly map in STORE/maps, for `metrics recompute`.")
    ] = False,
) -> None:
    """Measure what is not measured yet, and show the report."""
    from afrad_bench import console
    from afrad_bench.reporting import report_of
    from afrad_bench.store import Store

    workspace = _workspace(store, cache, cache_limit, device, threads, data)
    selection = _selection(suite, profile, override)
    out = console.make()
    plan, seconds = _plan(selection, workspace, out)
    console.show_head(out, plan, force)
    todo = plan.cells if force else plan.open
    failed = interrupted = False
    if todo:
        from afrad_bench.run import run_suite

        with console.progress(out, len(todo)) as shown:
            cells = shown.cells(todo)
            try:
                for done in run_suite(
                    plan,
                    cells,
                    Store(store),
                    workspace.cache,
                    workspace.cache_limit,
                    force,
                    shown.watch,
                    {"startup": time.perf_counter() - STARTED - seconds, "data": seconds},
                    keep_models,
                    keep_maps=keep_maps,
                ):
                    shown.finished(done)
                    failed = failed or done.status != "ok"
            except KeyboardInterrupt:
                interrupted = True
        plan, _ = _plan(selection, workspace, out)
    report = report_of(plan, Store(store), suite)
    _publish(report, reports / selection.suite / selection.profile, out)
    if keep_models:
        console.show_models(out, plan, store)
    if interrupted:
        out.print("[yellow]interrupted; what was measured is kept, the same command goes on from there[/]")
        raise typer.Exit(EXIT_INTERRUPTED)
    if failed:
        out.print("[red]some cells failed[/]; the report lists them, `afrad-bench why CELL` tells more")
        raise typer.Exit(EXIT_FAILED_CELLS)


@app.command()
def plan(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the cells of a suite, what is done already, and what the rest would cost. Trains and measures nothing."""
    from afrad_bench import console

    workspace = _workspace(store, cache, LIMIT_GIB, device, threads, data)
    selection = _selection(suite, profile, override)
    out = console.make()
    planned, _ = _plan(selection, workspace, console.make(stderr=True) if as_json else out)
    console.show_json(console.plan_rows(planned)) if as_json else console.show_plan(out, planned)


@app.command()
def check(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Read a suite and resolve every name and value of all its profiles, then the data and weights of one. Runs
    nothing."""
    from afrad_bench import console

    workspace = _workspace(STORE, cache, LIMIT_GIB, device, None, data)
    loaded = _suite(suite)
    selection = loaded.select(profile, override or ())
    out = console.make()
    if selection.search is not None:
        from afrad_bench.search import declared

        _plan(declared(loaded, selection).selection, workspace, out)
    planned, _ = _plan(selection, workspace, out)
    out.print(
        f"[green]ok[/] {suite}: every profile resolves; {selection.profile} has {len(planned.cells)} cells "
        f"({len(selection.rows)} rows, {len(selection.seeds)} seeds), its data and weights are here"
    )


@app.command()
def report(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    reports: ReportsOption = REPORTS,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    timing: Annotated[bool, typer.Option("--timing", help="Show where the time of each cell went.")] = False,
) -> None:
    """Render the results of a suite again: terminal, Markdown, CSV and HTML. Measures nothing."""
    from afrad_bench import console
    from afrad_bench.reporting import report_of
    from afrad_bench.store import Store

    workspace = _workspace(store, cache, LIMIT_GIB, device, threads, data)
    selection = _selection(suite, profile, override)
    out = console.make()
    planned, _ = _plan(selection, workspace, out)
    made = report_of(planned, Store(store), suite)
    _publish(made, reports / selection.suite / selection.profile, out, timing)


@app.command()
def search(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    reports: ReportsOption = REPORTS,
    cache: CacheOption = None,
    cache_limit: LimitOption = LIMIT_GIB,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
) -> None:
    """Search for better parameters as the suite declares it, measure the best ones anew, and show the report.

    Run it again to go on: finished trials are kept, and those that a kill cut off are repeated."""
    from afrad_bench import console
    from afrad_bench import search as searching
    from afrad_bench.run import run_suite
    from afrad_bench.store import Store
    from afrad_bench.suite import load

    workspace = _workspace(store, cache, cache_limit, device, threads, data)
    loaded = _suite(suite)
    declared = searching.declared(loaded, loaded.select(profile, override or ()))
    out = console.make()
    plan, _ = _plan(declared.selection, workspace, out)
    timeout, began = declared.search.timeout, time.time()
    try:
        with console.trials(out, declared) as shown:
            deadline = began + timeout if timeout else 0.0
            study = searching.search(declared, plan, workspace, shown.told, shown.watch, deadline)
        seconds = time.time() - began
        text = searching.best_suite(study, declared)
        if text is None:
            raise fail("no trial can be recommended", declared.study, searching.reasons(study, declared))
        best = reports / declared.selection.suite / declared.selection.profile / "best.yaml"
        best.parent.mkdir(parents=True, exist_ok=True)
        best.write_text(text, encoding="utf-8")
        finalists, _ = _plan(load(best).select(), workspace, out)
        failed = False
        with console.progress(out, len(finalists.open)) as bar:
            cells = bar.cells(finalists.open)
            for done in run_suite(
                finalists, cells, Store(store), workspace.cache, workspace.cache_limit, watch=bar.watch
            ):
                bar.finished(done)
                failed = failed or done.status != "ok"
    except KeyboardInterrupt:
        out.print("[yellow]interrupted; finished trials are kept, the same command goes on from there[/]")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    again = console.search_command(suite, declared.selection)
    made = searching.report_of_search(study, declared, finalists, Store(store), str(best), again, seconds)
    _publish(made, best.parent, out)
    out.print(f"the best as a suite: {best}", soft_wrap=True)
    if place := searching.dashboard(declared, store):
        out.print(f"in the browser: {place}", soft_wrap=True)
    if failed:
        raise typer.Exit(EXIT_FAILED_CELLS)


@app.command()
def failures(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Images of each kind and category.")] = 3,
    fpr: Annotated[
        float | None,
        typer.Option("--fpr", min=0, max=1, help="Share of false alarms to allow; default: threshold of the best F1."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for a page with the pictures that the store has.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the images that each method gets most wrong, missed defects and false alarms. Measures nothing."""
    from afrad_bench import console
    from afrad_bench.reporting import failures_of
    from afrad_bench.store import Store

    workspace = _workspace(store, cache, LIMIT_GIB, device, threads, data)
    selection = _selection(suite, profile, override)
    screen = console.make(stderr=as_json)
    planned, _ = _plan(selection, workspace, screen)
    made, found = failures_of(planned, Store(store), suite, top, fpr, pictures=out is not None)
    if not made.sections:
        raise fail(
            "the store has no image scores of this suite", str(store), f"`afrad-bench run {suite}` measures them"
        )
    if out is not None:
        _publish(made, out, screen)
    elif not as_json:
        from afrad_bench.report import to_terminal

        to_terminal(made, screen)
    if as_json:
        console.show_json(found)


@app.command()
def latency(
    method: Annotated[
        list[str] | None,
        typer.Argument(metavar="METHOD...", help="NAME, NAME:FIELD=VALUE,... or a suite: all of its rows."),
    ] = None,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    reports: ReportsOption = REPORTS,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report; default for suites: REPORTS/SUITE/latency.")
    ] = None,
    cache: CacheOption = None,
    cache_limit: LimitOption = LIMIT_GIB,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", min=16, max=4096, help="Default: 256, and of a suite its own.")
    ] = None,
    mode: Annotated[
        list[str] | None,
        typer.Option("--mode", help="eager (default), amp, channels_last, compile, cuda_graphs; or amp+compile, ..."),
    ] = None,
    batch: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Images per call; repeatable.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed calls of each.")] = 100,
    warmup: Annotated[int, typer.Option("--warmup", min=1, help="Least number of calls of each before.")] = 10,
    warmup_seconds: Annotated[float, typer.Option("--warmup-seconds", min=0, help="Least time of them.")] = 0.5,
    max_seconds: Annotated[
        float, typer.Option("--max-seconds", min=0.01, help="Seconds after which no further round begins.")
    ] = 600.0,
    train: Annotated[int, typer.Option("--train", min=1, help="Images of noise to fit a NAME on.")] = 16,
    backbone: Annotated[str | None, typer.Option("--backbone", help="Of every method that has one.")] = None,
    weights: Annotated[str | None, typer.Option("--weights", help="timm, packaged, file:PATH, random.")] = None,
    show_: Annotated[
        list[str] | None,
        typer.Option("--show", metavar="SESSION", help="Show a stored session again, or `last`."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Time methods in turns (A B C A B C ...), in several modes and batch sizes, with intervals of their ratios."""
    from afrad_bench import console, interleaved
    from afrad_bench.store import Store

    if bool(method) == bool(show_):
        raise fail("name methods to time, or sessions to --show", "METHOD", "e.g. afrad-bench latency afrad padim")
    workspace = _workspace(store, cache, cache_limit, device, threads, data)
    screen = console.make(stderr=as_json)
    if show_:
        known = list(interleaved.stored(Store(store).read("latency")))
        sessions = interleaved.find(known, show_, str(store))
    else:
        from afrad_bench.environment import current
        from afrad_bench.features import FeatureCache

        forced = [*(override or ()), *([f"image_size={image_size}"] if image_size else ())]
        if backbone:
            forced.append(f"shared.backbone.name={backbone}")
        if weights:
            forced.append(f"shared.backbone.weights={weights}")
        plans: dict[str, Plan] = {}

        def plan_of(suite: str) -> Plan:
            plans[suite], _ = _plan(_selection(suite, profile, forced), workspace, screen)
            return plans[suite]

        folders = _suite_folders()
        suites = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
        asked = interleaved.Asked(image_size or 256, train, backbone, weights)
        entrants, absent = interleaved.entrants(method or [], plan_of, suites, asked, workspace)
        environment = current(device, threads or next((p.environment.threads for p in plans.values()), None))
        modes = interleaved.parse_modes(mode or ["eager"], environment.device)
        about = {
            "command": ["afrad-bench", *sys.argv[1:]],
            "suites": [p.selection.suite for p in plans.values()],
            "profiles": list(dict.fromkeys(one.cell.profile for one in entrants)),
            "absent": list(absent),
        }
        session = interleaved.measure(
            entrants,
            modes,
            sorted(set(batch or [1])),
            environment,
            FeatureCache(workspace.cache, workspace.cache_limit),
            interleaved.Length(rounds, warmup, warmup_seconds, max_seconds),
            about,
            lambda what: screen.print(what, style="dim", markup=False),
        )
        sessions = (session,)
        if found := interleaved.rows(session):
            Store(store).append_latency(found)
    made = interleaved.latency_report(sessions)
    suites_shown = {suite for one in sessions for suite in one.terms["suites"]}
    folder = out or (reports / made.suite / "latency" if len(suites_shown) == 1 else None)
    records = interleaved.records(sessions)
    if folder:
        files = {"report.csv": interleaved.to_csv(sessions), "report.json": console.to_json(records)}
        _publish(made, folder, screen, more=files)
    elif not as_json:
        from afrad_bench.report import to_terminal

        to_terminal(made, screen)
    if as_json:
        console.show_json(records)
    if not show_ and any(one.error for one in session.timed):
        raise typer.Exit(EXIT_FAILED_CELLS)


@app.command()
def rank(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    reports: ReportsOption = REPORTS,
    cache: CacheOption = None,
    metric: Annotated[str, typer.Option("--metric", help="Metric of accuracy.")] = "image_auroc",
    test: Annotated[
        Literal["nemenyi", "wilcoxon"], typer.Option("--test", help="How pairs are told apart.")
    ] = "nemenyi",
    alpha: Annotated[float, typer.Option("--alpha", min=1e-6, max=0.5, help="Level of significance.")] = 0.05,
    as_json: JsonOption = False,
) -> None:
    """Rank the methods of a suite over its categories, and say which cannot be told apart. Measures nothing."""
    from afrad_bench import console
    from afrad_bench.reporting import ranking_of
    from afrad_bench.store import Store

    workspace = _workspace(store, cache, LIMIT_GIB, "auto", None, data)
    selection = _selection(suite, profile, override)
    out = console.make(stderr=as_json)
    planned, _ = _plan(selection, workspace, out)
    made, ranking = ranking_of(planned, Store(store), suite, metric, test, alpha)
    _publish(made, reports / selection.suite / selection.profile, out)
    if as_json:
        console.show_json(ranking)


@app.command()
def compare(
    base: SideArgument,
    new: SideArgument,
    pair: PairOption = None,
    allow: AllowOption = None,
    store: StoreOption = STORE,
    everything: Annotated[bool, typer.Option("--all", help="Also further metrics, and each category.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what changed from BASE to NEW, with intervals over images, seeds and rounds. Measures nothing."""
    from afrad_bench import console
    from afrad_bench.comparing import compare as laid_beside
    from afrad_bench.comparing.pairs import renamed_from
    from afrad_bench.comparing.place import both
    from afrad_bench.comparing.show import comparison_data

    found = laid_beside(*both(base, new, store), allow or (), renamed_from(pair or ()))
    if found.changes and all(change.refused for change in found.changes):
        raise fail(f"nothing can be compared: {found.changes[0].why}", hint="--allow TERM compares nevertheless")
    if not found.changes:
        raise fail("the two sides have no row in common", hint="\n".join(found.missing))
    if as_json:
        console.show_json(comparison_data(found))
    else:
        console.show_comparison(console.make(), found, everything)


@app.command()
def gate(
    base: SideArgument,
    new: SideArgument,
    rules: Annotated[Path | None, typer.Option("--rules", help="YAML file; default: those in docs/ci.md.")] = None,
    allow: AllowOption = None,
    store: StoreOption = STORE,
    update_baseline: Annotated[
        Path | None, typer.Option("--update-baseline", help="Write NEW to this file and accept it. BASE may be absent.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", help="File for a pull request's comment.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="File for JUnit XML.")] = None,
    github: Annotated[bool, typer.Option("--github", help="Also print annotations for GitHub.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fail if NEW is worse than BASE: exit 0 passed, 1 regression, 3 could not measure or cannot tell."""
    from afrad_bench import console
    from afrad_bench.comparing import baseline, decide, default_rules, read_rules
    from afrad_bench.comparing import compare as laid_beside
    from afrad_bench.comparing.place import both, locate
    from afrad_bench.comparing.show import decision_data, to_github, to_junit, to_markdown

    chosen = default_rules() if rules is None else read_rules(rules)
    out = console.make(stderr=as_json)
    if update_baseline is not None and update_baseline.suffix != baseline.SUFFIX:
        raise fail(f"the name of a baseline file ends in {baseline.SUFFIX}", str(update_baseline))
    if update_baseline is not None and base == str(update_baseline) and not update_baseline.exists():
        baseline.write(locate(new, store), update_baseline)
        out.print(f"baseline: {update_baseline}", soft_wrap=True)
        return
    before, after = both(base, new, store)
    decision = decide(laid_beside(before, after, allow or ()), chosen)
    for path, text in ((markdown, to_markdown), (junit, to_junit)):
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text(decision), encoding="utf-8")
    console.show_json(decision_data(decision)) if as_json else console.show_decision(out, decision)
    if github:
        for line in to_github(decision):
            typer.echo(line, err=as_json)
    if update_baseline is not None:
        baseline.write(after, update_baseline)
        out.print(f"baseline: {update_baseline}; review its diff before you commit it", soft_wrap=True)
    elif decision.verdict != "pass":
        raise typer.Exit(EXIT_REGRESSION if decision.verdict == "regression" else EXIT_CANNOT_TELL)


@app.command()
def why(
    cell: Annotated[str, typer.Argument(metavar="CELL", help="Id of a cell, or the beginning of one.")],
    data: DataOption = None,
    store: StoreOption = STORE,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whether a cell counts as done, measure by measure, and by which field it does not."""
    from afrad_bench import console
    from afrad_bench.explain import explain

    workspace = _workspace(store, cache, LIMIT_GIB, device, threads, data)
    explained = explain(cell, workspace)
    console.show_json(explained) if as_json else console.show_why(console.make(), explained)


@app.command(name="list")
def list_(
    what: Annotated[
        Literal["methods", "datasets", "backbones", "suites", "measures"], typer.Argument(help="What to list.")
    ],
    pattern: Annotated[str, typer.Option("--like", help="Only names that contain this.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="Backbones: also those without weights here.")] = False,
    cache: CacheOption = None,
    as_json: JsonOption = False,
) -> None:
    """List what there is, one line each."""
    from afrad_bench import catalogue, console

    rows = catalogue.listing(what, pattern, everything, _cache_folder(cache), _suite_folders())
    console.show_json(rows) if as_json else console.show_listing(console.make(), what, rows)


@app.command()
def show(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="Name of a method.")], as_json: JsonOption = False
) -> None:
    """Show a method: its paper, its fields with defaults and readings."""
    from afrad_bench import catalogue, console

    sheet = catalogue.method_sheet(method)
    console.show_json(sheet) if as_json else console.show_method(console.make(), sheet)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file of `run --keep-models` or `AFRAD.save`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: NAME.onnx, NAME.pt2 or NAME.pt.")],
    form: Annotated[
        Literal["onnx", "torchscript", "pt2"] | None,
        typer.Option("--format", help="Default: by the suffix of OUT. pt2 is torch.export's."),
    ] = None,
) -> None:
    """Write a model as one file for other runtimes, images in and anomaly maps and scores out, and check it there."""
    from afrad_bench import console
    from afrad_bench.export import export as write_export

    console.show_export(console.make(), write_export(model, out, form))


@app.command()
def audit(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a page in Markdown.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look for contradictions in the paper's own figures: means, figures printed twice, claims, marks. Measures
    nothing."""
    from afrad_bench import console
    from afrad_bench.audit import audit, to_json, to_markdown, to_terminal

    if markdown and as_json:
        raise fail("--markdown and --json exclude each other", hint="give one of them")
    found = audit()
    if markdown:
        typer.echo(to_markdown(found).encode(), nl=False)
    elif as_json:
        console.show_json(to_json(found))
    else:
        to_terminal(found, console.make())


@app.command()
def schema() -> None:
    """Print the JSON Schema of suite files, for editors."""
    from afrad_bench import console
    from afrad_bench.suite import json_schema

    console.show_json(json_schema())


@app.command()
def doctor(cache: CacheOption = None, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Look for devices, data sets and weights, and say how to supply what is missing."""
    from afrad_bench import catalogue, console

    findings = catalogue.examine(_workspace(STORE, cache, LIMIT_GIB, "auto", None, data))
    console.show_json(findings) if as_json else console.show_findings(console.make(), findings)


@cache_app.command("list")
def cache_list(cache: CacheOption = None, as_json: JsonOption = False) -> None:
    """What is cached, most recently used first."""
    from afrad_bench import console
    from afrad_bench.features import FeatureCache

    folder = _cache_folder(cache)
    entries = FeatureCache(folder).entries()
    console.show_json(entries) if as_json else console.show_cache(console.make(), folder, entries)


@cache_app.command("clear")
def cache_clear(
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", help="Entries; none: all of them.")] = None,
    cache: CacheOption = None,
) -> None:
    """Remove cached features; they are computed again when they are needed."""
    from afrad_bench import console
    from afrad_bench.errors import unknown
    from afrad_bench.features import FeatureCache

    found = FeatureCache(_cache_folder(cache))
    known = {entry.key for entry in found.entries()}
    problems = [unknown("cache entry", key, known) for key in keys or () if key not in known]
    if problems:
        raise UserError(*problems)
    console.make().print(f"{found.clear(keys or None) / 2**20:.1f} MiB are free again")


@metrics_app.command("recompute")
def metrics_recompute(
    suite: SuiteArgument,
    profile: ProfileOption = None,
    override: SetOption = None,
    data: DataOption = None,
    store: StoreOption = STORE,
    cache: CacheOption = None,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also where the stored accuracy is current.")] = False,
) -> None:
    """Compute accuracy anew, by other definitions or conventions, from maps that `run --keep-maps` kept. Trains
    nothing."""
    from afrad_bench import console
    from afrad_bench.recompute import recompute
    from afrad_bench.store import Store

    workspace = _workspace(store, cache, LIMIT_GIB, device, threads, data)
    selection = _selection(suite, profile, override)
    out = console.make()
    planned, _ = _plan(selection, workspace, out)
    found = list(recompute(planned, Store(store), force))
    for one in found:
        cell = one.planned
        why = f": {one.why}" if one.why else ""
        out.print(f"{cell.row.label}, {cell.cell.dataset}, seed {cell.cell.seed}: {one.state}{why}", markup=False)
    if any(one.state in ("no maps", "other terms") for one in found):
        raise typer.Exit(EXIT_FAILED_CELLS)


@store_app.command("compact")
def store_compact(store: StoreOption = STORE) -> None:
    """Put the rows of many small files into few, which are read faster. Rows stay as they are."""
    from afrad_bench import console
    from afrad_bench.store import Store

    if not (store / "cells").is_dir():
        raise fail("no store there", str(store), "`afrad-bench run SUITE` makes one")
    before, after = Store(store).compact()
    console.make().print(f"{before} files became {after}")


def main() -> None:
    """Entry point: errors that the user can fix become text and exit code 2; defects keep their traceback and exit
    with 70, since 1, Python's own code of a crash, is that of a regression."""
    try:
        _main()
    except Exception:  # noqa: BLE001 - shown as it is; only the code is ours
        import traceback

        traceback.print_exc()
        sys.exit(EXIT_DEFECT)


def _main() -> None:
    try:
        app()
    except UserError as error:
        from afrad_bench import console

        console.show_error(error)
        sys.exit(EXIT_USER)
    except OSError as error:
        if error.filename is None:
            raise
        from afrad_bench import console

        console.show_error(fail(error.strerror or str(error), str(error.filename)))
        sys.exit(EXIT_USER)


# ------------------------------------------------------------------------------------------------------------- shared


def _workspace(
    store: Path, cache: Path | None, limit: float, device: str, threads: int | None, data: list[str] | None
) -> Workspace:
    from afrad_bench.workspace import Workspace, parse_roots, roots_from

    if store.exists() and not store.is_dir():
        raise fail(f"{store} is no folder", "--store", "name a folder; it is made when it is needed")
    return Workspace(
        store=store,
        cache=_cache_folder(cache),
        cache_limit=int(limit * 2**30),
        device=device,
        threads=threads,
        roots=parse_roots(data or []),
        environment_roots=roots_from(os.environ),
    )


def _cache_folder(cache: Path | None) -> Path:
    from platformdirs import user_cache_path

    folder = cache or user_cache_path("afrad-bench")
    if folder.exists() and not folder.is_dir():
        raise fail(f"{folder} is no folder", "--cache", "name a folder; it is made when it is needed")
    return folder


def _suite_folders() -> list[Path]:
    """./suites, then the suites that were installed with the package."""
    import importlib.util

    spec = importlib.util.find_spec("afrad_bench_suites")
    installed = [Path(place) for place in (spec.submodule_search_locations if spec else None) or ()]
    return list(dict.fromkeys(path.resolve() for path in (Path("suites"), *installed) if path.is_dir()))


def _selection(suite: str, profile: str | None, overrides: list[str] | None) -> Selection:
    return _suite(suite).select(profile, overrides or ())


def _suite(suite: str) -> Suite:
    from afrad_bench.suite import find, load

    path = find(suite, _suite_folders())
    if not path.is_file():
        raise fail("no such suite file", str(path), "`afrad-bench list suites` shows what there is")
    return load(path)


def _plan(selection: Selection, workspace: Workspace, out: Any) -> tuple[Plan, float]:
    """The plan, and the seconds that went into finding and verifying the data."""
    from afrad_bench import console
    from afrad_bench.plan import make

    began = time.perf_counter()
    with console.busy(out) as watch:
        made = make(selection, workspace, workspace.files(watch))
    return made, time.perf_counter() - began


def _publish(
    report: Any, folder: Path, out: Any, timing: bool = False, more: Mapping[str, str] = MappingProxyType({})
) -> None:
    from afrad_bench.report import to_terminal, write

    to_terminal(report, out, timing=timing)
    written = write(report, folder, more)
    page = next(path for path in written if path.suffix == ".html")
    out.print(f"report: {page}", soft_wrap=True)
    if report.figures:
        count = len(report.figures)
        where = folder / report.folder
        out.print(f"pictures: {count} as SVG and PNG in {where}, and in the page", soft_wrap=True)
