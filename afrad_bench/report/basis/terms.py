"""The terms of the comparison: the conditions of the measurements. A line above all numbers holds the most important
ones; the end of the report has all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from afrad_bench.machine.environment import device_type
from afrad_bench.methods.recipes import DIFFERS
from afrad_bench.report.basis.grid import Counted, Grid
from afrad_bench.report.basis.recipes import UNDECLARED, chosen, stages_of, stated
from afrad_bench.report.basis.results import Run
from afrad_bench.report.model import Level, Term

MUST_AGREE: Mapping[str, str] = {
    "image_size": "image sizes",
    "setting": "settings",
    "selection": "rules for the epoch that is scored",
    "device": "devices",
    "device_name": "kinds of device",
    "threads": "numbers of threads",
    "precision": "precisions",
    "arithmetic": "settings of torch's arithmetic",
    "code_version": "versions of the code",
    "git_revision": "revisions of the code",
    "python": "Python versions",
}
"""Terms that must agree in all rows of a report; a difference is an alarm. Backbone, weights and epochs belong to the
methods: they may differ, and are then shown by row."""

_SHOWN_ELSEWHERE = ("selection",)


def terms(grid: Grid) -> tuple[Term, ...]:
    """Profile, data, training, device, software and dates."""
    spec, uses = grid.spec, grid.counted
    profile = Term("Profile", spec.profile)
    if not uses:
        return (profile, Term("Results", "none: nothing has been measured yet", "alarm"))
    what = [profile, *_data(grid, uses)]
    what += [
        _term("Setting", uses, "setting", plural="settings"),
        _term("Image size", uses, "image_size", lambda run: _pixels(run.term("image_size")), "image sizes"),
        _configuration(grid),
        _term("Backbone", uses, "backbone", plural="backbones"),
        _weights(uses),
        *_stages(uses),
        *_chosen(grid),
        _epochs(uses),
        _term("Epoch scored", uses, "selection"),
        _seeds(grid),
    ]
    where = [
        _term("Device", uses, "device", _device, "devices"),
        _term("Threads", uses, "threads"),
        _term("Precision", uses, "precision"),
        _term("Code", uses, "git_revision", _code),
        _packages(uses),
        Term("Measures", _measure_versions(uses), _alarm(mixed_versions(uses))),
        Term("Measured", _dates(uses)),
    ]
    return (*what, *(replace(term, group="where") for term in (*where, *_further(uses))))


def short(digest: Any) -> str:
    """The first 12 characters of a digest (32 characters or more); other values unchanged."""
    text = plain(digest)
    return text[:12] if len(text) >= 32 else text


def by_value(uses: Iterable[Counted], value: Callable[[Run], str]) -> dict[str, list[str]]:
    """Value -> labels of the rows that have it, both in order of appearance."""
    found: dict[str, dict[str, None]] = {}
    for use in uses:
        found.setdefault(value(use.run), {})[use.row.label] = None
    return {each: list(labels) for each, labels in found.items()}


def by_term(uses: Iterable[Counted], term: str) -> dict[str, list[str]]:
    """Value of a term -> labels of the rows that have it."""

    def shown(run: Run) -> str:
        value = run.term(term)
        if term == "backbone" and value is None:
            return "none"  # such as of a network that is trained from its initial values
        return short(_kind(value) if term == "device" else value)

    return by_value(uses, shown)


def _kind(device: str | None) -> str | None:
    """Which of several equal cards it was, changes nothing."""
    return None if device is None else device_type(device)


def listed(values: Mapping[str, Sequence[str]]) -> str:
    """The rows of each value: the exceptions by name, then the value of all others."""
    most = max(values, key=lambda value: len(values[value]))
    few = {value: labels for value, labels in values.items() if value != most}
    exclusive = not set(values[most]) & {label for labels in few.values() for label in labels}
    if exclusive and len(values[most]) > 2:
        return "; ".join((*(f"{value} ({some(labels)})" for value, labels in few.items()), f"{most} (all others)"))
    return "; ".join(f"{value} ({some(labels)})" for value, labels in values.items())


def some(labels: Sequence[str]) -> str:
    """Labels of rows; of more than four, only the first three and the number of the others.

    >>> some(["AFRAD", "PaDiM"]), some(["AFRAD", "AFRAD, tuned"]), some("ABCDE")
    ('AFRAD, PaDiM', 'AFRAD; AFRAD, tuned', 'A, B, C and 2 more')
    """
    shown = labels if len(labels) <= 4 else labels[:3]
    between = "; " if any("," in label for label in labels) else ", "
    return between.join(shown) + (f" and {len(labels) - 3} more" if len(labels) > 4 else "")


def plain(value: Any) -> str:
    """A term as text; "not recorded" for None."""
    return "not recorded" if value is None else str(value)


def _pixels(size: Any) -> str:
    return "not recorded" if size is None else f"{size} × {size} px"


def _alarm(bad: object) -> Level:
    return "alarm" if bad else "plain"


def _term(
    name: str, uses: Sequence[Counted], term: str, value: Callable[[Run], str] | None = None, plural: str = ""
) -> Term:
    """`plural`: what several values are called in the line above the answer; empty for a term that it leaves out."""
    values = by_term(uses, term) if value is None else by_value(uses, value)
    text = next(iter(values)) if len(values) == 1 else listed(values)
    brief = "" if not plural else text if len(values) == 1 else f"{len(values)} {plural}"
    return Term(name, text, _alarm(term in MUST_AGREE and len(values) > 1), brief=brief)


def _data(grid: Grid, uses: Sequence[Counted]) -> Iterable[Term]:
    for dataset in grid.datasets:
        here = [use for use in uses if use.cell.dataset == dataset]
        if not here:
            yield Term("Data", f"{dataset}: not measured yet", "note", brief=f"{dataset}, not measured yet")
            continue
        parts = dict.fromkeys(use.cell.part for use in here)
        name = by_value(here, lambda run: f"{run.term('dataset')}, version {plain(run.term('dataset_version'))}")
        prints = by_value(here, lambda run: short(run.term("data_fingerprint")))
        data = f"fingerprint {', '.join(prints)}" if len(prints) == 1 else f"{len(prints)} fingerprints"
        covers = "" if parts.keys() == {None} else f" ({len(parts)} parts, each its own model)"
        bad = len(name) > 1 or (len(prints) > len(parts))
        yield Term("Data", f"{'; '.join(name)} · {data}{covers}", _alarm(bad), brief=dataset)


def _configuration(grid: Grid) -> Term:
    """Which rows differ from the configuration that their method was published with."""
    found: dict[str, list[str]] = {}
    for label, text in stated(grid).items():
        short_text = f"{DIFFERS}, see the footnotes of the results" if DIFFERS in text else text
        found.setdefault(short_text, []).append(label)
    text = next(iter(found)) if len(found) == 1 else listed(found)
    return Term("Configuration", text, "note" if any(DIFFERS in each for each in found) else "plain")


def _stages(uses: Sequence[Counted]) -> Iterable[Term]:
    """Which backbone stages the rows read, if any method declares that."""
    if by_value(uses, stages_of).keys() != {UNDECLARED}:
        yield _term("Backbone stages", uses, "stages", stages_of)


def _chosen(grid: Grid) -> Iterable[Term]:
    """Which rows stand on data on which their method's defaults were chosen."""
    found: dict[str, list[str]] = {}
    for label, text in chosen(grid).items():
        found.setdefault(text, []).append(label)
    if found:
        yield Term("Defaults", "; ".join(f"{text}: {some(labels)}" for text, labels in found.items()), "note")


