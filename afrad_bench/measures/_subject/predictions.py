"""Checked predictions of test images, for the measures that use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from afrad_bench.types import Images, Prediction, Subject

_SPELLED_OUT = 5  # images named in a message


def predictions(
    subject: Subject, indices: Sequence[int], batch_size: int
) -> Iterator[tuple[Prediction, Sequence[int]]]:
    """Predictions of these test images, and the positions of the images, batch by batch.

    Raises a `ValueError` that names the images if a prediction has a wrong shape or is not finite."""
    start = 0
    for batch in subject.test.subset(indices).batches(batch_size):
        prediction = subject.method.predict(batch)
        _check(prediction, batch)
        yield prediction, indices[start : start + len(batch)]
        start += len(batch)


def _check(prediction: Prediction, batch: Images) -> None:
    image_scores, maps = np.asarray(prediction.pred_score), prediction.anomaly_map
    if image_scores.shape != (len(batch),):
        raise ValueError(f"pred_score has shape {image_scores.shape} instead of ({len(batch)},) for {_some(batch.ids)}")
    if maps is not None and np.shape(maps) != (len(batch), *batch.size):
        raise ValueError(
            f"anomaly_map has shape {np.shape(maps)} instead of {(len(batch), *batch.size)} for {_some(batch.ids)}"
        )
    for what, values in (("pred_score", image_scores), ("anomaly_map", maps)):
        if values is None:
            continue
        with np.errstate(over="ignore"):  # maps are stored as float32, so they must be finite in float32
            finite = np.isfinite(np.asarray(values, np.float32 if what == "anomaly_map" else None))
        bad = np.flatnonzero(~finite.reshape(len(batch), -1).all(axis=1))
        if len(bad):
            count = int(np.count_nonzero(~finite))
            raise ValueError(
                f"{what} is not finite (NaN or infinite): {count} of {finite.size} values of this batch, "
                f"in {_some([batch.ids[i] for i in bad])}"
            )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SPELLED_OUT} more" if len(names) > _SPELLED_OUT else ""
    return ", ".join(names[:_SPELLED_OUT]) + more
