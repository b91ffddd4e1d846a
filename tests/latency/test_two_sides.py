"""`gate --latency`: both sides in one session, in processes of their own, by kept models and by checkouts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from typer.testing import CliRunner

import afrad_bench
from afrad_bench import AFRAD
from afrad_bench.cli import app
from afrad_bench.errors import UserError
from afrad_bench.latency import (
    Conditions,
    Length,
    TwoSides,
    latency_report,
    measure_sides,
    records,
    rows,
    stored,
    workers,
)
from afrad_bench.report import to_markdown
from afrad_bench.store import Store
from tests.busy import busy
from tests.plugin import install
from tests.program import Place

QUICK = Length(rounds=10, warmup=1, warmup_seconds=0)

# ------------------------------------------------------------------------------------- the session, by a worker of ours

FAKE = """\
import json, os, sys, time
out = os.fdopen(os.dup(1), "w"); os.dup2(2, 1)
print("a library says hello")
side = {"device": "cpu", "device_name": "A CPU", "threads": 1, "code_version": "1", "git_revision": "",
        "git_dirty": None, "packages": {"torch": "2"}, "python": "3", "clock": "a clock", "package": "/somewhere"}
told = {"method": "m", "method_version": "1", "params": "{}", "dataset": "d", "seed": 0, "image_size": 64,
        "weights": "", "fitted_on": "noise", "inside": "all of it", "precision": "float32"}
