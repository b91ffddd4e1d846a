"""`doctor --check-device`: each method fitted on the CPU and compared on a device, and what can go wrong there."""

from __future__ import annotations

import json
import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict
from typer.testing import CliRunner

from afrad_bench import registry
from afrad_bench.cli import app
from afrad_bench.errors import UserError, fail
from afrad_bench.methods.small import Small
from afrad_bench.running.parity import TOLERANCE, Parity, compared
from afrad_bench.types import Prediction, TrainingRecord
from tests.program import Place


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Brightness:
    """Distance to the mean brightness, with a fault that appears on the second machine only."""

    def __init__(self, fault: str, times: int) -> None:
        self.fault, self.again = fault, times > 0

    def fit(self, train: Any) -> TrainingRecord:
        if self.fault == "fit":
            raise RuntimeError("no kernel image is available\nand much more")
        self.mean = train.array().mean()
        epochs = 1 if self.fault == "trains" else 0
        return TrainingRecord(images_seen=len(train), epochs=epochs, loss=(0.0,) * epochs)

    def predict(self, images: Any) -> Prediction:
        maps = np.abs(images.array().mean(1) - self.mean)
        scores = maps.max((1, 2))
        if self.again and self.fault == "map":
            maps[0, 0, 0] += 2 * TOLERANCE * np.ptp(maps)
        if self.again and self.fault == "score":
            scores[1] += 2 * TOLERANCE * np.ptp(scores)
        if self.again and self.fault == "rounding":
            maps += 0.1 * TOLERANCE * np.ptp(maps)
        if self.again and self.fault == "nan":
            maps[0] = np.nan
        return Prediction(scores, None if self.fault == "no map" else maps)


class Movable(Brightness):
    """The same, with a state."""

    def state(self) -> dict[str, torch.Tensor]:
        return {"mean": torch.tensor(float(self.mean), dtype=torch.float64)}

    def restore(self, state: Any) -> None:
        self.mean = float(state["mean"]) + (0.5 if self.fault == "restore" else 0.0)


def tried(monkeypatch: pytest.MonkeyPatch, fault: str = "", made: type[Brightness] = Brightness, **more: Any) -> Parity:
    """The line of a method with this fault. `more`: further attributes of its module."""
    times = count()
    module = ModuleType("somebodys_brightness")
    about = {"VERSION": "1", "PAPER": "none", "Config": Config, "SMALL": Small(image_size=16)}
    about["build"] = lambda config, bench: made(fault, next(times))
    vars(module).update(about | more)
    entry = registry.Entry("method", "brightness", module.__name__, "somebody 1")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(registry, "_entries", lambda kind: {entry.name: entry})
    (line,) = compared([entry], "cpu")
    return line


@pytest.mark.parametrize("made", [Brightness, Movable])
def test_rounding_is_fine_and_what_is_above_it_is_not(monkeypatch: pytest.MonkeyPatch, made: type[Brightness]) -> None:
    assert tried(monkeypatch, "", made).state == "ok"
    near = tried(monkeypatch, "rounding", made)
    assert (near.state, near.good, near.map_difference) == ("ok", True, pytest.approx(1e-4, rel=0.01))
    far = tried(monkeypatch, "map", made)
    assert (far.state, far.good, far.map_difference) == ("differs", False, pytest.approx(2e-3, rel=0.01))
    assert far.score_difference == 0
    assert tried(monkeypatch, "score", made).state == "differs"
    assert tried(monkeypatch, "nan", made).map_difference == float("inf")
    assert tried(monkeypatch, "no map", made).map_difference is None


def test_a_method_with_a_state_is_moved_and_not_fitted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tried(monkeypatch, "restore", Movable).state == "differs"
    assert tried(monkeypatch, "restore", Brightness).state == "ok"
    assert tried(monkeypatch).detail == "without a state(), it was fitted there, too"
    assert tried(monkeypatch, "", Movable).detail == ""


def test_what_cannot_be_compared_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    line = tried(monkeypatch, "trains")
    assert (line.state, line.good) == ("not tried", True)
    assert line.detail == "it trains, and offers no state() that could be loaded there"
    line = tried(monkeypatch, SMALL=None)
    assert (line.state, line.detail) == ("not tried", "its module declares no SMALL configuration")

    def must_be_here(config: Config) -> None:
        raise fail("Brightness needs diffusers, which is not installed", hint="pip install 'afrad-bench[diffusion]'")

    line = tried(monkeypatch, must_be_here=must_be_here)
    assert line.state == "not tried"
    assert line.detail == "Brightness needs diffusers, which is not installed; pip install 'afrad-bench[diffusion]'"
    line = tried(monkeypatch, "fit")
    assert (line.state, line.good, line.detail) == ("failed", False, "RuntimeError: no kernel image is available")


def test_every_method_of_ours_declares_a_small_configuration() -> None:
    for name, entry in registry.entries("method").items():
        small = entry.load().SMALL
        assert entry.load().Config.model_validate(small.params), name


def test_the_doctor_compares_methods_and_plug_ins(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    told = json.loads(
        place.call("doctor", "--check-device", "cpu", "--only", "padim", "--only", "nearest_colour", "--json")
    )
    assert (told["device"], told["tolerance"]) == ("cpu", TOLERANCE)
    assert [(one["method"], one["state"], one["score_difference"]) for one in told["methods"]] == [
        ("padim", "ok", 0.0),
        ("nearest_colour", "not tried", None),
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--check-device", "cuda:9"), "--check-device: no device 'cuda:9'"),
        (("--check-device", "cpu", "--only", "padin"), "did you mean 'padim'"),
        (("--only", "padim"), "add --check-device DEVICE"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError) as refused:
        CliRunner().invoke(app, ["doctor", *options], standalone_mode=False, catch_exceptions=False)
    assert said in str(refused.value)


def test_the_table_names_what_is_wrong_and_ends_with_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    from afrad_bench.cli.commands.catalogue import _check_device

    monkeypatch.setattr(
        "afrad_bench.running.parity.compared",
        lambda *_: iter([Parity("afrad", "ok", 1e-6, 2e-6), Parity("padim", "failed", detail="RuntimeError: so")]),
    )
    with pytest.raises(typer.Exit) as ended:
        _check_device("cpu", [], None, as_json=False)
    assert ended.value.exit_code == 1
    said = capsys.readouterr().out
    assert "1.0e-06" in said
    assert "RuntimeError: so" in said
    assert "2 methods compared; wrong: padim" in said
