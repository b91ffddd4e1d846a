"""CONTRIBUTING's baseline in one file, and the commands and links of README and docs: what they promise is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import afrad_bench.testing
from afrad_bench.cli.program import COMMANDS, GROUPS, app
from tests.conftest import ROOT, mvtec_folder


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def installed(folder: Path) -> Path:
    """The page's baseline and decoder in a package of their own, registered as the page says."""
    methods = folder / "my_package" / "methods"
    methods.mkdir(parents=True)
    (folder / "my_package" / "__init__.py").write_text("")
    (methods / "__init__.py").write_text("")
    (methods / "mean_image.py").write_text(blocks("CONTRIBUTING.md", "python")[0], encoding="utf-8")
    (folder / "my_package" / "max_gate.py").write_text(blocks("CONTRIBUTING.md", "python")[2], encoding="utf-8")
    doors = re.findall(r'"([\w.]+)"\]\n(\w+) = "([\w.]+)"', "".join(blocks("CONTRIBUTING.md", "toml")))
    assert len(doors) == 2
    info = folder / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text("".join(f"[{group}]\n{name} = {value}\n" for group, name, value in doors))
    return folder


def test_the_baseline_in_one_file_works(tmp_path: Path, cache_folder: Path) -> None:
    site = installed(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(site), "AFRAD_BENCH_CACHE": str(cache_folder)}
    suite = tmp_path / "suite.yaml"
    data = mvtec_folder(tmp_path / "data").as_posix()
    suite.write_text(
        "suite: mine\ntitle: Mine\nmeasures: [accuracy]\nmethods:\n  - method: mean_image\n"
        f"profiles:\n  demo:\n    datasets: ['folder:{data}']\n    image_size: 32\n"
    )

    def call(*arguments: str) -> str:
        command = [sys.executable, "-c", "from afrad_bench.cli import main; main()", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(call("show", "mean_image", "--json"))["summary"].startswith("Mean image")
    call("run", str(suite))
    values = pd.read_parquet(tmp_path / "results" / "measurements").set_index(["metric", "category"])["value"]
    assert values["image_auroc", "mean"] > 0.9  # a bright square on dark stripes


def test_the_baseline_in_one_file_keeps_the_contract(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed(tmp_path / "site"))}
    test = blocks("CONTRIBUTING.md", "python")[1].replace("afrad_bench_baselines.", "my_package.methods.")
    (tmp_path / "test_mean_image.py").write_text(test, encoding="utf-8")
    pytest_here = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mean_image.py"]
    done = subprocess.run(pytest_here, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d passed, 3 skipped", done.stdout), done.stdout  # it has no check(), network() or state()


def test_the_decoder_is_a_row_of_an_ablation(tmp_path: Path, cache_folder: Path) -> None:
    """Named in a suite, counted as a part, kept in a model file; its version decides what is stale."""
    site = installed(tmp_path / "site")
    environment = {**os.environ, "PYTHONPATH": str(site), "AFRAD_BENCH_CACHE": str(cache_folder)}
    data = mvtec_folder(tmp_path / "data").as_posix()
    suite = tmp_path / "suite.yaml"
    suite.write_text(
        "suite: mine\ntitle: Mine\nmeasures: [accuracy, complexity]\nmethods:\n  - method: afrad\n    params:\n"
        "      backbone: {name: resnet18, weights: random}\n      training: {epochs: 1}\n    variants:\n"
        "      - {label: with SAD, params: {decoders: [stage_adaptive, max_gate]}}\n"
        "      - {label: alone, params: {decoders: [max_gate], ngib: false}}\n"
        f"profiles:\n  demo:\n    datasets: ['folder:{data}']\n    image_size: 64\n"
    )

    def call(*arguments: str, expect: int = 0) -> str:
        command = [sys.executable, "-m", "afrad_bench", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == expect, done.stderr
        return done.stdout + done.stderr

    call("run", str(suite), "--keep-models")
    measured = pd.read_parquet(tmp_path / "results" / "measurements")
    versions = pd.read_parquet(tmp_path / "results" / "cells")["method_version"]
    assert {text.partition(" ")[2] for text in versions} == {"max_gate=1"}
    parts = measured[measured["category"] == "decoder max_gate"].set_index(["metric", "label"])["value"]
    for label in ("with SAD", "alone"):  # two 1x1 convolutions of 128 channels with bias
        assert parts["params_part", label] == pytest.approx(2 * (128 * 128 + 128) / 1e6)
        assert parts["gmacs_part", label] > 0
    model = min((tmp_path / "results" / "models").glob("*.safetensors"))
    call("calibrate", str(model), "--normal", f"{data}/alpha/train/good", "--false-alarms", "0.5")

    assert "2 done" in call("plan", str(suite))
    module = site / "my_package" / "max_gate.py"
    code = module.read_text(encoding="utf-8")
    module.write_text(code.replace('VERSION = "1"', 'VERSION = "2"'), encoding="utf-8")
    assert "0 done" in call("plan", str(suite))
    module.write_text(code.replace("STAGES = (1, 2)", "STAGES = (1, 5)"), encoding="utf-8")
    assert "STAGES of the decoder max_gate must be distinct stages of 1..4" in call("plan", str(suite), expect=2)
    suite.write_text(suite.read_text().replace("[max_gate]", "[max_gat]"))
    told = call("plan", str(suite), expect=2)
    assert "unknown decoder 'max_gat' (did you mean 'max_gate'?)" in told
    assert "known: compensation, focused_local, max_gate, stage_adaptive" in told


@pytest.mark.parametrize("place", ["baselines/mean_image.py", "baselines/mean_image/__init__.py"])
def test_lint_accepts_the_baseline_and_its_test(place: str, tmp_path: Path) -> None:
    """As a file of `baselines/` or in a folder of its own, and with the contract as `afrad_bench.testing` shows it."""
    method, test, decoder = blocks("CONTRIBUTING.md", "python")
    shown = textwrap.dedent("\n\n\n".join((afrad_bench.testing.__doc__ or "").split("\n\n")[1:3]))
    assert "class TestMine(MethodContract):" in shown
    files = {
        place: method,
        "my_package/max_gate.py": decoder,
        "tests/baselines/test_mean_image.py": test,
        "tests/mine/test_mine.py": f"{shown}\n",
    }
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
        done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_heavy_import_of_a_baseline_is_refused(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    heavy = blocks("CONTRIBUTING.md", "python")[0].replace("from pydantic", "import numpy as np\nfrom pydantic")
    for place in ("baselines/mean_image.py", "baselines/mean_folder/__init__.py"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(heavy, encoding="utf-8")
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise", "."]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.count("TID253") == 2, done.stdout


PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]


def commands(page: str) -> list[list[str]]:
    """The words of every `afrad-bench ...` line, without the program's name."""
    return [
        line.split("#")[0].split()[1:]
        for block in blocks(page, "bash")
        for line in block.splitlines()
        if line.startswith("afrad-bench ")
    ]


def named(words: list[str]) -> list[str]:
    """The command, with its group: ["cache", "list"]."""
    return words[:2] if words[0] in ("cache", "metrics", "store") else words[:1]


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_the_pages_exist(page: str) -> None:
    """Every `afrad-bench ...` line names a command and options that the program has."""
    for words in commands(page):
        shown = CliRunner().invoke(app, [*named(words), "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, words
        for option in (word for word in words if word.startswith("--")):
            assert option.partition("=")[0] in shown.output, (words, option)


def test_the_page_of_commands_has_them_all() -> None:
    shown = {tuple(named(words)) for words in commands("docs/commands.md")}
    groups = {(group, name) for group, (_, inner) in GROUPS.items() for name in inner}
    assert {(name,) for commands in COMMANDS.values() for name in commands} <= shown
    assert groups - shown == {("cache", "clear")}  # in the line of `cache list`
    assert commands("README.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), (page, target)
