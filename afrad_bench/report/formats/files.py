"""Write a report as files."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from afrad_bench import writing
from afrad_bench.report.drawing.pictures import drawn, is_ours, printed
from afrad_bench.report.formats.csv import to_csv, to_wide_csv
from afrad_bench.report.formats.html import to_html
from afrad_bench.report.formats.latex import to_latex, to_latex_document
from afrad_bench.report.formats.markdown import to_markdown
from afrad_bench.report.model import Report
from afrad_bench.types import MEAN

Also = Literal["latex", "pdf"]
"""Files that are written on request: report.tex and report_tables.tex, or figures/*.pdf."""


def write(
    report: Report, folder: Path, more: Mapping[str, str] = MappingProxyType({}), also: Collection[Also] = ()
) -> tuple[Path, ...]:
    """Write report.md, report.csv, report_wide.csv and report.html, and figures/*.svg and *.png if there are figures.

    Creates missing folders and returns the paths of all files. A report with another name has files with that name; one
    without facts has no CSV files. `more`: name -> text of further files. `also`: formats on request; those that the
    folder has from an earlier request are written again, so that all files of a folder are of one report.

    Each file is written to a temporary file and then renamed, so a reader finds the complete old or new file. Unchanged
    pictures are kept; pictures of figures that no longer exist are removed."""
    pictures = drawn(report.figures, folder / report.folder)
    texts = {f"{report.name}.md": to_markdown(report)}
    if report.facts:
        texts |= {f"{report.name}.csv": to_csv(report), f"{report.name}_wide.csv": to_wide_csv(report)}
    texts |= {f"{report.name}.html": to_html(report, {key: each.svg for key, each in pictures.items()}), **more}
    if "latex" in also or (folder / f"{report.name}.tex").is_file():
        tables = f"{report.name}_tables"
        texts |= {f"{tables}.tex": to_latex(report), f"{report.name}.tex": to_latex_document(report, tables)}
    contents = {f"{report.folder}/{key}.svg": picture.svg.encode() for key, picture in pictures.items()}
    contents |= {f"{report.folder}/{key}.png": picture.png for key, picture in pictures.items()}
    if "pdf" in also or any(map(is_ours, (folder / report.folder).glob("*.pdf"))):
        of_print = printed(report.figures, folder / report.folder)
        contents |= {f"{report.folder}/{key}.pdf": content for key, content in of_print.items()}
    contents |= {name: text.encode("utf-8", "backslashreplace") for name, text in texts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    if pictures:
        (folder / report.folder).mkdir(exist_ok=True)
    written = tuple(_replace(folder / name, content) for name, content in contents.items())
    for path in (folder / report.folder).glob("*.*"):
        if path not in written and path.suffix in (".svg", ".png", ".pdf") and is_ours(path):
            path.unlink()
    return tuple(sorted(written, key=lambda path: path.parent != folder))  # pages first, then pictures


def lost(report: Report, folder: Path) -> int:
    """How many numbers of the report in this folder the new report would show as failed or not run, or from fewer seeds
    than it plans. Numbers of rows and metrics that the new report does not have are not counted: the suite changed."""
    now = {(fact.row, fact.dataset, fact.category, fact.metric): fact.summary for fact in report.facts}
    gone = 0
    for (row, dataset, category, metric), seeds in _numbers(folder / f"{report.name}.csv").items():
        of_mean = now.get((row, dataset, MEAN, metric))  # nothing is known of categories before they are measured
        if summary := now.get((row, dataset, category, metric), of_mean):
            fewer = summary.seeds < min(seeds, summary.planned)
            gone += summary.state in ("missing", "failed") or fewer
    return gone


def _numbers(path: Path) -> dict[tuple[str, str, str, str], int]:
    """Row, data set, category and metric of each number in a tidy CSV file, and its seeds; none if there is no file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        lines = [{name: value or "" for name, value in line.items() if name} for line in csv.DictReader(file)]
    return {
        (line.get("row", ""), line.get("dataset", ""), line.get("category", ""), line.get("metric", "")): int(seeds)
        for line in lines
        if line.get("mean") and (seeds := line.get("n_seeds", "")).isdecimal()
    }


def _replace(path: Path, content: bytes) -> Path:
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return path
    with writing.replacing(path, writing.REPORTS) as scratch:
        scratch.write_bytes(content)
    return path
