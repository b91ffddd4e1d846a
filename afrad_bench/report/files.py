"""A report as files."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from afrad_bench.report.delimited import to_csv, to_wide_csv
from afrad_bench.report.html import to_html
from afrad_bench.report.markdown import to_markdown
from afrad_bench.report.model import Report


def write(report: Report, folder: Path) -> tuple[Path, ...]:
    """Write report.md, report.csv, report_wide.csv and report.html; the folder is made if need be.

    Each file is written beside and put in place at once, so that a reader finds the old or the new one, whole."""
    texts = {
        "report.md": to_markdown(report),
        "report.csv": to_csv(report),
        "report_wide.csv": to_wide_csv(report),
        "report.html": to_html(report),
    }
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_replace(folder / name, text) for name, text in texts.items())


def _replace(path: Path, text: str) -> Path:
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with scratch.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
