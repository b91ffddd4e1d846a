"""CONTRIBUTING's baseline in one file, and the commands and links of README and docs: what they promise is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from afrad_bench.cli.program import COMMANDS, GROUPS, app
from tests.conftest import ROOT, mvtec_folder


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def installed(folder: Path) -> Path:
    """The page's baseline in a package of its own, registered as the page says."""
    methods = folder / "my_package" / "methods"
    methods.mkdir(parents=True)
    (folder / "my_package" / "__init__.py").write_text("")
    (methods / "__init__.py").write_text("")
    (methods / "mean_image.py").write_text(blocks("CONTRIBUTING.md", "python")[0], encoding="utf-8")
    (door,) = blocks("CONTRIBUTING.md", "toml")
    group, name, value = re.search(r'"([\w.]+)"\]\n(\w+) = "([\w.]+)"', door).groups()  # type: ignore[union-attr]
    info = folder / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
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
    assert {(name,) for name in COMMANDS} <= shown
    assert groups - shown == {("cache", "clear")}  # in the line of `cache list`
    assert commands("README.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_the_pages_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), (page, target)
