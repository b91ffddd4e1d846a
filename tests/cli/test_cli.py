"""The command line as a person uses it: as a subprocess, with real files, mistakes and kills included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from tests.conftest import mvtec_folder
from tests.program import SUITE, Place

AFRAD = """\
suite: tiny_afrad
title: Tiny AFRAD
measures: [accuracy, complexity, latency, cost]
methods:
  - method: afrad
    label: AFRAD
    params:
      backbone: {name: resnet18, weights: random}
      mfpn: {widths: [8, 8, 8, 8]}
      width: 8
      training: {epochs: 40, jitter: 20.0}
profiles:
  demo:
    datasets: [folder]
    image_size: 64
"""


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    return Place(tmp_path, cache_folder)


def test_odd_files_print_nothing_odd(place: Place) -> None:
    """Neither Pillow's warnings on damaged EXIF data, which name no file, nor what a name would do to a terminal."""
    good = place.data / "alpha" / "train" / "good"
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff"
    Image.open(good / "000.png").save(good / "exif.png", exif=exif)
    process = place.start("plan", place.write(SUITE), "--data", f"folder={place.data}")
    assert (process.communicate(timeout=300)[1], process.returncode) == ("", 0)
    (good / "a\x1b[31m.png").write_bytes(b"")
    assert "alpha/train/good/a\\x1b[31m.png: cannot be read" in place.call(
        "plan", "suite.yaml", "--data", f"folder={place.data}", expect=2
    )


def test_a_suite_runs_from_data_to_report(place: Place) -> None:
    path = place.write(SUITE)
    out = place.run(path)
    assert "4 cells, 0 done, 4 to run" in out
    assert "plain" in out
    cells, measurements, scores = (place.table(name) for name in ("cells", "measurements", "scores"))
    assert list(cells["status"]) == ["ok"] * 4
    assert set(cells["seed"]) == {0, 1}
    assert cells["notes"].str.contains("a note of the method").all()
    auroc = measurements.query("metric == 'image_auroc' and category == 'mean'")["value"]
    assert len(auroc) == 4
    assert auroc.between(0, 1).all()
    assert set(measurements["category"].dropna()) == {"alpha", "beta", "mean"}
    assert len(scores) == 4 * 16
    assert set(scores["defect"]) == {"good", "square"}
    folder = place.folder / "reports" / "tiny" / "demo"
    assert {path.suffix for path in folder.iterdir() if path.is_file()} == {".md", ".csv", ".html"}
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png"}
    timings = json.loads(cells["timings"].iloc[0])
    assert {"startup", "data", "fit", "accuracy", "overhead"} <= set(timings)

    again = place.run(path)
    assert "4 cells, 4 done, 0 to run" in again
    assert len(place.table("cells")) == 4
    place.run(path, "--force")
    assert len(place.table("cells")) == 8
    more = place.run(path, "--set", "seeds=[0, 1, 2]")
    assert "6 cells, 4 done, 2 to run" in more


def test_the_version_is_the_installed_one(place: Place) -> None:
    assert place.call("--version") == f"afrad-bench {version('afrad-bench')}\n"


