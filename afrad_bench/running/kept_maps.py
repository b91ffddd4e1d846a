"""Predictions for the test images, kept in a file, so that accuracy can be computed again without training.

One Parquet file per cell, `STORE/maps/<cell>.parquet`. It holds the id, the score (float64) and the map of each test
image (float32, the precision in which maps are compared, so that recomputed values equal measured ones), with lossless
compression, and the terms under which the method was fitted. Masks are not kept; they come from the data set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from afrad_bench import writing
from afrad_bench.errors import fail
from afrad_bench.hashing import canonical
from afrad_bench.types import Cell, Images, Method, Prediction, TrainingRecord

if TYPE_CHECKING:
    import pyarrow as pa

_TERMS = "afrad_bench.terms"


def place_of(store: Path, cell: Cell) -> Path:
    """Path of a cell's maps in a store."""
    return store / "maps" / f"{cell.id}.parquet"


def is_current(path: Path, terms: Mapping[str, str]) -> bool:
    """Whether `path` is a readable file with the maps of a method that was fitted under these terms."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kept = json.loads(pq.read_schema(path).metadata[_TERMS.encode()])
    except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
        return False
    return bool(kept == dict(terms))


def _schema(terms: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    fields = [
        ("image_id", pa.string()),
        ("pred_score", pa.float64()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("anomaly_map", pa.list_(pa.float32())),
    ]
    return pa.schema(fields, metadata={_TERMS: canonical(dict(terms))})


class Keeping:
    """A method whose predictions are also written to a file. The file appears when the block ends without an error.
    Raises `DiskFull`."""

    def __init__(self, method: Method, path: Path, terms: Mapping[str, str]) -> None:
        self._method, self._path, self._terms = method, path, terms
        self._scratch = path.with_name(f".{path.name}.tmp")

    def __enter__(self) -> Keeping:
        import pyarrow.parquet as pq

        with writing.space(self._path.parent, writing.STORE):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._scratch,
                _schema(self._terms),
                compression="zstd",
                use_dictionary=False,
                use_byte_stream_split=["anomaly_map.list.element"],
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing.space(self._path.parent, writing.STORE):
                self._writer.close()
                if fault is None:
                    self._scratch.replace(self._path)
        finally:
            self._scratch.unlink(missing_ok=True)

    def fit(self, train: Images) -> TrainingRecord:
        return self._method.fit(train)

    def predict(self, images: Images) -> Prediction:
        import numpy as np
        import pyarrow as pa

        found = self._method.predict(images)
        height, width = images.size
        maps: list[Any] = [None] * len(images)
        if found.anomaly_map is not None:
            maps = [np.asarray(one, np.float32).ravel() for one in found.anomaly_map]
        columns = [
            list(images.ids),
            np.asarray(found.pred_score, np.float64),
            [height] * len(images),
            [width] * len(images),
            maps,
        ]
        schema = _schema(self._terms)
        arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
        with writing.space(self._path.parent, writing.STORE):
            self._writer.write_table(pa.table(arrays, schema=schema))
        return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Inside, an error of reading the file is a `UserError`."""
    import pyarrow as pa

    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        text = str(error).partition("\n")[0]
        raise fail(
            f"not a readable file of maps: {text}", str(path), "`run --keep-maps --force` makes it again"
        ) from error


class Kept:
    """A method that returns the predictions in a file of kept maps. Raises `UserError` if the file is damaged."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        self._path = path
        self._group = -1
        self._rows: dict[str, tuple[float, Any]] = {}
        with _reading(path):
            self._file = pq.ParquetFile(path)
            self.terms: Mapping[str, str] = json.loads(self._file.schema_arrow.metadata[_TERMS.encode()])
            self._groups = {
                name: group
                for group in range(self._file.num_row_groups)
                for name in self._file.read_row_group(group, ["image_id"])["image_id"].to_pylist()
            }

    def fit(self, train: Images) -> TrainingRecord:
        raise RuntimeError("kept maps cannot be fitted")

    def predict(self, images: Images) -> Prediction:
        """Raises `KeyError` for an image that is not in the file."""
        import numpy as np

        found = [self._of(name) for name in images.ids]
        scores = np.array([score for score, _ in found])
        maps = [one for _, one in found if one is not None]
        return Prediction(scores, np.stack(maps) if maps else None)

    def _of(self, name: str) -> tuple[float, Any]:
        if self._groups[name] != self._group:  # images come in the order in which they were kept
            self._group = self._groups[name]
            with _reading(self._path):
                table = self._file.read_row_group(self._group)
                columns = [table[column].to_pylist() for column in ("image_id", "pred_score", "height", "width")]
                maps = [one.values.to_numpy() if one.is_valid else None for one in table["anomaly_map"]]
                self._rows = {
                    image: (score, None if one is None else one.reshape(height, width))
                    for image, score, height, width, one in zip(*columns, maps, strict=True)
                }
        return self._rows[name]
