"""A baseline file: one side of a comparison as text, for review and commit.

JSON with one record per line, in a fixed order, so that a diff shows which numbers changed: lines for each row and its
terms, for each number with its value per seed, for each test image with its score per seed, and for each timed series.
Values are exact (scores in float32, the type in which methods return them); times have four significant digits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from afrad_bench import writing
from afrad_bench.comparing.side import Images, Key, Row, Side, Timed
from afrad_bench.errors import fail

FORMAT, VERSION, SUFFIX = "afrad-bench baseline", 1, ".json"


def write(side: Side, path: Path) -> None:
    """Write or replace the file; creates its folder if needed. Raises `DiskFull`; then the file is as it was."""
    lines = [json.dumps({"format": FORMAT, "version": VERSION}), *(_line(one) for one in _records(side))]
    with writing.replacing(path, "free some space there, or write the baseline to another disk") as scratch:
        scratch.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def _records(side: Side) -> Iterator[dict[str, Any]]:
    for key, row in sorted(side.rows.items(), key=lambda item: str(item[0])):
        place = {"row": [key.label, key.dataset, key.setting, key.profile]}
        yield {**place, "about": dict(row.about), "measures": dict(row.measures), "parts": _texts(row.parts)}
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
    """Read a side, named by its path. Raises `UserError` if the file is missing or not a baseline."""
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise fail("no such baseline file", str(path), "write one with `afrad-bench gate`, --update-baseline") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise fail(f"not a baseline file: {error}", str(path)) from error
    head = records[0] if isinstance(records, list) and records and isinstance(records[0], dict) else {}
    if head.get("format") != FORMAT:
        raise fail("not a baseline file", str(path), "write one with `afrad-bench gate`, --update-baseline")
    if head.get("version") != VERSION:
        text = f"the baseline file has version {head.get('version')}, but this program reads version {VERSION}"
        raise fail(text, str(path), "write it again with --update-baseline")
    drafts: dict[Key, _Draft] = {}
    for line, record in enumerate(records[1:], 3):
        try:
            key = Key(*record["row"])
            drafts.setdefault(key, _Draft(key)).take(record)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise fail(
                f"invalid record: {error!r}", f"{path}:{line}", "write it again with --update-baseline"
            ) from error
    return Side(str(path), {key: draft.row() for key, draft in drafts.items()})


class _Draft:
    """A row that is built from its records."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._about: dict[str, str] = {}
        self._measures: dict[str, str] = {}
        self._parts: dict[int, str] = {}
        self._terms: dict[str, dict[str, str]] = {}
        self._values: dict[tuple[str, str | None], dict[int, float | None]] = {}
        self._images: list[tuple[str, list[int], list[tuple[str, bool, list[float]]]]] = []
        self._timed: list[Timed] = []

    def take(self, record: Mapping[str, Any]) -> None:
        if "about" in record:
            self._about, self._measures = record["about"], record["measures"]
            self._parts = {int(seed): part for seed, part in record["parts"].items()}
        elif "terms" in record:
            self._terms[record["terms_of"]] = record["terms"]
        elif "metric" in record:
            values = {int(seed): value for seed, value in record["values"].items()}
            self._values[record["metric"], record["category"]] = values
        elif "images_of" in record:
            self._images.append((record["images_of"], record["seeds"], []))
        elif "image" in record:
            self._images[-1][2].append((record["image"], record["anomalous"], record["scores"]))
        else:
            ms = {int(at): value for at, value in record["ms"].items()}
            self._timed.append(Timed(record["session"], record["mode"], record["batch"], record["device"], ms))

    def row(self) -> Row:
        images = {}
        for category, seeds, lines in self._images:
            ids, labels = tuple(image for image, _, _ in lines), tuple(label for _, label, _ in lines)
            scores = {seed: tuple(of[i] for _, _, of in lines) for i, seed in enumerate(seeds)}
            images[category] = Images(ids, labels, scores)
        timed = tuple(self._timed)
        return Row(self._key, self._about, self._terms, self._measures, self._values, images, timed, self._parts)
