"""`benchmarks/gpu_check.py`: the little that a card is lent for must not be lost to a step that fails or hangs."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_check.py"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The script, with a pack of its own."""
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_check", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PACK", tmp_path / "pack")
    return module


@pytest.fixture
def check(gpu_check: ModuleType, tmp_path: Path) -> Any:
    made = gpu_check.Check("cpu", tmp_path / "out", tmp_path)
    made._began, made._environment = time.monotonic(), {}
    return made


def test_a_pack_that_would_not_do_is_told_before_anything_begins(
    gpu_check: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "`make gpu-pack`" in gpu_check._lacking()
    wheels = gpu_check.PACK / "wheels"
    (gpu_check.PACK / "demo").mkdir(parents=True)
    wheels.mkdir()
    own = f"cp{sys.version_info.major}{sys.version_info.minor}"
    for name in ("yacs-0.1.8-py3-none-any.whl", f"pydantic_core-2.50-{own}-{own}-manylinux2014_x86_64.whl"):
        (wheels / name).touch()
    assert gpu_check._lacking() == ""
    (wheels / "sqlalchemy-2.1-cp27-cp27-manylinux2014_x86_64.whl").touch()
    assert gpu_check._lacking() == "", "what is compiled is installed here anyway"
    monkeypatch.setattr(gpu_check, "find_spec", lambda name: None)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert gpu_check._lacking().endswith(f"`python benchmarks/gpu_check.py pack --python {version}`")


def test_a_process_that_lives_on_is_not_waited_for(check: Any) -> None:
    """In a group of its own, and with the output of the command open, as processes that compile may be."""
    lives_on = "import subprocess as s; s.Popen(['sleep', '20'], start_new_session=True); print('said', flush=True)"
    began = time.monotonic()
    assert check._ran([sys.executable, "-c", lives_on], 15) == (0, "said\n")
    rc, said = check._ran([sys.executable, "-c", f"{lives_on}; import time; time.sleep(20)"], 2)
    assert time.monotonic() - began < 15
    assert (rc, said) == (124, "said\n\nended after 2 s")


def test_output_that_was_cut_off_ends_no_check(gpu_check: ModuleType, check: Any) -> None:
    cut = gpu_check.Step(
        "training", 20, [[sys.executable, "-c", "print('{\"grid 8, eager\": 1.')"]], gpu_check._figures
    )
    done = check._done(cut)
    assert done["rc"] == 0
    assert done["facts"]["unreadable"].startswith("JSONDecodeError")
    assert done["output"] == '{"grid 8, eager": 1.\n'


def test_figures_of_the_comparison_are_found_among_other_lines(gpu_check: ModuleType) -> None:
    methods = {"device": "cuda:0", "methods": [{"method": "afrad", "state": "ok"}]}
    said = f"afrad on cpu and cuda:0\n{json.dumps(methods, indent=2)}\na library says good-bye"
    assert gpu_check._parity(said) == methods
    assert gpu_check._parity("Traceback: no card") is None