calls = 0
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "start":
        name = os.path.basename(request["subjects"][0]).split(".")[0]
        about = dict(told)
        if name == "large":
            about["image_size"] = 128
        if name == "cuda":
            side["device"] = "cuda:0"
        if name == "unfit":
            about = {"error": "RuntimeError: it cannot be fitted"}
        if name == "mistaken":
            about = {"mistake": "unknown method"}
        if name == "dead":
            sys.exit("no torch here")
        reply = {"side": side, "subjects": [about]}
    else:
        calls += 1
        with open(os.environ["LOG"], "a") as log:
            log.write(name + "\\n")
        if name == "dying" and calls == 5:
            os._exit(7)
        reply = {"ms": 20.0 if name == "slow" else 10.0}
        if name == "breaking" and calls == 4:
            reply = {"error": "RuntimeError: it broke"}
    out.write(json.dumps(reply) + "\\n")
    out.flush()
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for model files that a worker without torch takes: their names say what happens."""
    program = tmp_path / "fake_worker.py"
    program.write_text(FAKE, encoding="utf-8")
    monkeypatch.setattr(workers, "PROGRAM", program)
    monkeypatch.setenv("LOG", str(tmp_path / "calls.log"))
    for name in ("quick", "slow", "large", "cuda", "unfit", "mistaken", "dead", "dying", "breaking"):
        (tmp_path / f"{name}.safetensors").touch()
    return tmp_path


def conditions(cache: Path) -> Conditions:
    return Conditions("cpu", 1, cache, 2**30, 64, 2, "resnet18", "random")


def measured(folder: Path, base: str, new: str, *subjects: str, length: Length = QUICK) -> TwoSides:
    sides = (str(folder / name) for name in (base, new))
    return measure_sides(*sides, subjects, conditions(folder / "cache"), length, lambda what: None)


def test_both_sides_are_called_in_turn(fake: Path) -> None:
    found = measured(fake, "quick.safetensors", "slow.safetensors")
    assert (fake / "calls.log").read_text().split() == ["quick", "slow", *["quick", "slow"] * 10]
    assert (found.base[0].times_ms, found.new[0].times_ms) == ((10.0,) * 10, (20.0,) * 10)
    assert found.base[0].label == found.new[0].label == "m"
    assert found.base[0].terms == {"image_size": "64", "inside": "all of it", "precision": "float32"}


def test_the_session_is_stored_and_shown_like_any_other(fake: Path) -> None:
    session = measured(fake, "quick.safetensors", "slow.safetensors").session
    Store(fake / "store").append_latency(rows(session))
    (again,) = stored(Store(fake / "store").read("latency"))
    assert [(one.label, one.times_ms) for one in again.timed] == [("m, BASE", (10.0,) * 10), ("m, NEW", (20.0,) * 10)]
    assert records([again])[0]["lines"][1]["ratio"] == 2.0
    text = to_markdown(latency_report([again]))
    assert "| m, NEW | eager | 1 | 20" in text
    assert "afrad-bench 1, torch 2, /somewhere" in text


RULE = "rules: [{metric: latency, %s}]"


@pytest.mark.parametrize(
    ("base", "new", "rule", "code", "told"),
    [
        ("quick", "slow", "smallest: 5 %", 1, "+100.0%"),
        ("slow", "quick", "smallest: 5 %", 0, "a worsening by 5% is excluded"),
        ("quick", "quick", "smallest: 5 %", 0, "a worsening by 5% is excluded"),
        ("quick", "quick", "smallest: 5 %, rounds: 100", 3, "60 rounds, the rule needs 100"),
        ("slow", "slow", "max: 15", 1, "20 is above the limit, at most 15"),
        ("quick", "slow", "max: 25", 0, "within the limits"),
        ("quick", "large", "smallest: 5 %", 3, "terms differ: image_size was 64, is 128"),
        ("quick", "breaking", "smallest: 5 %", 3, "latency failed in NEW (RuntimeError: it broke)"),
        ("unfit", "quick", "smallest: 5 %", 3, "failed in BASE, the first is latency (RuntimeError: it cannot be"),
    ],
)
def test_the_rules_decide_on_the_times_of_a_session(
    fake: Path, base: str, new: str, rule: str, code: int, told: str
) -> None:
    (fake / "rules.yaml").write_text(RULE % rule, encoding="utf-8")
    sides = [str(fake / f"{name}.safetensors") for name in (base, new)]
    options = ["--rounds", "60", "--threads", "1", "--rules", str(fake / "rules.yaml")]
    files = ["--store", str(fake / "results"), "--markdown", str(fake / "gate.md")]
    done = CliRunner().invoke(app, ["gate", *sides, "--latency", *options, *files])
    assert done.exit_code == code, done.output
    assert told in (fake / "gate.md").read_text("utf-8").replace("\\", "")


@pytest.mark.parametrize(
    ("name", "told"), [("breaking", "it broke"), ("dying", "ended with code 7"), ("unfit", "fitted")]
)
def test_a_side_that_breaks_keeps_its_error_and_leaves_the_other_alone(fake: Path, name: str, told: str) -> None:
    for base, new in ((name, "quick"), ("quick", name)):
        found = measured(fake, f"{base}.safetensors", f"{new}.safetensors")
        broken, whole = (found.base[0], found.new[0]) if base == name else (found.new[0], found.base[0])
        assert told in broken.error
        assert broken.times_ms == ()
        assert (whole.error, len(whole.times_ms)) == ("", 10)


@pytest.mark.parametrize(
    ("base", "new", "told"),
    [
        ("dead", "quick", "BASE cannot be timed: its process ended with code 1: no torch here"),
        ("quick", "mistaken", "NEW: unknown method"),
        ("quick", "cuda", "the sides use different devices: cpu (A CPU) and cuda:0 (A CPU)"),
    ],
)
def test_a_side_that_cannot_be_measured_is_an_error_of_the_user(fake: Path, base: str, new: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        measured(fake, f"{base}.safetensors", f"{new}.safetensors")
    assert told in str(caught.value)


def test_no_worker_is_left_behind(fake: Path) -> None:
    before = {child.pid for child in psutil.Process().children()}
    measured(fake, "quick.safetensors", "slow.safetensors")
    with pytest.raises(UserError):
        measured(fake, "dead.safetensors", "quick.safetensors")
    assert {child.pid for child in psutil.Process().children()} <= before


def test_a_load_during_the_session_is_told(fake: Path) -> None:
    with busy():
        found = measured(fake, "quick.safetensors", "slow.safetensors")
    assert [doubt.startswith("other processes used ") for doubt in found.session.doubts] == [True]


# ------------------------------------------------------------------------------------------------ what names a side


def environment(folder: Path) -> Path:
    """An environment that finds this program's packages, and before them the folder."""
    venv.EnvBuilder(symlinks=os.name != "nt").create(folder / ".venv")
    (site,) = (folder / ".venv").glob("lib/*/site-packages")
    packages = sysconfig.get_paths()["purelib"]
    (site / "here.pth").write_text(f"{folder}\nimport site; site.addsitedir({packages!r})\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("base", "new", "subjects", "told"),
    [
        (
            "nowhere",
            "empty",
            (),
            "nowhere: BASE is nothing that --latency can measure: there is no such file or folder",
        ),
        ("nowhere", "empty", (), "empty: the folder has no Python environment of its own (.venv)"),
        ("gone.safetensors", "a.safetensors", (), "gone.safetensors: no such model file"),
        ("store", "models", (), "store: a store of results without a kept model"),
        ("models", "models", (), "a folder of models, but --latency measures one"),
        ("rules.yaml", "rules.yaml", (), "rules.yaml: BASE is nothing that --latency can measure\n  name a model"),
        ("a.safetensors", "checkout", (), "one side is a kept model and the other is none"),
        ("a.safetensors", "a.safetensors", ("padim",), "two kept models are measured themselves"),
        ("checkout", "checkout", (), "nothing is named that both checkouts should time"),
        ("checkout", "checkout", ("padim", "afrad", "padim"), "'padim' is given twice"),
    ],
)
def test_sides_that_are_none_are_told_before_anything_runs(
    tmp_path: Path, base: str, new: str, subjects: tuple[str, ...], told: str
) -> None:
    for folder in ("empty", "store/cells", "models/models", "checkout/.venv/bin"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a.safetensors", "models/models/b.safetensors", "rules.yaml", "checkout/.venv/pyvenv.cfg"):
        (tmp_path / name).touch()
    (tmp_path / "checkout/.venv/bin/python").symlink_to(sys.executable)
    with pytest.raises(UserError) as caught:
        measured(tmp_path, base, new, *subjects)
    assert told in str(caught.value).replace(f"{tmp_path}{os.sep}", "")


def test_an_environment_with_the_code_of_elsewhere_is_refused(tmp_path: Path) -> None:
    environment(tmp_path)
    with pytest.raises(UserError) as caught:
        measured(tmp_path, ".", ".", "padim:channels=4")
    assert f"has the afrad-bench of {Path(afrad_bench.__file__).parent}, not of this checkout" in str(caught.value)


def test_a_worker_ends_with_its_parent_even_in_the_middle_of_a_fit(tmp_path: Path) -> None:
    code = (
        "import sys, time; from afrad_bench.latency import workers; "
        f"worker = workers.Worker(workers.Place('BASE', 'x', __import__('pathlib').Path({sys.executable!r}))); "
        "worker.send({'do': 'start', 'cores': [], 'subjects': []}); print(worker.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running()


# -------------------------------------------------------------------------------------------------------- real models


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two kept models, the second with a larger backbone."""
    folder = tmp_path_factory.mktemp("models")
    pixels = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), dtype=np.uint8)
    for name, backbone in (("small", "resnet18"), ("large", "resnet50")):
        model = AFRAD(32, device="cpu", training={"epochs": 1}, backbone={"name": backbone, "weights": "random"})
        model.fit(list(pixels)).save(folder / f"{name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Place:
    return Place(tmp_path_factory.mktemp("gate"), cache_folder)


def decision(printed: str) -> dict[str, Any]:
    """The JSON at the beginning of what was printed."""
    found: dict[str, Any] = json.JSONDecoder().raw_decode(printed)[0]
    return found


OPTIONS = ("--latency", "--rounds", 20, "--threads", 1, "--device", "cpu")


def test_the_gate_fails_on_a_slower_model(models: Path, place: Place) -> None:
    small, large = models / "small.safetensors", models / "large.safetensors"
    text = "rules: [{metric: image_auroc, smallest: 1}, {metric: latency, smallest: 5 %, rounds: 20}]\n"
    rules = place.write(text, "r.yaml")
    found = decision(place.call("gate", small, large, *OPTIONS, "--rules", rules, "--json", expect=1))
    (check,) = found["checks"]
    assert (check["verdict"], check["label"], check["rounds"]) == ("regression", "afrad", 20)
    assert check["change"] > 0.2
    assert any("backbone.name" in text for text in found["changed"])
    assert "--latency measures times only; not checked: image_auroc" in found["notes"]
    frame = place.table("latency")
    assert sorted(set(frame["label"])) == ["afrad, BASE", "afrad, NEW"]
    assert len(frame) == 2 * 20  # every call is kept


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a.safetensors", "b.safetensors"), "`afrad-bench gate --latency` measures two models"),
        (("results", "results", "--rounds", 5, "--train", 3), "--rounds, --train has no effect"),
        (("results", "results", "--time", "padim"), "without --latency, the gate measures nothing: --time"),
        (("a", "b", "--latency", "--update-baseline", "x.json"), "of which no baseline is written"),
        (("a", "b", "--latency", "--rules", "accuracy.yaml"), "accuracy.yaml: no rule is for latency"),
    ],
)
def test_wrong_usage_exits_with_2(place: Place, arguments: tuple[object, ...], told: str) -> None:
    place.write("rules: [{metric: image_auroc, smallest: 1}]\n", "accuracy.yaml")
    assert told in place.call("gate", *arguments, expect=2)


# ----------------------------------------------------------------------------------------------------- real checkouts


def checkout(folder: Path, milliseconds: float) -> Path:
    """A copy of the package with an environment, whose plug-in sleeps so long in each prediction."""
    shutil.copytree(
        Path(afrad_bench.__file__).parent, folder / "afrad_bench", ignore=shutil.ignore_patterns("__pycache__")
    )
    environment(folder)
    method = install(folder / "plugin") / "somebodys_methods" / "nearest_colour.py"
    slower = method.read_text().replace(
        "        import numpy as np\n", f"        import numpy as np, time; time.sleep({milliseconds / 1e3})\n"
    )
    assert "sleep" in slower
    method.write_text(slower)
    (site,) = (folder / ".venv").glob("lib/*/site-packages")
    (site / "plugin.pth").write_text(f"{folder / 'plugin'}\n")
    return folder


def test_two_commits_are_told_apart_by_their_latency(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.environment.pop("PYTHONPATH")  # each side has its own plug-in
    base, new = checkout(place.folder / "base", 7.1), checkout(place.folder / "new", 18.2)
    rules = place.write("rules: [{metric: latency, smallest: 5 %, rounds: 20}]\n", "commits.yaml")
    options = (*OPTIONS, "--rules", rules, "--time", "nearest_colour", "--image-size", 16, "--json")
    found = decision(place.call("gate", base, new, *options, expect=1))
    (check,) = found["checks"]
    assert (check["verdict"], check["label"]) == ("regression", "nearest_colour")
    assert check["base"] > 7.1
    assert check["new"] > 18.2
    assert check["change"] > 0.2
