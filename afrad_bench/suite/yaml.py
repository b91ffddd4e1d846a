"""Strict YAML 1.2: duplicate keys are errors, `on` is text, `1e-3` is a number, and every value has its line number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError

from afrad_bench.errors import fail

Location = Sequence[str | int]
"""Keys and positions from the top of a document to a value, e.g. ("methods", 0, "params", "lr")."""


@dataclass(frozen=True)
class Document:
    """A file's content as plain values, and the line of each value."""

    path: Path
    data: Any
    nodes: Any

    def where(self, location: Location) -> str:
        """`file:line` of the value at this location, or of its nearest parent that exists."""
        node, line = self.nodes, 0
        for step in location:
            if isinstance(node, CommentedMap) and step in node:
                line = node.lc.key(step)[0]
            elif isinstance(node, CommentedSeq) and isinstance(step, int) and step < len(node):
                line = node.lc.item(step)[0]
            else:
                break
            node = node[step]
        return f"{self.path}:{line + 1}"


def read(path: Path) -> Document:
    """The document in `path`; a missing file, a syntax error or a duplicate key is a `UserError` with its line."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise fail(f"cannot be read: {error.strerror}", str(path)) from error
    except UnicodeDecodeError as error:
        raise fail(f"is not UTF-8 text (byte {error.start})", str(path)) from error
    yaml = YAML(typ="rt")
    try:
        nodes = yaml.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = " ".join((error.problem or "syntax error").split())
        raise fail(f"not valid YAML: {problem}", f"{path}{line}") from error
    return Document(path, _plain(nodes), nodes)


def read_value(text: str, where: str) -> Any:
    """Parse a single YAML value: `1e-3`, `[1, 2]`, `{a: b}`, `null`, text. `where` is the place in an error."""
    try:
        return _plain(YAML(typ="rt").load(text))
    except MarkedYAMLError as error:
        raise fail(f"not a YAML value: {' '.join((error.problem or 'syntax error').split())}", where) from error


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, str):
        return str(node)
    if isinstance(node, Sequence):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    if isinstance(node, int):
        return int(node)
    if isinstance(node, float):
        return float(node)
    return node