def test_a_finished_suite_does_not_import_torch(place: Place) -> None:
    path = place.write(SUITE)
    place.run(path)
    code = (
        "import sys; sys.argv = ['afrad-bench', *sys.argv[1:]]\n"
        "from afrad_bench.cli import main\n"
        "try: main()\nexcept SystemExit as end: assert not end.code\n"
        "assert not {'torch', 'timm', 'sklearn', 'optuna'} & set(sys.modules), 'heavy'"
    )
    command = [sys.executable, "-c", code, "run", str(path), "--data", f"folder={place.data}", "--device", "cpu"]
    done = subprocess.run(command, cwd=place.folder, env=place.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("fault", ["build", "fit", "predict", "nan", "memory"])
def test_a_failing_cell_is_a_row_and_the_suite_goes_on(place: Place, fault: str) -> None:
    text = SUITE.replace("power: 2.0", f"fault: {fault}").replace("seeds: [0, 1]", "seeds: [0]")
    out = place.run(place.write(text), expect=3)
    assert "some cells failed" in out
    cells = place.table("cells").set_index("label")
    assert cells.loc["plain", "status"] == "ok"
    assert cells.loc["squared", "status"] == "failed"
    assert cells.loc["squared", "error"]
    assert "Traceback" in cells.loc["squared", "traceback"]
    told = cells.loc["squared", "error"].rpartition(": ")[2]
    assert told[:60] in (place.folder / "reports/tiny/demo/report.md").read_text("utf-8")
    why = place.call("why", cells.loc["squared", "cell_id"][:8], "--data", f"folder={place.data}")
    assert "accuracy: failed" in why
    # the failed cell is tried again, the good one is not
    assert "2 cells, 1 done, 1 to run" in place.run(place.folder / "suite.yaml", expect=3)


def test_an_interrupt_keeps_what_was_measured(place: Place) -> None:
    text = SUITE.replace("power: 2.0", "fault: interrupt").replace("seeds: [0, 1]", "seeds: [0]")
    out = place.run(place.write(text), expect=130)
    assert "interrupted" in out
    assert list(place.table("cells")["label"]) == ["plain"]


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_a_killed_training_resumes_to_the_same_result(place: Place, tmp_path: Path) -> None:
    path = place.write(AFRAD)
    overrides = ("--set", "measures=[accuracy]")
    place.environment["AFRAD_BENCH_STORE"] = str(tmp_path / "whole")
    place.run(path, *overrides)
    whole, losses = (pd.read_parquet(tmp_path / "whole" / table) for table in ("scores", "curves"))

    place.environment["AFRAD_BENCH_STORE"] = str(tmp_path / "results")
    place.environment["AFRAD_BENCH_CACHE"] = str(tmp_path / "cache")
    # as the command line does it, with a checkpoint at every epoch and a sign of life
    code = (
        "from afrad_bench.methods import fitting\n"
        "fitting.CHECKPOINT_SECONDS = 0.0\n"
        "save = fitting.Checkpoint.epoch_done\n"
        "def slow(*a):\n    save(*a); print('saved', flush=True); __import__('time').sleep(0.2)\n"
        "fitting.Checkpoint.epoch_done = slow\n"
        "from afrad_bench.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", str(path), *overrides, "--data", f"folder={place.data}"]
    process = subprocess.Popen(command, cwd=place.folder, env=place.environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("saved"):
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "results" / "cells").exists()
    (checkpoint,) = (tmp_path / "cache" / "checkpoints").glob("[!.]*.pt")
    (checkpoint.parent / f".{checkpoint.name}.half.tmp").write_bytes(b"killed while it was written")

    place.run(path, *overrides)
    cells = place.table("cells")
    assert cells["resumed_at"].item() >= 1
    assert place.table("scores")["pred_score"].tolist() == whole["pred_score"].tolist()
    (resumed,), (uninterrupted,) = (of[of["kind"] == "training_loss"]["y"] for of in (place.table("curves"), losses))
    assert len(resumed) == cells["epochs"].item()
    assert resumed.tolist() == uninterrupted.tolist()
    assert list((tmp_path / "cache" / "checkpoints").iterdir()) == []


def test_every_measure_of_afrad_is_stored_with_its_terms(place: Place) -> None:
    place.run(place.write(AFRAD), "--set", "afrad.training.epochs=1", "--threads", "1")
    (cell,) = place.table("cells").to_dict("records")
    assert cell["backbone"] == "resnet18"
    assert cell["weights"] == "random"
    assert "random weights" in cell["notes"]
    assert json.loads(cell["overrides"]) == ["afrad.training.epochs=1"]
    assert (cell["epochs"], cell["images_seen"], cell["threads"], cell["device"]) == (1, 16, 1, "cpu")
    assert json.loads(cell["packages"])["torch"]
    found = place.table("measurements").set_index("metric")["value"]
    assert found.loc["gmacs"] > 0
    assert found.loc["latency_median"] > 0
    (page,) = (place.folder / "reports/tiny_afrad").glob("demo+*/report.md")
    report = page.read_text("utf-8")
    assert "random" in report
    assert "afrad.training.epochs=1" in report


def test_threads_come_from_option_and_profile(place: Place) -> None:
    path = place.write(SUITE.replace("image_size: 32", "image_size: 32\n    threads: 1"))
    place.run(path, "--set", "seeds=[0]")
    place.run(path, "--set", "seeds=[1]", "--threads", "3")
    assert place.table("cells").groupby("seed")["threads"].unique().map(list).to_dict() == {0: [1], 1: [3]}


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_shows_the_progress(place: Place) -> None:
    import pty

    path = place.write(AFRAD)
    overrides = ["--set", "measures=[accuracy]", "--data", f"folder={place.data}"]
    program = [sys.executable, "-c", "from afrad_bench.cli import main; main()", "run", str(path), *overrides]
    ours, theirs = pty.openpty()
    environment = {**place.environment, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    process = subprocess.Popen(program, cwd=place.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the other side was closed
            break
        if not block:
            break
        seen += block
    os.close(ours)
    text = seen.decode("utf-8", errors="replace")
    assert process.wait() == 0, text
    assert "[1/1] AFRAD, seed 0: training" in text
    assert "loss " in text
    assert "/40" in text
    assert "0:00:0" in text  # time left


def test_one_class_makes_a_cell_for_each_category(place: Place) -> None:
    text = SUITE.replace("seeds: [0, 1]", "seeds: [0]\n    setting: one_class")
    assert "4 cells" in place.run(place.write(text))
    cells = place.table("cells")
    assert sorted(cells["category"]) == ["alpha", "alpha", "beta", "beta"]
    assert cells["cell_id"].nunique() == 4


def test_why_names_the_field_that_differs(place: Place) -> None:
    path = place.write(SUITE)
    place.run(path)
    cell = place.table("cells")["cell_id"].iloc[0]
    data = ("--data", f"folder={place.data}")
    assert "accuracy: done" in place.call("why", cell, *data)
    image = place.data / "alpha/train/good/000.png"
    image.write_bytes((place.data / "alpha/train/good/001.png").read_bytes())
    explained = json.loads(place.call("why", cell, *data, "--json"))
    assert explained["measures"]["accuracy"]["state"] == "stale"
    assert explained["measures"]["accuracy"]["why"].startswith("data_fingerprint was ")
    planned = json.loads(place.call("plan", path, *data, "--json"))
    assert {row["state"] for row in planned} == {"stale"}
    assert "unknown cell" in place.call("why", "ffff", *data, expect=2)


def test_moving_the_data_changes_nothing(place: Place) -> None:
    path = place.write(SUITE)
    place.run(path)
    (place.folder / "elsewhere").mkdir()
    place.data = place.data.rename(place.folder / "elsewhere" / place.data.name)
    for file in place.data.rglob("*.png"):
        os.utime(file, (1, 1))
    assert "4 done, 0 to run" in place.run(path)


def test_an_option_is_not_the_value_of_the_option_before_it(place: Place) -> None:
    path = place.write(SUITE)
    for option in ("--data", "--only"):
        said = place.call("plan", path, "--only", "plain", option, "--json", expect=2)
        assert f"'{option}' requires a value, but the option --json" in " ".join(said.replace("│", "").split())


def test_a_name_between_colons_stays_text(place: Place) -> None:
    """rich would show :B: as a picture."""
    data = mvtec_folder(place.folder / "B")
    assert "folder:B: 2 categories" in place.call("plan", place.write(SUITE), "--on", f"folder:{data}")


def test_roots_come_from_option_environment_and_suite(place: Place, tmp_path: Path) -> None:
    path = place.write(SUITE.replace("datasets: [folder]", f"datasets: ['folder:{place.data.as_posix()}']"))
    assert "16 training" in place.call("plan", path)
    other = mvtec_folder(tmp_path / "other", train=3)
    assert "6 training" in place.call("plan", path, "--data", f"folder={other}")
    assert "did you mean 'folder'" in place.call("plan", path, "--data", "foldr=x", expect=2)
    assert "not a folder" in place.call("plan", path, "--data", "folder=/nowhere", expect=2)
    named = place.write(SUITE.replace("[folder]", "[{name: mvtec_ad, params: {categories: [bottle]}}]"), "named.yaml")
    assert "AFRAD_BENCH_MVTEC_AD" in place.call("plan", named, expect=2)
    place.environment["AFRAD_BENCH_MVTEC_AD"] = str(mvtec_folder(tmp_path / "mvtec", ("bottle",), train=5))
    assert "5 training" in place.call("plan", named)
    option = f"mvtec_ad={mvtec_folder(tmp_path / 'option', ('bottle',), train=7)}"
    assert "7 training" in place.call("plan", named, "--data", option)


def test_mistakes_exit_with_2_and_a_line(place: Place) -> None:
    path = place.write(SUITE.replace("power:", "powr:"))
    out = place.run(path, expect=2)
    assert f"{path}:9: nearest_colour (squared): unknown field 'powr' (did you mean 'power'?)" in out
    assert "no such suite file" in place.call("run", "nowhere.yaml", expect=2)
    assert "unknown suite 'ablation_decoder' (did you mean 'ablation_decoders'?)" in place.call(
        "check", "ablation_decoder", expect=2
    )
    good = place.write(SUITE)
    for option in ("--store", "--cache"):
        assert f"{option}: {path} is not a folder" in place.call("plan", good, option, path, expect=2)
    blocked = place.write("", "reports")
    assert str(blocked.name) in place.run(good, "--set", "seeds=[0]", expect=2)
    assert not (place.folder / "results" / "cells").exists()  # refused before anything was measured
    blocked.unlink()
    assert "no device 'cuda:7'" in place.run(good, "--device", "cuda:7", expect=2)
    for arguments in (("run",), ("list", "unicorns"), ("frobnicate",)):
        assert place.call(*arguments, expect=2)


def test_the_paper_profile_says_what_is_missing(place: Place) -> None:
    out = place.call("check", "ablation_decoders", "--profile", "paper", expect=2)
    assert "mvtec_anomaly_detection.tar.xz" in out
    assert "timm/efficientnet_b4" in out


def test_a_plug_in_is_listed_shown_and_named_in_suites(place: Place) -> None:
    rows = {row["name"]: row for row in json.loads(place.call("list", "methods", "--json"))}
    assert rows["nearest_colour"]["source"] == "somebodys-methods 0.3"
    assert rows["nearest_colour"]["summary"].startswith("Nearest colour")
    assert {"afrad", "padim", "patchcore"} <= set(rows)
    sheet = json.loads(place.call("show", "nearest_colour", "--json"))
    assert [field["name"] for field in sheet["fields"]] == ["power", "fault"]


def test_two_owners_of_one_name_are_both_named(place: Place) -> None:
    folder = Path(place.environment["PYTHONPATH"])
    (folder / "somebodys_methods" / "padim.py").write_text('"""Mine."""\n')
    out = place.call("list", "methods", expect=2)
    assert "the method 'padim' is registered twice" in out
    assert "somebodys-methods 0.3" in out
    assert "afrad-bench" in out


@pytest.mark.parametrize("what", ["methods", "datasets", "measures", "suites", "backbones"])
def test_listings_speak_json(place: Place, what: str) -> None:
    rows = json.loads(place.call("list", what, "--json"))
    assert all(set(row) == {"name", "summary", "source"} for row in rows)
    assert all(row["summary"] for row in rows)
    assert place.call("list", what)


def test_doctor_schema_and_sheets(place: Place) -> None:
    findings = {(one["area"], one["name"]): one for one in json.loads(place.call("doctor", "--json"))}
    assert findings["data", "mvtec_ad"]["state"] == "missing"
    assert "AFRAD_BENCH_MVTEC_AD" in findings["data", "mvtec_ad"]["remedy"]
    assert findings["weights", "tf_efficientnet_lite0"]["state"] == "ok"
    schema = json.loads(place.call("schema"))
    assert schema["$defs"]["method:afrad"]
    out = place.call("show", "afrad")
    assert "training.epochs" in out
    assert "1000" in out


def test_the_cache_is_listed_and_cleared(place: Place, tmp_path: Path) -> None:
    place.environment["AFRAD_BENCH_CACHE"] = str(tmp_path / "cache")
    text = AFRAD.replace("[accuracy, complexity, latency, cost]", "[accuracy]").replace("epochs: 40", "epochs: 1")
    place.run(place.write(text))
    entries = json.loads(place.call("cache", "list", "--json"))
    assert [entry["images"] for entry in entries] == [16] * 8  # four maps of the training and of the test images
    assert "unknown cache entry" in place.call("cache", "clear", "abc", expect=2)
    assert "MiB are free" in place.call("cache", "clear")
    assert json.loads(place.call("cache", "list", "--json")) == []


def test_the_package_is_the_program() -> None:
    """`python -m afrad_bench` and the installed script are one program."""
    calls = [[sys.executable, "-m", "afrad_bench"], [str(Path(sys.executable).parent / "afrad-bench")]]
    one, two = (
        subprocess.run([*call, "--version"], capture_output=True, text=True, check=True).stdout for call in calls
    )
    assert one == two == f"afrad-bench {version('afrad-bench')}\n"
