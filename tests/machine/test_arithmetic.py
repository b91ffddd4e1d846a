"""Deterministic algorithms, TF32 and cudnn.benchmark: set while a cell runs, restored after it, and in its terms."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from afrad_bench import registry
from afrad_bench.errors import UserError
from afrad_bench.machine.arithmetic import CUBLAS, Arithmetic, applied, refused, without_tf32
from afrad_bench.machine.environment import Environment, current
from afrad_bench.running.plan import Plan, make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from tests.conftest import mvtec_folder
from tests.plugin import install
from tests.program import SUITE


def settings() -> dict[str, Any]:
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "TF32": (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32),
        "workspace": os.environ.get(CUBLAS),
    }


def test_settings_hold_inside_and_are_restored_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CUBLAS, raising=False)
    before, inside = settings(), []

    def interrupted() -> None:
        with applied(Arithmetic(deterministic=True, tf32=True), "cuda:0"):
            inside.append(settings())
            with without_tf32():
                inside.append(settings())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    wanted = {"deterministic": True, "warn only": False, "cudnn.deterministic": True, "cudnn.benchmark": False}
    wanted |= {"TF32": (True, True), "workspace": ":4096:8"}
    assert inside == [wanted, wanted | {"TF32": (False, False)}]
    assert settings() == before
    with applied(Arithmetic(cudnn_benchmark=True, tf32=False), "cuda:0"):
        assert settings() == before | {"cudnn.benchmark": True, "TF32": (False, False)}
    assert settings() == before


def test_a_workspace_that_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CUBLAS, ":16:8")
    with applied(Arithmetic(deterministic=True), "cuda:0"):
        assert os.environ[CUBLAS] == ":16:8"
    assert os.environ[CUBLAS] == ":16:8"


def test_what_a_device_lacks_changes_nothing_there() -> None:
    wanted = Arithmetic(deterministic=True, tf32=False, cudnn_benchmark=None)
    assert str(wanted) == "deterministic, TF32 off"
    assert (str(wanted.on("cpu")), wanted.idle("cpu"), wanted.idle("cuda:1")) == ("deterministic", ("tf32",), ())
    before = settings()
    with applied(Arithmetic(tf32=not before["TF32"][0], cudnn_benchmark=True), "cpu"):
        assert settings() == before
    assert str(Arithmetic()) == ""


def without_a_deterministic_form() -> None:
    """What torch refuses on every device in its deterministic mode."""
    torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))


def test_the_error_of_an_operator_names_it() -> None:
    without_a_deterministic_form()
    with applied(Arithmetic(deterministic=True), "cpu"), pytest.raises(RuntimeError) as caught:
        without_a_deterministic_form()
    found = refused(caught.value)
    assert found is not None
    assert "the operator put_ has no deterministic form on this device" in str(found)
    assert "leave out --deterministic" in str(found)
    assert refused(RuntimeError("out of memory")) is None


# ------------------------------------------------------------------------------------------------------------ in runs


@pytest.fixture
def planned(tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Overrides -> the plan of one cell, and its workspace."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site")))
    monkeypatch.setattr(registry, "_entries", registry._entries.__wrapped__)  # what is on the path now
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    roots = {"folder": str(mvtec_folder(tmp_path / "data", train=4, test=2))}
    workspace = Workspace(tmp_path / "results", cache_folder, 2**30, "cpu", roots=roots)

    def plan(*overrides: str) -> tuple[Plan, Workspace]:
        selection = load(path).select(None, ["seeds=[0]", 'rows=["plain"]', *overrides])
        return make(selection, workspace, workspace.files()), workspace

    return plan


def states(plan: Plan) -> list[tuple[str, str]]:
    return [(one.state, one.states["accuracy"].why) for one in plan.cells]


def test_a_deterministic_run_has_it_in_its_terms_and_leaves_nothing_behind(
    planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = []
    find = registry.find

    def watched(kind: registry.Kind, name: str, where: str | None = None) -> registry.Entry:
        inside.append(torch.are_deterministic_algorithms_enabled())
        return find(kind, name, where)

    before = settings()
    plan, workspace = planned()
    list(run_suite(plan, plan.open, workspace))
    assert states(planned()[0]) == [("done", "measured on equal terms")]
    plan, _ = planned("deterministic=true")
    assert states(plan) == [("stale", "arithmetic was not recorded, is deterministic")]
    monkeypatch.setattr(registry, "find", watched)
    assert [one.status for one in run_suite(plan, plan.open, workspace)] == ["ok"]
    monkeypatch.setattr(registry, "find", find)
    assert any(inside)
    assert settings() == before
    first, second = (json.loads(terms) for terms in Store(workspace.store).read("cells")["terms"])
    assert "arithmetic" not in first
    assert second["arithmetic"] == "deterministic"
    assert states(planned("deterministic=true")[0]) == [("done", "measured on equal terms")]
    assert states(planned()[0]) == [("stale", "arithmetic was deterministic, is not recorded")]


def test_an_operator_without_a_deterministic_form_fails_its_cell(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, workspace = planned("deterministic=true")

    def fit(self: Any, train: Any) -> None:
        without_a_deterministic_form()

    module = registry.find("method", "nearest_colour").load()
    monkeypatch.setattr(module.NearestColour, "fit", fit)
    (done,) = run_suite(plan, plan.open, workspace)
    assert done.status == "failed"
    assert "the operator put_ has no deterministic form on this device" in done.error
    assert "leave out --deterministic" in done.error
    assert not torch.are_deterministic_algorithms_enabled()


def test_settings_of_a_card_are_said_to_change_nothing_on_the_cpu(planned: Any) -> None:
    plan, workspace = planned()
    list(run_suite(plan, plan.open, workspace))
    plan, _ = planned("tf32=false", "cudnn_benchmark=true")
    assert states(plan) == [("done", "measured on equal terms")]
    assert "arithmetic: without effect on cpu: tf32, cudnn_benchmark" in plan.cautions
    assert not planned()[0].cautions
    with pytest.raises(UserError, match="it is not deterministic"):
        planned("deterministic=true", "cudnn_benchmark=true")


def test_precision_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("afrad_bench.machine.environment.resolve_device", lambda device: "cuda:0")
    monkeypatch.setattr("afrad_bench.machine.environment.name_of", lambda device: "Card")

    def found(**chosen: bool) -> Environment:
        return current("cuda:0", 1, Arithmetic(**chosen))

    assert found(tf32=True).precision == "float32 (TF32 in convolutions and matrix products)"
    assert found(tf32=False).precision == "float32"
