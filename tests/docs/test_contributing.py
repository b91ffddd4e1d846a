"""CONTRIBUTING's baseline in one file, and README's snippets: what they promise is what happens."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

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


def test_commands_of_the_readme_exist() -> None:
    """Every `afrad-bench ...` line of the README names a command and options that the program has."""
    lines = [
        line.split("#")[0].split()
        for block in blocks("README.md", "bash")
        for line in block.splitlines()
        if line.startswith("afrad-bench")
    ]
    assert lines
    from typer.testing import CliRunner

    from afrad_bench.cli import app

    for _, *words in lines:
        command = [word for word in words[:2] if re.fullmatch(r"[a-z]+", word)]
        command = command if command[:1] == ["cache"] else command[:1]
        shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0, words
        for option in (word for word in words if word.startswith("--")):
            assert option in shown.output, (words, option)
