"""Drawings become pictures: SVG and PNG files, drawn again only when there is something else to draw.

Each file carries a digest of its drawing and of the code that draws; a report that is written again keeps the files
whose digest is the same, so that a finished suite answers without matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from afrad_bench.hashing import digest
from afrad_bench.report.drawing.shapes import Figure

_MARK = "afrad-bench-drawing:"
_HEAD = 1 << 16  # bytes at the start of a file within which its digest stands
_CODE = ("attempts.py", "bubbles.py", "canvas.py", "critical_difference.py", "panels.py", "style.py", "tiles.py")


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure."""

    svg: str
    png: bytes


def drawn(figures: Iterable[Figure], folder: Path | None = None) -> Mapping[str, Picture]:
    """Key -> picture of each figure; those that `folder` holds already are taken from there."""
    made = {}
    for figure in figures:
        mark = identity(figure)
        found = None if folder is None else _kept(figure, folder, mark)
        if found is None:
            from afrad_bench.report.drawing.canvas import draw

            found = Picture(*draw(figure, mark))
        made[figure.key] = found
    return made


def identity(figure: Figure) -> str:
    """What stands in both files of a figure: equal if they would be drawn equal."""
    return _MARK + digest(repr(figure), *_drawing_code())[:32]


def is_ours(path: Path) -> bool:
    """Whether a file is a picture of some report, and not something that a person put there."""
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_HEAD)


def _drawing_code() -> tuple[str, ...]:
    here = files("afrad_bench.report.drawing")
    return (version("matplotlib"), *((here / name).read_text(encoding="utf-8") for name in _CODE))


def _kept(figure: Figure, folder: Path, mark: str) -> Picture | None:
    svg, png = (folder / f"{figure.key}.{suffix}" for suffix in ("svg", "png"))
    for path in (svg, png):
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if mark.encode() not in file.read(_HEAD):
                return None
    return Picture(svg.read_text(encoding="utf-8"), png.read_bytes())
