"""Strict YAML 1.2: duplicate keys are errors, `on` is text, `1e-3` is a number, and every value has its line number.

This is the one place where YAML becomes plain values, for suites, `--set` and rules files. What no suite can mean is
refused here with its line: dates, infinite or oversized numbers, control characters, keys that are no text, aliases
that contain themselves or expand without end, and more nesting or text than any suite needs."""

from __future__ import annotations

import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from afrad_bench.errors import UserError, fail, nearest, shortened
from afrad_bench.suite.scalars import control_character, value_of

MAX_BYTES = 2**20
MAX_NESTING = 50
MAX_VALUES = 100_000
"""Values of a document, each alias counted as what it stands for."""

Location = Sequence[str | int]
"""Keys and positions from the top of a document to a value, e.g. ("methods", 0, "params", "lr")."""

_TAG = "tag:yaml.org,2002:"
_KINDS: Mapping[str, tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
}
"""Tag of a scalar -> the types that its value may have."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value of a document. Its parts are shared where the document has aliases."""

    value: Any
    parts: Mapping[str | int, tuple[int, Node]] = field(default_factory=dict)
    """Key or position -> its line, from 0, and its value."""
    size: int = 1
    """Number of values in it, itself included."""
    height: int = 0
    """Levels of nesting below it."""

    @classmethod
    def of(cls, value: Any, parts: Mapping[str | int, tuple[int, Node]]) -> Node:
        """A list or mapping with these parts."""
        below = [part for _, part in parts.values()]
        return cls(value, parts, 1 + sum(p.size for p in below), max((1 + p.height for p in below), default=0))


@dataclass(frozen=True)
class Document:
    """A file's content as plain values, and the line of each value."""

    path: Path
    root: Node

    @property
    def data(self) -> Any:
        return self.root.value

    def where(self, location: Location) -> str:
        """`file:line` of the value at this location, or of its nearest parent that exists."""
        node, line = self.root, 0
        for step in location:
            if step not in node.parts:
                break
            line, node = node.parts[step]
        return f"{self.path}:{line + 1}"


def read(path: Path) -> Document:
    """The document in `path`. A `UserError` names the line of what cannot be read; see the module's docstring."""
    text = read_text(path, MAX_BYTES)

    def place(line: int) -> str:
        return f"{path}:{line + 1}"

    return Document(path, _Reader(text, place, "not valid YAML").document() or Node(None))


def read_value(text: str, where: str) -> Any:
    """Parse a single YAML value: `1e-3`, `[1, 2]`, `{a: b}`, `null`, text. `where` is the place in an error."""
    if len(text) > MAX_BYTES:
        raise fail(f"not a YAML value: longer than {MAX_BYTES} characters", where)
    node = _Reader(text, lambda _: where, "not a YAML value").document()
    if node is None or (node.value is None and not text.strip()):
        raise fail("no value is given", where, "write null for no value, or '' (quoted) for empty text")
    return node.value