def _weights(uses: Sequence[Counted]) -> Term:
    def text_of(run: Run) -> str:
        if run.is_random:
            return "random"
        label = run.term("weights")
        return "none" if label is None else f"{label} · {short(run.term('weights_hash'))}"

    values = by_value(uses, text_of)
    text = next(iter(values)) if len(values) == 1 else listed(values)
    return Term("Weights", text, _alarm("random" in values), brief="random weights" if "random" in values else "")


def _epochs(uses: Sequence[Counted]) -> Term:
    term = _term("Epochs trained", uses, "epochs")
    known = sorted({epochs for use in uses if (epochs := use.run.term("epochs"))})  # 0: a method that does not train
    if not known:
        return term
    return replace(term, brief=count(known[0], "epoch") if len(known) == 1 else f"{known[0]} to {known[-1]} epochs")


def _seeds(grid: Grid) -> Term:
    seeds = sorted({cell.seed for row in grid.spec.rows for cell in row.cells})
    return Term("Seeds", f"{', '.join(map(str, seeds))} ({count(len(seeds), 'seed')})", brief=count(len(seeds), "seed"))


def _device(run: Run) -> str:
    device, name = run.term("device"), run.term("device_name")
    return plain(device) if not name or name == device else f"{plain(device)} · {name}"


