"""Bundles of options: one parameter of a command, an option for each of its fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from afrad_bench.cli.bundles import bundled
from afrad_bench.cli.options import MeasuringPlace, Place, SuiteChoice

SEEN: list[object] = []


@dataclass(frozen=True)
class Where:
    folder: Annotated[Path, typer.Option("--folder", help="Where to look.")] = Path("here")
    deep: Annotated[bool, typer.Option("--deep", help="Look into folders.")] = False


@dataclass(frozen=True)
class Deeper(Where):
    depth: Annotated[int, typer.Option("--depth", min=1, help="How deep.")] = 3


def program(command: object) -> typer.Typer:
    app = typer.Typer()
    app.command()(bundled(command))  # type: ignore[arg-type]
    return app


@pytest.fixture
def runner() -> CliRunner:
    SEEN.clear()
    return CliRunner()


def test_each_field_is_an_option(runner: CliRunner) -> None:
    def look(what: Annotated[str, typer.Argument()], where: Deeper, loud: bool = False) -> None:
        """Look for something."""
        SEEN.extend([what, where, loud])

    app = program(look)
    assert runner.invoke(app, ["a"]).exit_code == 0
    assert ["a", Deeper(), False] == SEEN
    SEEN.clear()
    words = ["--depth", "5", "a", "--folder", "there", "--deep", "--loud"]
    assert runner.invoke(app, words).exit_code == 0
    assert ["a", Deeper(Path("there"), True, 5), True] == SEEN
    shown = runner.invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    assert "Look for something." in shown
    assert "Where to look." in shown
    assert "[default: here]" in shown


def test_limits_and_missing_arguments_are_typers(runner: CliRunner) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Choice(Where):
        name: Annotated[str, typer.Argument()]

    globals()["Choice"] = Choice  # annotations are text, found in the module

    def look(choice: Choice, where: Annotated[int, typer.Option("--where")] = 1) -> None:
        SEEN.append(choice.name)

    assert runner.invoke(program(look), []).exit_code == 2
    assert runner.invoke(program(look), ["a", "--where", "x"]).exit_code == 2
    assert SEEN == []
    assert runner.invoke(program(look), ["a"]).exit_code == 0
    assert SEEN == ["a"]


def test_two_options_of_one_name_are_a_defect() -> None:
    def look(where: Where, folder: str = "") -> None: ...

    with pytest.raises(TypeError, match="look: two options are called folder"):
        bundled(look)


def test_shared_bundles_declare_each_option_once() -> None:
    fields = [set(bundle.__dataclass_fields__) for bundle in (SuiteChoice, Place)]
    assert not fields[0] & fields[1]
    assert set(MeasuringPlace.__dataclass_fields__) - fields[1] == {"cache_limit"}
