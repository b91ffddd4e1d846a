"""Write a report as files."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from afrad_bench.report.drawing.pictures import drawn, is_ours
from afrad_bench.report.formats.csv import to_csv, to_wide_csv
from afrad_bench.report.formats.html import to_html
from afrad_bench.report.formats.markdown import to_markdown
from afrad_bench.report.model import Report


def write(report: Report, folder: Path, more: Mapping[str, str] = MappingProxyType({})) -> tuple[Path, ...]:
    """Write report.md, report.csv, report_wide.csv and report.html, and figures/*.svg and *.png if there are figures.

    Creates missing folders and returns the paths of all files. A report with another name has files with that name; one
    without facts has no CSV files. `more`: name -> text of further files.

    Each file is written to a temporary file and then renamed, so a reader finds the complete old or new file. Unchanged
    pictures are kept; pictures of figures that no longer exist are removed."""
    pictures = drawn(report.figures, folder / report.folder)
    texts = {f"{report.name}.md": to_markdown(report)}
    if report.facts:
        texts |= {f"{report.name}.csv": to_csv(report), f"{report.name}_wide.csv": to_wide_csv(report)}
    texts |= {f"{report.name}.html": to_html(report, pictures), **more}
    contents = {f"{report.folder}/{key}.svg": picture.svg.encode() for key, picture in pictures.items()}
    contents |= {f"{report.folder}/{key}.png": picture.png for key, picture in pictures.items()}
    contents |= {name: text.encode() for name, text in texts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    if pictures:
        (folder / report.folder).mkdir(exist_ok=True)
    written = tuple(_replace(folder / name, content) for name, content in contents.items())
    for path in (folder / report.folder).glob("*.*"):
        if path not in written and path.suffix in (".svg", ".png") and is_ours(path):
            path.unlink()
    return tuple(sorted(written, key=lambda path: path.parent != folder))  # pages first, then pictures


def _replace(path: Path, content: bytes) -> Path:
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return path
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with scratch.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        return scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
