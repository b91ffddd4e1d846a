"""What building a method would refuse, found before the first cell: by the `check` of its module, which looks at the
configuration and the image size alone, and by looking for the files that the configuration names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from afrad_bench import registry
from afrad_bench.errors import Problem, UserError, fail
from afrad_bench.methods import textures
from afrad_bench.methods.training_step import must_step
from afrad_bench.running.plan import Plan, PlannedCell
from afrad_bench.suite.selection import Selection, SuiteRow
from afrad_bench.suite.suite import Suite


def refusals(selection: Selection) -> list[Problem]:
    """Why methods of these rows would not be built at the image size of the profile, whatever the machine holds, and
    what could not be measured on its data."""
    found: list[Problem] = []
    for row in selection.rows:
        module = registry.find("method", row.method).load()
        if hasattr(module, "check"):
            found += _problems(f"{row.label}, profile {selection.profile}", row, module.check, selection.image_size)
    return [*found, *_unmeasurable(selection)]


def _unmeasurable(selection: Selection) -> Iterator[Problem]:
    """Measures whose options do not fit a data set."""
    for measure in selection.measures:
        module = registry.find("measure", measure.name).load()
        if not hasattr(module, "check"):
            continue
        config = module.Config.model_validate_json(measure.options)
        for dataset in selection.datasets:
            try:
                module.check(config, dataset.holds_out)
            except UserError as error:
                name = f"{measure.name} on {dataset.name}, profile {selection.profile}"
                yield from (Problem(f"{name}: {one.what}", one.where, one.hint) for one in error.problems)


def absent_files(rows: Iterable[SuiteRow]) -> list[Problem]:
    """Checkpoints to start from, textures and other files that the rows name, but that this machine does not hold."""
    found: list[Problem] = []
    for row in rows:
        for check in file_checks(registry.find("method", row.method).load()):
            found += _problems(row.label, row, check)
    return found


def file_checks(module: Any) -> tuple[Callable[[Any], None], ...]:
    """What looks for the files that a configuration of this method names; each raises `UserError`."""
    return (_must_have_start, getattr(module, "must_be_here", _must_have_textures))


def must_build(plan: Plan, cells: Iterable[PlannedCell]) -> None:
    """Raise one `UserError` with everything that would be refused when these cells are run."""
    rows = tuple(dict.fromkeys(one.row for one in cells))
    problems = [*refusals(replace(plan.selection, rows=rows)), *absent_files(rows)]
    problems += [one for row in rows for one in _problems(row.label, row, must_step, plan.environment.device)]
    if problems:
        raise UserError(*dict.fromkeys(problems))


def must_build_all(suite: Suite, selection: Selection) -> None:
    """Raise one `UserError` with what any profile would be refused for; files are looked for only for `selection`."""
    problems = absent_files(selection.rows)
    for name in suite.file.profiles:
        problems += refusals(selection if name == selection.profile else suite.select(name))
    if problems:
        raise UserError(*dict.fromkeys(problems))


def _problems(name: str, row: SuiteRow, check: Any, *arguments: Any) -> Iterator[Problem]:
    config = registry.find("method", row.method).load().Config.model_validate_json(row.params)
    try:
        check(config, *arguments)
    except UserError as error:
        for one in error.problems:
            what = f"{one.where}: {one.what}" if one.where else one.what
            yield Problem(f"{name}: {what}", row.where or None, one.hint)
    except ValueError as error:
        what, *rest = str(error).splitlines() or ["refused without a reason"]
        yield Problem(f"{name}: {what}", row.where or None, "\n".join(line.strip() for line in rest) or None)


def _must_have_start(config: Any) -> None:
    start = getattr(config, "start", None)
    if isinstance(start, str) and not Path(start).expanduser().is_file():
        raise fail(f"no such checkpoint: {start}", hint="`start` names a file of the method's official code")


def _must_have_textures(config: Any) -> None:
    wanted = getattr(config, "textures", None)
    trained = getattr(getattr(config, "training", None), "epochs", 1) > 0
    if isinstance(wanted, textures.TextureConfig) and trained:
        textures.must_be_here(wanted)
