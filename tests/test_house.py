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

LAYERS = {
    "": 0,
    "errors": 0,
    "types": 0,
    "polyline": 0,
    "backbones": 1,
    "checked": 1,
    "environment": 1,
    "memory": 1,
    "metrics": 1,
    "official": 1,
    "patch_embedding": 1,
    "peak_memory": 1,
    "pictures": 1,
    "postprocessing": 1,
    "published": 1,
    "registry": 1,
    "statistics": 1,
    "store": 1,
    "strict_yaml": 1,
    "suite_file": 1,
    "audit": 2,
    "datasets": 2,
    "extractor": 2,
    "fitting": 2,
    "images": 2,
    "inference": 2,
    "resampling": 2,
    "selection": 2,
    "synthesis": 2,
    "textures": 2,
    "features": 3,
    "frozen": 3,
    "measures": 3,
    "report": 3,
    "suite": 3,
    "workspace": 3,
    "intake": 3,
    "model_file": 4,
    "testing": 4,
    "models": 4,
    "plan": 4,
    "catalogue": 4,
    "explain": 5,
    "comparing": 5,
    "export": 5,
    "portable": 5,
    "reporting": 5,
    "kept_maps": 1,
    "recompute": 6,
    "run": 5,
    "console": 6,
    "search": 6,
    "interleaved": 6,
    "cli": 7,
}
"""A module imports only from lower rooms, or from its own."""


def room_of(module: str) -> str:
    """ "afrad_bench.measures.latency" -> "measures"."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports anywhere but for type checking, with full names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(inner for statement in node.body for inner in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "afrad_bench":
            yield from (f"afrad_bench.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    module = ".".join(["afrad_bench", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    room = room_of(module)
    assert room in LAYERS, f"give the room {room!r} a layer"
    for name in imports(path):
        if name.partition(".")[0] != "afrad_bench" or room_of(name) == room or name == "afrad_bench.__version__":
            continue
        assert LAYERS[room_of(name)] < LAYERS[room], f"{module} imports {name}, which is not below it"


def test_the_harness_never_imports_a_baseline() -> None:
    for path in sources():
        assert not any(name.startswith("afrad_bench_baselines") for name in imports(path)), path


def test_no_measure_imports_another() -> None:
    public = {entry.module for entry in registry.entries("measure").values()}
    for path in (PACKAGE / "measures").glob("[!_]*.py"):
        assert not public & set(imports(path)), path


OFFERED = {
    *("types", "errors", "backbones", "features", "extractor", "fitting", "frozen", "memory", "official"),
    *("inference", "patch_embedding", "postprocessing", "synthesis", "textures"),
}


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
