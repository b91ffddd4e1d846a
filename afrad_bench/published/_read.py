"""Reading the CSV files of this folder."""

from __future__ import annotations

import csv
from importlib.resources import files


def lines(name: str) -> list[dict[str, str]]:
    """The lines of `<name>.csv` as dictionaries with the column names as keys."""
    text = (files("afrad_bench.published") / f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
