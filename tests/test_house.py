"""The house rules that no linter knows: one-way imports, light doors, one registry."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys

import pytest

from afrad_bench import registry
from tests.conftest import ROOT

_spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs" / "architecture.py")
assert _spec is not None
assert _spec.loader is not None
architecture = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(architecture)
DOOR = architecture.DOOR


def test_imports_go_one_way() -> None:
    floor = {room: -number for number, rooms in enumerate(architecture.floors()) for room in rooms}
    wrong = []
    for module, names in architecture.modules().items():
        for name in names - {DOOR} if module != DOOR else ():
            own, other = architecture.room_of(module), architecture.room_of(name)
            if own != other and floor[other] >= floor[own]:
                wrong.append(f"{module} imports {name}")
    assert not wrong, "not below, see docs/architecture.md:\n" + "\n".join(sorted(wrong))


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: names - {DOOR} for module, names in architecture.modules().items() if module != DOOR}
    while free := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in free}
    assert not left, f"circles among: {', '.join(sorted(left))}"


def test_every_module_has_a_docstring() -> None:
    for module, path in architecture.sources().items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} has no docstring"


def test_the_picture_shows_the_rooms_as_they_are() -> None:
    drawn = architecture.PICTURE.read_text(encoding="utf-8")
    rooms = {architecture.whole(architecture.room_of(module)) for module in architecture.modules() if module != DOOR}
    missing = [room for room in rooms - {"__main__"} if f">{room}</text>" not in drawn]
    assert not missing, f"docs/architecture.svg lacks {', '.join(missing)}: run python docs/architecture.py"
    assert drawn == architecture.svg(), "docs/architecture.svg is not up to date: run python docs/architecture.py"


def test_the_table_names_no_room_that_is_gone() -> None:
    there = {architecture.room_of(module) for module in architecture.modules() if module != DOOR}
    assert {room for floor in architecture.floors() for room in floor} == there


def test_files_that_the_architecture_page_names_exist() -> None:
    named = set(
        re.findall(
            r"`((?:afrad_bench|baselines|suites|tests|docs)/[\w./]*)`", architecture.PAGE.read_text(encoding="utf-8")
        )
    )
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_harness_never_imports_a_baseline() -> None:
    for path in architecture.sources().values():
        assert not any(name.startswith("afrad_bench_baselines") for name in architecture.imports(path)), path


def test_no_measure_imports_another() -> None:
    public = {entry.module for entry in registry.entries("measure").values()}
    for module, names in architecture.modules().items():
        owner = next((name for name in public if module == name or module.startswith(f"{name}.")), None)
        if owner is not None:
            assert not {name for name in names if name in public} - {owner}, module


OFFERED = {"types", "errors", "hashing", "backbone", "methods", "machine"}


def test_baselines_use_only_what_the_harness_offers_them() -> None:
    for path in (ROOT / "baselines").rglob("*.py"):
        names = [name for name in architecture.imports(path) if name.startswith("afrad_bench.")]
        rooms = {architecture.whole(architecture.room_of(name)) for name in names}
        assert rooms <= OFFERED, (path, rooms)


def light(code: str) -> str:
    heavy = "{'torch', 'timm', 'numpy', 'pandas', 'sklearn', 'pyarrow', 'optuna', 'matplotlib', 'PIL'}"
    check = f"import sys; {code}; print(sorted({heavy} & set(sys.modules)))"
    return subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout.strip()


def test_help_is_light() -> None:
    code = (
        "from typer.testing import CliRunner; from afrad_bench.cli import app; r = CliRunner().invoke(app, ['--help'])"
    )
    assert light(f"{code}; assert r.exit_code == 0") == "[]"


def test_modules_that_are_registered_import_quickly() -> None:
    """A finished suite answers at once because validating its methods needs no torch."""
    names = [entry.module for kind in ("method", "dataset", "measure") for entry in registry.entries(kind).values()]
    assert light(f"import importlib; [importlib.import_module(name) for name in {names!r}]") == "[]"


@pytest.mark.parametrize("kind", ["method", "dataset", "measure"])
def test_every_entry_keeps_its_contract(kind: registry.Kind) -> None:
    wanted = {
        "method": ("VERSION", "PAPER", "Config", "build"),
        "dataset": ("VERSION", "ENVIRONMENT", "HELP", "Config", "load"),
        "measure": ("VERSION", "TERMS", "METRICS", "Config", "measure"),
    }[kind]
    assert registry.entries(kind)
    for entry in registry.entries(kind).values():
        module = entry.load()
        assert entry.summary(), entry.name
        for name in wanted:
            assert hasattr(module, name), f"{entry.module} defines no {name}"
        for name, field in module.Config.model_fields.items():
            assert field.description, f"{entry.module}: the field {name} has no description"


def test_metrics_have_one_owner() -> None:
    owners: dict[str, str] = {}
    for entry in registry.entries("measure").values():
        for metric in entry.load().METRICS:
            assert owners.setdefault(metric, entry.name) == entry.name
