"""A baseline file: one side of a comparison as text, for review and commit.

JSON with one record per line, in a fixed order, so that a diff shows which numbers changed: lines for each row and its
terms, for each number with its value per seed, for each test image with its score per seed, and for each timed series.
Values are exact (scores in float32, the type in which methods return them); times have four significant digits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from afrad_bench import writing
from afrad_bench.comparing.side import Images, Key, Row, Side, Timed, fields, metrics
from afrad_bench.errors import UserError, fail, first_line, nearest, shortened
from afrad_bench.suite.checked import validated
from afrad_bench.suite.yaml import read_text

FORMAT, VERSION, SUFFIX = "afrad-bench baseline", 1, ".json"
MAX_BYTES = 2**30
AGAIN = "restore it, or write it again with --update-baseline"


def write(side: Side, path: Path) -> None:
    """Write or replace the file; creates its folder if needed. Raises `DiskFull`; then the file is as it was."""
    records = list(_records(side))
    lines = [_line(one) for one in ({"format": FORMAT, "version": VERSION, "records": 1 + len(records)}, *records)]
    with writing.replacing(path, "free some space there, or write the baseline to another disk") as scratch:
        scratch.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def _records(side: Side) -> Iterator[dict[str, Any]]:
    for key, row in sorted(side.rows.items(), key=lambda item: str(item[0])):
        place = {"row": [key.label, key.dataset, key.setting, key.profile]}
        about = {"about": dict(row.about), "measures": dict(row.measures), "parts": _texts(row.parts)}
        yield {**place, **about, **({"unreliable": dict(row.unreliable)} if row.unreliable else {})}
        for measure, terms in row.terms.items():
            yield {**place, "terms_of": measure, "terms": dict(terms)}
        for (metric, category), values in row.values.items():
            yield {**place, "metric": metric, "category": category, "values": _texts(values)}
        for category, images in row.images.items():
            yield {**place, "images_of": category, "seeds": list(images.scores)}
            for at, (image, label) in enumerate(zip(images.ids, images.labels, strict=True)):
                scores = [_short(of[at]) for of in images.scores.values()]
                yield {**place, "image": image, "anomalous": label, "scores": scores}
        for calls in row.timed:
            ways = {"session": calls.session, "mode": calls.mode, "batch": calls.batch, "device": calls.device}
            yield {**place, **ways, "ms": {str(at): float(f"{ms:.4g}") for at, ms in calls.ms.items()}}


def _texts(values: Mapping[int, Any]) -> dict[str, Any]:
    return {str(seed): values[seed] for seed in sorted(values)}


def _short(value: float) -> float:
    """The shortest decimal that identifies a float32; the value itself if it is not a float32."""
    import numpy as np

    return float(str(np.float32(value))) if float(np.float32(value)) == value else value


def read(path: Path) -> Side:
    """Read a side, named by its path. Raises `UserError` if the file is missing, damaged or not a baseline."""
    if not path.exists():
        raise fail("no such baseline file", str(path), "write one with `afrad-bench gate`, --update-baseline")
    try:
        records = json.loads(read_text(path, MAX_BYTES))
    except (ValueError, RecursionError) as error:
        raise fail(f"not a baseline file: {first_line(str(error))}", str(path)) from error
    head = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}
    if head.get("format") != FORMAT:
        raise fail("not a baseline file", str(path), "write one with `afrad-bench gate`, --update-baseline")
    if head.get("version") != VERSION:
        text = f"the baseline file has version {head.get('version')}, but this program reads version {VERSION}"
        raise fail(text, str(path), AGAIN)
    if head.get("records", len(records)) != len(records):
        text = f"the file has {len(records)} records, but was written with {head['records']}: lines were lost or added"
        raise fail(text, str(path), AGAIN)
    drafts: dict[Key, _Draft] = {}
    for line, given in enumerate(records[1:], 3):
        record = _checked(given, f"{path}:{line}")
        key = Key(*record.row)
        try:
            drafts.setdefault(key, _Draft(key)).take(record)
        except ValueError as error:
            raise fail(f"invalid record: {error}", f"{path}:{line}", AGAIN) from error
    if lacking := [str(key) for key, draft in drafts.items() if not draft.complete]:
        raise fail(f"the first record of a row is missing: {'; '.join(lacking)}", str(path), AGAIN)
    return Side(str(path), {key: draft.row() for key, draft in drafts.items()})


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    row: list[str] = Field(min_length=4, max_length=4)


def _is_params(about: dict[str, str]) -> dict[str, str]:
    text = about.get("params", "")
    if text and " and " not in text:  # the parameters of several versions are joined by "and", and not compared
        try:
            fields(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"params: {first_line(str(error))}") from error
    return about


def _is_metric(name: str) -> str:
    if name not in metrics():
        match = nearest(name, metrics())
        raise ValueError(f"no metric is called {shortened(name)!r}" + (f" (did you mean {match!r}?)" if match else ""))
    return name


T = TypeVar("T")
_Texts = dict[str, str]
_Number = Annotated[str, Field(pattern=r"^-?\d{1,19}$")]
"""A seed or a round as the key of a mapping."""


class _About(_Record):
    about: Annotated[_Texts, AfterValidator(_is_params)]
    measures: _Texts
    parts: dict[_Number, str]
    unreliable: _Texts = {}


class _Terms(_Record):
    terms_of: str
    terms: _Texts


class _Values(_Record):
    metric: Annotated[str, AfterValidator(_is_metric)]
    category: str | None
    values: dict[_Number, float | None]


class _Category(_Record):
    images_of: str
    seeds: list[int]


class _Image(_Record):
    image: str
    anomalous: bool
    scores: list[float]


class _Calls(_Record):
    session: str
    mode: str
    batch: int = Field(ge=1)
    device: str
    ms: dict[_Number, Annotated[float, Field(gt=0)]] = Field(min_length=1)


_KINDS: Mapping[str, type[_Record]] = {
    "about": _About,
    "terms": _Terms,
    "values": _Values,
    "images_of": _Category,
    "image": _Image,
    "ms": _Calls,
}
"""Field that only records of this kind have."""


def _checked(given: Any, where: str) -> _Record:
    kind = next((kind for name, kind in _KINDS.items() if isinstance(given, dict) and name in given), None)
    if kind is None:
        raise fail(f"invalid record: it has none of {', '.join(_KINDS)}", where, AGAIN)
    checked = validated(kind, given, lambda _: where, "invalid record")
    if isinstance(checked, list):
        raise UserError(*(replace(problem, hint=problem.hint or AGAIN) for problem in checked))
    assert isinstance(checked, _Record)
    return checked


class _Draft:
    """A row that is built from its records. `ValueError` for a record that contradicts an earlier one."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._about: _About | None = None
        self._terms: dict[str, dict[str, str]] = {}
        self._values: dict[tuple[str, str | None], dict[int, float | None]] = {}
        self._images: dict[str, tuple[list[int], dict[str, _Image]]] = {}
        self._timed: list[Timed] = []

    @property
    def complete(self) -> bool:
        """Whether there is a record of what was measured, and how."""
        return self._about is not None

    def take(self, record: _Record) -> None:
        if isinstance(record, _About):
            _once(self.complete, "this row")
            self._about = record
        elif isinstance(record, _Terms):
            _once(record.terms_of in self._terms, f"the terms of {record.terms_of!r}")
            self._terms[record.terms_of] = record.terms
        elif isinstance(record, _Values):
            number = record.metric, record.category
            _once(number in self._values, f"{record.metric} of {record.category}")
            if self._about is None or record.metric not in self._about.measures:
                raise ValueError(f"the first record of the row does not name the measure of {record.metric}")
            self._values[number] = _by_number(record.values)
        elif isinstance(record, _Category):
            _once(record.images_of in self._images or len(set(record.seeds)) < len(record.seeds), record.images_of)
            self._images[record.images_of] = record.seeds, {}
        elif isinstance(record, _Image):
            seeds, images = next(reversed(self._images.values()), ([], {}))
            _once(record.image in images, record.image)
            if len(record.scores) != len(seeds):
                raise ValueError(f"{record.image} has {len(record.scores)} scores for {len(seeds)} seeds")
            images[record.image] = record
        elif isinstance(record, _Calls):
            ms = _by_number(record.ms)
            self._timed.append(Timed(record.session, record.mode, record.batch, record.device, ms))

    def row(self) -> Row:
        assert self._about is not None
        images = {}
        for category, (seeds, records) in self._images.items():
            labels = tuple(one.anomalous for one in records.values())
            scores = {seed: tuple(one.scores[i] for one in records.values()) for i, seed in enumerate(seeds)}
            images[category] = Images(tuple(records), labels, scores)
        about = self._about
        return Row(
            self._key,
            about.about,
            self._terms,
            about.measures,
            self._values,
            images,
            tuple(self._timed),
            _by_number(about.parts),
            unreliable=about.unreliable,
        )


def _once(again: bool, what: str) -> None:
    if again:
        raise ValueError(f"{what} is there twice")


def _by_number(values: Mapping[str, T]) -> dict[int, T]:
    return {int(number): value for number, value in values.items()}
