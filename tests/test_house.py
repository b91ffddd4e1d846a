"""The house rules that no linter knows: one-way imports, light doors, one registry."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from afrad_bench import registry

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "afrad_bench"

ROOMS = """
__main__
cli
search comparing latency
report.from_plan
report
report.sections report.formats
report.basis
report.model
report.drawing
running
measures datasets deploy testing
instruments suite methods audit
images backbone machine store statistics published
types registry
errors hashing
"""
"""The rooms, the highest first. A module imports only from rooms on lower lines, or from its own room, also for type
checking."""

FLOOR = {room: -line for line, rooms in enumerate(ROOMS.split("\n")) for room in rooms.split()}
DOOR = "afrad_bench"
"""The package itself: its version, and `AFRAD`, imported when it is asked for."""


def room_of(module: str) -> str:
    """The most specific room: "afrad_bench.report.basis.grid" lies in "report.basis"."""
    name = module.removeprefix(f"{DOOR}.")
    while name not in FLOOR:
        name, dot, _ = name.rpartition(".")
        assert dot, f"{module} lies in no room: give it a line in ROOMS"
    return name


def sources() -> dict[str, Path]:
    """Module -> file, of the whole package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere, for type checking too."""
    known = sources()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


def arrows() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    known = sources()
    return {module: {name for name in imports(path) if name in known} - {module} for module, path in known.items()}


def test_imports_go_one_way() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, names in arrows().items()
        for name in names
        if DOOR not in (module, name) and room_of(module) != room_of(name)
        if FLOOR[room_of(name)] >= FLOOR[room_of(module)]
    ]
    assert not wrong, "not below:\n" + "\n".join(sorted(wrong))


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: names - {DOOR} for module, names in arrows().items() if module != DOOR}
    while free := {module for module, names in left.items() if not names & left.keys()}:
        left = {module: names for module, names in left.items() if module not in free}
    assert not left, f"circles among: {', '.join(sorted(left))}"


def test_every_room_says_what_it_is() -> None:
    for module, path in sources().items():
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), f"{module} has no docstring"


def test_the_harness_never_imports_a_baseline() -> None:
    for path in sources().values():
        assert not any(name.startswith("afrad_bench_baselines") for name in imports(path)), path


def test_no_measure_imports_another() -> None:
    public = {entry.module for entry in registry.entries("measure").values()}
    for module, names in arrows().items():
        owner = next((name for name in public if module == name or module.startswith(f"{name}.")), None)
        if owner is not None:
            assert not {name for name in names if name in public} - {owner}, module


OFFERED = {"types", "errors", "hashing", "backbone", "methods", "machine"}


def test_baselines_use_only_what_the_harness_offers_them() -> None:
    for path in (ROOT / "baselines").rglob("*.py"):
        rooms = {room_of(name) for name in imports(path) if name.startswith("afrad_bench.")}
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
