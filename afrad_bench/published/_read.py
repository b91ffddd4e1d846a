"""The CSV files of this folder, line by line."""

from __future__ import annotations

import csv
from importlib.resources import files


def lines(name: str) -> list[dict[str, str]]:
    """The lines of `<name>.csv` as mappings from its header."""
    text = (files("afrad_bench.published") / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