def _code(run: Run) -> str:
    revision = run.term("git_revision")
    version = f"afrad-bench {plain(run.term('code_version'))}"
    if revision is None:
        return version
    return f"{version} · {revision[:12]}{' with uncommitted changes' if run.term('git_dirty') else ''}"


def package_values(uses: Iterable[Counted]) -> dict[str, dict[str, list[str]]]:
    """Package -> version -> labels of the rows that were measured with it."""
    found: dict[str, dict[str, dict[str, None]]] = {}
    for use in uses:
        for package, version in (use.run.row["packages"] or {}).items():
            found.setdefault(package, {}).setdefault(str(version), {})[use.row.label] = None
    return {name: {v: list(labels) for v, labels in values.items()} for name, values in sorted(found.items())}


def _packages(uses: Sequence[Counted]) -> Term:
    python = by_value(uses, lambda run: plain(run.term("python")))
    named = {"Python": python, **package_values(uses)}
    text = ", ".join(f"{name} {' / '.join(values)}" for name, values in named.items())
    return Term("Packages", text, _alarm(any(len(values) > 1 for values in named.values())))


def _versions(uses: Iterable[Counted]) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for use in uses:
        version = plain(use.run.measures[use.measure].get("version"))
        labels = found.setdefault(use.measure, {}).setdefault(version, [])
        if use.row.label not in labels:
            labels.append(use.row.label)
    return found


def mixed_versions(uses: Iterable[Counted]) -> dict[str, dict[str, list[str]]]:
    """Measure with several versions in the report -> version -> labels of the rows."""
    return {measure: values for measure, values in _versions(uses).items() if len(values) > 1}


def _measure_versions(uses: Iterable[Counted]) -> str:
    return ", ".join(f"{measure} {' / '.join(values)}" for measure, values in _versions(uses).items())


def _dates(uses: Iterable[Counted]) -> str:
    times: list[datetime] = []
    for use in uses:
        times += [time for time in (use.run.term("started_at"), use.run.term("ended_at")) if time is not None]
    if not times:
        return "not recorded"
    first, last = (time.astimezone(timezone.utc) for time in (min(times), max(times)))
    end = f"{last:%H:%M}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M}"
    return f"{first:%Y-%m-%d %H:%M} to {end} UTC"


def _further(uses: Sequence[Counted]) -> Iterable[Term]:
    """Further terms that a run recorded under its own names."""
    names = dict.fromkeys(name for use in uses for name in (use.run.row["terms"] or {}))
    for name in names:
        if name not in _SHOWN_ELSEWHERE and all(name not in use.run.row for use in uses):
            yield _term(name.replace("_", " ").capitalize(), uses, name)


def count(number: int, noun: str) -> str:
    """ "1 seed", "2 seeds", "2 categories"."""
    plural = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"
