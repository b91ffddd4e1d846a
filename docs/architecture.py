"""Draws docs/architecture.svg from the imports of the package: `python docs/architecture.py`.

The floors come from the table in docs/architecture.md, the arrows from the syntax trees, and each room's line from its
docstring. `tests/test_house.py` uses the same functions, holds the imports to the table, and fails when the picture is
not the one that this script draws now."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE, BASELINES = ROOT / "afrad_bench", ROOT / "baselines"
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "architecture.svg"

BASE = ("types", "registry", "writing", "errors", "hashing")
"""Rooms that any other may use: the ground of the picture, without arrows."""

BY_NAME = {"running": ("datasets", "measures", "methods", "baselines")}
"""What is found through the registry, by the names in a suite, and never imported."""

DOOR = "afrad_bench"
"""The package itself: its version, and `AFRAD`, imported when it is asked for."""

Graph = Mapping[str, set[str]]


@cache
def floors() -> list[list[str]]:
    """The rooms of docs/architecture.md, the highest floor first."""
    found = re.search(r"```text\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found, f"{PAGE} has no table of rooms"
    return [line.split() for line in found[1].splitlines() if line.strip()]


@cache
def sources() -> dict[str, Path]:
    """Module -> file, of the whole package."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path: Path) -> Iterator[str]:
    """Full names of the modules that a file imports anywhere, for type checking too."""
    known = sources()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in known else node.module


@cache
def modules() -> dict[str, set[str]]:
    """Module -> modules of the package that it imports."""
    known = sources()
    return {module: {name for name in imports(path) if name in known} - {module} for module, path in known.items()}


def room_of(module: str) -> str:
    """The most specific room: "afrad_bench.report.basis.grid" lies in "report.basis". A `KeyError` without one."""
    rooms = {room for floor in floors() for room in floor}
    name = module.removeprefix(f"{DOOR}.")
    while name not in rooms:
        name, dot, _ = name.rpartition(".")
        if not dot:
            raise KeyError(f"{module} lies in no room: give it a place in the table of {PAGE.name}")
    return name


def whole(room: str) -> str:
    """The box in which the picture shows a room: "report" for "report.basis"."""
    return room.partition(".")[0]


def arrows() -> dict[str, set[str]]:
    """Box -> boxes that it imports from."""
    found: dict[str, set[str]] = {}
    for module, names in modules().items():
        if module in (DOOR, f"{DOOR}.__main__"):
            continue
        own = whole(room_of(module))
        others = {whole(room_of(name)) for name in names if name != DOOR}
        found.setdefault(own, set()).update(others - {own})
    for path in BASELINES.rglob("*.py"):
        names = (name for name in imports(path) if name.startswith(f"{DOOR}."))
        found.setdefault("baselines", set()).update(whole(room_of(name)) for name in names)
    return found


def direct(graph: Graph) -> dict[str, set[str]]:
    """Without the arrows that a longer way replaces: a -> c where a -> b -> c."""

    def reached(start: str) -> set[str]:
        return {start}.union(*(reached(name) for name in graph.get(start, ())))

    return {
        box: {name for name in names if not any(name in reached(other) for other in names - {name})}
        for box, names in graph.items()
    }


# ------------------------------------------------------------------------------------------------------------- drawing

WIDTH, FLOOR, BOX, GAP, TOP = 1180, 104, 60, 16, 18
DASHED = ' stroke-dasharray="4 3"'
INK, SOFT, ARROW, FILL = "#1b1d21", "#5c636e", "#8a93a1", "#f4f6f9"
TINTS = {"report": "#e8f1fb", "baselines": "#fdf3e3", "methods": "#fdf3e3", "cli": "#e8f1fb"}


def boxes() -> list[list[str]]:
    """The boxes of the picture, floor by floor; `baselines` stands on the floor above what it imports."""
    found: list[list[str]] = []
    seen = {"__main__", *BASE}
    for floor in floors():
        names = [name for name in dict.fromkeys(map(whole, floor)) if name not in seen]
        seen.update(names)
        if "measures" in names:
            names.append("baselines")
        if names:
            found.append(names)
    return [*found, list(BASE)]


