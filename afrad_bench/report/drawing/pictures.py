"""Turn drawings into SVG, PNG and PDF files; a figure is drawn again only if it has changed.

Each file contains a digest of its drawing and of the drawing code. When a report is written again, files with the same
digest are kept, so the report of a finished suite does not need matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from afrad_bench.hashing import digest
from afrad_bench.report.drawing.shapes import Figure

_MARK = "afrad-bench-drawing:"
_HEAD = 1 << 16  # the digest of a file is within this number of bytes from its start
_NOT_DRAWING = ("__init__.py", "pictures.py", "shapes.py")
"""Files of this folder that do not decide how a drawing looks; the shapes are part of its digest themselves."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn figure."""

    svg: str
    png: bytes


def vectors(figures: Iterable[Figure]) -> Mapping[str, str]:
    """Key -> SVG text of each figure, for what needs no PNG."""
    made = {}
    for figure in figures:
        from afrad_bench.report.drawing.canvas import draw_svg

        made[figure.key] = draw_svg(figure, identity(figure))
    return made


def drawn(figures: Iterable[Figure], folder: Path) -> Mapping[str, Picture]:
    """Key -> picture of each figure; unchanged pictures are read from `folder`."""
    made = {}
    for figure in figures:
        mark = identity(figure)
        found = _kept(figure, folder, mark)
        if found is None:
            from afrad_bench.report.drawing.canvas import draw

            found = Picture(*draw(figure, mark))
        made[figure.key] = found
    return made


def printed(figures: Iterable[Figure], folder: Path) -> Mapping[str, bytes]:
    """Key -> PDF file of each figure; unchanged ones are read from `folder`."""
    made = {}
    for figure in figures:
        path, mark = folder / f"{figure.key}.pdf", identity(figure).encode()
        found = path.read_bytes() if path.is_file() else b""
        if mark not in found:
            from afrad_bench.report.drawing.canvas import draw_pdf

            found = draw_pdf(figure, mark.decode())
        made[figure.key] = found
    return made


def identity(figure: Figure) -> str:
    """Text that all files of a figure contain; it is the same if the figure would be drawn the same."""
    return _MARK + digest(repr(figure), *_drawing_code())[:32]


def is_ours(path: Path) -> bool:
    """Whether a file was drawn for a report, and not put there by a person."""
    with path.open("rb") as file:
        return _MARK.encode() in file.read(-1 if path.suffix == ".pdf" else _HEAD)


def _drawing_code() -> tuple[str, ...]:
    found = sorted(files("afrad_bench.report.drawing").iterdir(), key=lambda file: file.name)
    code = [file for file in found if file.name.endswith(".py") and file.name not in _NOT_DRAWING]
    return (version("matplotlib"), *(file.read_text(encoding="utf-8") for file in code))


def _kept(figure: Figure, folder: Path, mark: str) -> Picture | None:
    svg, png = (folder / f"{figure.key}.{suffix}" for suffix in ("svg", "png"))
    for path in (svg, png):
        if not path.is_file():
            return None
        with path.open("rb") as file:
            if mark.encode() not in file.read(_HEAD):
                return None
    return Picture(svg.read_text(encoding="utf-8"), png.read_bytes())
