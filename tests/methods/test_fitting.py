"""Checkpoints of a training: written whole, used only if sound, and a damaged one is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from afrad_bench.methods import fitting
from afrad_bench.types import Bench, TrainingRecord
from afrad_bench.writing import DiskFull
from tests.full_disk import no_file_above


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "CHECKPOINT_SECONDS", 0.0)


def trained(bench: Bench, path: Path, epochs: int = 3, width: int = 4, identity: str = "a") -> TrainingRecord:
    """Three epochs of a linear layer; raises `KeyboardInterrupt` where `bench.watch` does."""
    torch.manual_seed(0)
    net = nn.Linear(width, 1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    checkpoint = fitting.Checkpoint(path, identity, {"net": net, "optimizer": optimizer})
    images = torch.arange(float(width))

    def one_epoch(epoch: int) -> float:
        return float(fitting.stepped((net(images) - 1).square().mean(), optimizer))

    return fitting.train_epochs(replace(bench, checkpoint=path), checkpoint, epochs, 1, net, one_epoch, ("own note",))


def stopped_after(epochs: int, bench: Bench) -> Bench:
    def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
        if done > epochs:
            raise KeyboardInterrupt

    return replace(bench, watch=watch)


def test_a_training_that_goes_on_is_the_same(tmp_path: Path, bench: Bench) -> None:
    whole, path = trained(bench, tmp_path / "other.pt"), tmp_path / "a.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(stopped_after(2, bench), path)
    resumed = trained(bench, path)
    assert resumed.loss == whole.loss
    assert resumed.resumed_at == 2
    assert resumed.notes == ("own note",)


def damaged(path: Path, how: str) -> None:
    state = torch.load(path, weights_only=True)
    if how == "torn":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "list":
        torch.save([1, 2], path)
    elif how == "number":
        torch.save(3, path)
    elif how == "no parts":
        torch.save({"identity": "a", "loss": [1.0]}, path)
    elif how == "no optimizer":
        del state["parts"]["optimizer"]
        torch.save(state, path)
    elif how == "strange optimizer":
        torch.save({**state, "parts": {**state["parts"], "optimizer": [3]}}, path)
    elif how == "other shape":
        state["parts"]["net"]["weight"] = torch.zeros(1, 9)
        torch.save(state, path)
    elif how == "strange loss":
        torch.save({**state, "loss": ["x"]}, path)


KINDS = ["torn", "text", "empty", "list", "number", "no parts", "no optimizer", "strange optimizer", "other shape"]


@pytest.mark.parametrize("how", [*KINDS, "strange loss"])
def test_a_damaged_checkpoint_is_told_and_leaves_no_trace(tmp_path: Path, bench: Bench, how: str) -> None:
    whole, path = trained(bench, tmp_path / "other.pt"), tmp_path / "a.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(stopped_after(2, bench), path)
    damaged(path, how)
    again = trained(bench, path)
    assert again.loss == whole.loss
    assert again.resumed_at == 0
    assert again.notes == ("own note", "the checkpoint was damaged: the training began anew")
    assert trained(bench, path).notes == ("own note",)  # it was replaced by a sound one


def test_a_checkpoint_of_another_fit_is_told(tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "a.pt"
    trained(bench, path, identity="b")
    again = trained(bench, path)
    assert again.resumed_at == 0
    assert again.notes == ("own note", "the checkpoint was one of another fit: the training began anew")


def test_a_full_disk_is_an_error_to_fix_and_keeps_the_checkpoint(tmp_path: Path, bench: Bench) -> None:
    path = tmp_path / "a.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(stopped_after(2, bench), path, width=2000)
    before = path.read_bytes()
    with no_file_above(5000), pytest.raises(DiskFull) as caught:
        trained(bench, path, width=2000)
    assert str(caught.value).startswith(f"{tmp_path}: cannot be written, the disk is full: ")
    assert "--cache FOLDER" in str(caught.value)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert trained(bench, path, width=2000).resumed_at == 2