def about(box: str) -> str:
    """The beginning of a room's docstring, up to a full stop, colon or bracket."""
    folder = BASELINES if box == "baselines" else PACKAGE / box
    path = folder / "__init__.py" if folder.is_dir() else PACKAGE / f"{box}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return re.split(r"[.:;](?:\s|$)|,? \(", " ".join(text.split()), maxsplit=1)[0].replace("`", "")


def lines(text: str, length: int) -> list[str]:
    """The text in two lines of about this length; what does not fit ends in an ellipsis."""
    found = [""]
    for word in text.split():
        if len(found[-1]) + len(word) + 1 > length and found[-1]:
            found.append("")
        found[-1] = f"{found[-1]} {word}".strip()
    return found if len(found) <= 2 else [found[0], f"{found[1]} …"]


def places() -> dict[str, tuple[float, float, float]]:
    """Box -> left edge, top edge, width in pixels."""
    found = {}
    for number, names in enumerate(boxes()):
        width = min(240.0, (WIDTH - GAP * (len(names) + 1)) / len(names))
        left = (WIDTH - len(names) * width - (len(names) - 1) * GAP) / 2
        for name in names:
            found[name] = (left, TOP + number * FLOOR, width)
            left += width + GAP
    return found


def svg() -> str:
    """The picture: boxes on floors, arrows down to what each box imports."""
    at, height = places(), TOP + FLOOR * len(boxes()) - (FLOOR - BOX) + 2 * TOP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        "<title>The rooms of afrad-bench and what each imports</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{ARROW}"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    ways = direct({box: names - set(BASE) for box, names in arrows().items() if box not in BASE})
    dashed = {(box, name) for box, names in BY_NAME.items() for name in names}
    drawn = sorted({(box, name) for box, names in ways.items() for name in names} | dashed)
    for box, name in drawn:
        below = sorted({to for by, to in drawn if by == box}, key=lambda each: at[each])
        above = sorted({by for by, to in drawn if to == name}, key=lambda each: at[each])
        x1 = at[box][0] + at[box][2] * (1 + below.index(name)) / (len(below) + 1)
        x2 = at[name][0] + at[name][2] * (1 + above.index(box)) / (len(above) + 1)
        y1, y2 = at[box][1] + BOX, at[name][1]
        bend = min(36.0, (y2 - y1) / 2)
        by_name = (box, name) in dashed
        parts.append(
            f'<path d="M{x1:.0f} {y1:.0f}C{x1:.0f} {y1 + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2:.0f}" '
            f'fill="none" stroke="{ARROW}"{DASHED if by_name else ""} marker-end="url(#tip)">'
            f"<title>{box} {'finds by name' if by_name else 'imports'} {name}</title></path>"
        )
    for box, (left, top, width) in at.items():
        parts.append(
            f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{BOX}" rx="6" stroke="{SOFT}" '
            f'fill="{TINTS.get(box, FILL)}"/>'
        )
        middle = left + width / 2
        parts.append(
            f'<text x="{middle:.0f}" y="{top + 20:.0f}" text-anchor="middle" font-size="15" font-weight="bold" '
            f'fill="{INK}">{box}</text>'
        )
        for k, line in enumerate(lines(about(box), int(width / 6.3))):
            parts.append(
                f'<text x="{middle:.0f}" y="{top + 36 + 14 * k:.0f}" text-anchor="middle" font-size="11" '
                f'fill="{SOFT}">{escape(line)}</text>'
            )
    parts.append(
        f'<text x="{GAP}" y="{height - 10}" font-size="11" fill="{SOFT}">solid: imports, without the arrows that a '
        f"longer way replaces; dashed: found by its name in the registry. Any room may use the lowest floor.</text>"
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(svg(), encoding="utf-8")
