"""The program as a user runs it: a working folder with data, a plug-in, and the command line as a subprocess."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from tests.conftest import mvtec_folder
from tests.plugin import install

SUITE = """\
suite: tiny
title: Tiny comparison
measures: [accuracy]
methods:
  - method: nearest_colour
    variants:
      - label: plain
      - label: squared
        params: {power: 2.0}
profiles:
  demo:
    datasets: [folder]
    image_size: 32
    seeds: [0, 1]
"""


class Place:
    """A working folder with data, a plug-in, and the command line."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.data = mvtec_folder(folder / "data")
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(install(folder / "site")),
            "AFRAD_BENCH_CACHE": str(cache),
            "AFRAD_BENCH_STORE": str(folder / "results"),
            "HF_HUB_OFFLINE": "1",
        }

    def write(self, text: str, name: str = "suite.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "afrad_bench", *map(str, arguments)]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
        )

    def call(self, *arguments: object, expect: int = 0) -> str:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == expect, (process.returncode, out, err)
        assert "Traceback" not in err, err
        return out if expect in (0, 3) else out + err

    def run(self, *arguments: object, expect: int = 0) -> str:
        return self.call("run", *arguments, "--data", f"folder={self.data}", expect=expect)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / "results" / name)
