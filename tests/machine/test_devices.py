"""Which card is torch's current one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from afrad_bench.machine.devices import made_current
from afrad_bench.machine.free_memory import DeviceFailed
from afrad_bench.running.plan import make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite.suite import load
from tests.conftest import mvtec_folder

SUITE = """\
suite: one
title: One
measures: [cost]
methods: [{method: padim, params: {backbone: {name: resnet18, weights: random}}}]
profiles: {demo: {datasets: [folder], image_size: 32, seeds: [0], threads: 1}}
"""


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cards that were made current."""
    found: list[str] = []

    @contextmanager
    def device(name: str) -> Iterator[None]:
        found.append(name)
        yield
        found.append("left")

    monkeypatch.setattr("torch.cuda.device", device)
    return found


def test_a_card_is_the_current_one_and_other_devices_change_nothing(entered: list[str]) -> None:
    with made_current("cuda:1"):
        assert entered == ["cuda:1"]
    assert entered == ["cuda:1", "left"]
    with made_current("cpu"), made_current("mps"):
        assert entered == ["cuda:1", "left"]


def test_a_cell_runs_on_the_card_of_its_worker(
    entered: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[str, ...]] = []

    def fail(cell: object, device: str, *others: object) -> None:
        built.append((device, *entered))
        raise RuntimeError("no card")

    def gone(device: str) -> None:
        raise RuntimeError("CUDA error")

    monkeypatch.setattr("afrad_bench.running.cell_run.build", fail)
    monkeypatch.setattr("afrad_bench.running.cell_run.CellRun._prepare", lambda run: None)
    monkeypatch.setattr("torch.cuda.synchronize", gone)
    (tmp_path / "suite.yaml").write_text(SUITE, encoding="utf-8")
    data = mvtec_folder(tmp_path / "data", train=2, test=1)
    workspace = Workspace(tmp_path / "store", None, 2**30, "cpu", roots={"folder": str(data)})
    plan = make(load(tmp_path / "suite.yaml").select(), workspace, workspace.files())
    on_card = replace(plan, environment=replace(plan.environment, device="cuda:1"))
    with pytest.raises(DeviceFailed, match="cuda:1 has failed"):
        list(run_suite(on_card, on_card.cells, workspace))
    assert built == [("cuda:1", "cuda:1")]