def read_text(path: Path, most: int) -> str:
    """The text of a regular UTF-8 file of at most so many bytes; anything else is a `UserError`."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise fail("is a folder, not a file", str(path))
        if not stat.S_ISREG(mode):
            raise fail("is not a regular file, but a pipe or a device", str(path), "write its content to a file")
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise fail(f"cannot be read: {reason}", str(path)) from error
    if len(raw) > most:
        raise fail(f"holds more than {most // 2**20} MiB, too much for such a file", str(path))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        utf16 = raw[:2] in (b"\xff\xfe", b"\xfe\xff")
        hint = "it looks like UTF-16: save it as UTF-8" if utf16 else "save it as UTF-8"
        line = raw.count(b"\n", 0, error.start) + 1
        raise fail(f"is not UTF-8 text (byte {error.start})", f"{path}:{line}", hint) from error


class _Reader:
    """Turns the events of ruamel's parser into nodes. `place` names the place of a line, `what` begins an error."""

    def __init__(self, text: str, place: Callable[[int], str], what: str) -> None:
        self._place, self._what = place, what
        self._line = self._values = 0
        self._anchors: dict[str, Node | None] = {}
        """Anchor -> its value; None while that is being read."""
        if found := control_character(text):
            self._line = text.count("\n", 0, found[0])
            raise self._fault(f"the character {found[1]} is not allowed")
        self._events = YAML(typ="safe", pure=True).parse(text)

    def document(self) -> Node | None:
        """The only document; None if there is none."""
        self._next()
        head = self._next()
        if isinstance(head, StreamEndEvent):
            return None
        if head.version is not None and tuple(head.version) != (1, 2):
            raise self._syntax("its version must be 1.2", "remove the line that begins with %YAML")
        root = self._node(self._next(), ())
        self._next()
        if not isinstance(self._next(), StreamEndEvent):
            raise self._syntax("a second document begins here", "only one is read: leave out what follows")
        return root

    def _next(self) -> Any:
        try:
            event: Event = next(self._events)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self._line = mark.line if mark else self._line
            raise self._syntax(" ".join((error.problem or "syntax error").split())) from error
        except Exception as error:  # a slip of the parser on this text, e.g. ValueError for the escape \UFFFFFFFF
            raise self._syntax(f"syntax error ({shortened(' '.join(str(error).split()))})") from error
        self._line = event.start_mark.line
        return event

    def _fault(self, problem: str, at: Location = (), hint: str | None = None) -> UserError:
        name = shortened(".".join(map(str, at)))
        named = any(isinstance(step, str) for step in at)
        return fail(f"{name}: {problem}" if named else problem, self._place(self._line), hint)

    def _syntax(self, problem: str, hint: str | None = None) -> UserError:
        return self._fault(f"{self._what}: {problem}", (), hint)

    def _count(self, values: int, at: Location) -> None:
        self._values += values
        if self._values > MAX_VALUES:
            hint = "an alias counts as all the values that it stands for"
            raise self._fault(f"more than {MAX_VALUES} values", at, hint)

    def _node(self, event: Any, at: tuple[str | int, ...]) -> Node:
        self._count(1, at)
        if isinstance(event, AliasEvent):
            return self._alias(event.anchor, at)
        if len(at) > MAX_NESTING:
            raise self._fault(f"more than {MAX_NESTING} levels of nesting", at)
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, ScalarEvent):
            made = Node(self._scalar(event, at))
        elif isinstance(event, SequenceStartEvent):
            made = self._sequence(event, at)
        else:
            made = self._mapping(event, at)
        if event.anchor:
            self._anchors[event.anchor] = made
        return made

    def _alias(self, name: str, at: tuple[str | int, ...]) -> Node:
        if name not in self._anchors:
            match = nearest(name, self._anchors)
            raise self._syntax(f"there is no anchor &{name} above" + (f" (did you mean *{match}?)" if match else ""))
        found = self._anchors[name]
        if found is None:
            raise self._fault(f"the alias *{name} stands inside its own value", at)
        if len(at) + found.height > MAX_NESTING:
            raise self._fault(f"more than {MAX_NESTING} levels of nesting", at)
        self._count(found.size - 1, at)
        return found

    def _sequence(self, event: SequenceStartEvent, at: tuple[str | int, ...]) -> Node:
        self._must_be("seq", event, at)
        parts: dict[str | int, tuple[int, Node]] = {}
        while not isinstance(event := self._next(), SequenceEndEvent):
            parts[len(parts)] = (self._line, self._node(event, (*at, len(parts))))
        return Node.of([node.value for _, node in parts.values()], parts)

    def _mapping(self, event: MappingStartEvent, at: tuple[str | int, ...]) -> Node:
        """Keys of its own first, in their order, then those that it merges; its own ones take precedence."""
        self._must_be("map", event, at)
        parts: dict[str | int, tuple[int, Node]] = {}
        merged: list[Node] | None = None
        while not isinstance(event := self._next(), MappingEndEvent):
            key, line = self._key(event, at), self._line
            merges = key == "<<" and event.implicit[0]
            first = parts[key][0] if key in parts else None
            if first is not None or (merges and merged is not None):
                known = f", first in line {first + 1}" if first is not None else ""
                raise self._syntax(f"found duplicate key {shortened(key)!r}{known}")
            node = self._node(self._next(), (*at, key))
            if merges:
                merged = self._merged(node, (*at, key))
            else:
                parts[key] = (line, node)
        for one in merged or ():
            for name, part in one.parts.items():
                parts.setdefault(name, part)
        return Node.of({key: node.value for key, (_, node) in parts.items()}, parts)

    def _key(self, event: Any, at: Location) -> str:
        """The text of a key, as it is written: `1`, `true` and `null` are text here."""
        if not isinstance(event, ScalarEvent) or event.tag not in (None, "!", f"{_TAG}str"):
            kind = "an alias" if isinstance(event, AliasEvent) else "a list, a mapping or a value with a tag"
            raise self._fault(f"a key must be text, not {kind}", at)
        key = self._checked(event.value, at)
        if not key:
            raise self._fault("a key is empty", at)
        if event.anchor:
            self._anchors[event.anchor] = Node(key)
        return key

    def _merged(self, node: Node, at: Location) -> list[Node]:
        """The mappings that `<<: *a` or `<<: [*a, *b]` merges."""
        found = [part for _, part in node.parts.values()] if isinstance(node.value, list) else [node]
        if not all(isinstance(one.value, dict) for one in found):
            raise self._fault("only mappings can be merged", at, "write <<: *ANCHOR, or <<: [*ONE, *OTHER]")
        return found

    def _scalar(self, event: ScalarEvent, at: Location) -> Any:
        text = self._checked(event.value, at)
        tag = (event.tag or "").removeprefix(_TAG)
        if tag in ("!", "str") or (not tag and not event.implicit[0]):
            return text
        if tag and tag not in _KINDS:
            raise self._fault(f"the tag {shortened(str(event.tag))} is not known", at, "leave it out")
        try:
            value = value_of(text)
        except ValueError as error:
            problem, _, hint = str(error).partition("\n")
            raise self._fault(problem, at, hint) from error
        if tag and type(value) not in _KINDS[tag]:
            raise self._fault(f"{shortened(text)!r} is no {tag}", at)
        return value

    def _checked(self, text: str, at: Location) -> str:
        """The text, unless an escape such as "\\0" put a control character into it."""
        if found := control_character(text):
            raise self._fault(f"the character {found[1]} is not allowed", at)
        return text

    def _must_be(self, tag: str, event: Any, at: Location) -> None:
        if event.tag not in (None, "!", _TAG + tag):
            raise self._fault(f"the tag {shortened(event.tag)} is not known", at, "leave it out")
