"""Choice of the images that the gallery keeps, and their conversion to small pictures."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from afrad_bench.images.sets import resized_mask
from afrad_bench.measures._subject.predictions import predictions
from afrad_bench.types import Example, Role, Sample, Subject

if TYPE_CHECKING:
    from afrad_bench.measures.gallery.config import Config
    from afrad_bench.types import BoolArray, FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class _Predicted:
    position: int
    score: float
    anomaly_map: FloatArray | None


def examples(subject: Subject, config: Config) -> Iterator[Example]:
    """See `gallery.measure`. Memory holds the maps of one batch, and of one category those that are kept."""
    samples, done = subject.dataset.test, 0
    plan = {
        category: [i for i, sample in enumerate(samples) if sample.category == category]
        for category in subject.dataset.categories
    }
    picked = {category: chosen(samples, mine, config.defective, config.good) for category, mine in plan.items()}
    wanted = plan if config.failures else picked
    total = sum(map(len, wanted.values()))
    for category, mine in wanted.items():
        kept: dict[int, _Predicted] = {}
        missed: list[_Predicted] = []
        alarms: list[_Predicted] = []
        for prediction, batch in predictions(subject, mine, config.batch_size):
            for k, i in enumerate(batch):
                found = None if prediction.anomaly_map is None else np.array(prediction.anomaly_map[k], np.float32)
                one = _Predicted(i, float(prediction.pred_score[k]), found)
                if i in picked[category]:
                    kept[i] = one
                (missed if samples[i].gt_label else alarms).append(one)
            missed = sorted(missed, key=lambda one: (one.score, one.position))[: config.failures]
            alarms = sorted(alarms, key=lambda one: (-one.score, one.position))[: config.failures]
            done += len(batch)
            subject.watch(done, total, "keeping pictures")
        found_by_role: dict[Role, list[_Predicted]] = {
            "chosen": [kept[i] for i in picked[category]],
            "missed": missed,
            "alarm": alarms,
        }
        for role, ones in found_by_role.items():
            for rank, one in enumerate(ones, 1):
                yield _example(samples[one.position], one, role, rank, subject.test.size[0], config.side)


def chosen(samples: Sequence[Sample], mine: Sequence[int], defective: int, good: int) -> list[int]:
    """Positions of the chosen images of one category: the first of each kind of defect, the second of each, and so on,
    up to `defective`; then the first `good` normal ones. `mine` are the category's positions in `samples`."""
    kinds: dict[str, list[int]] = {}
    for i in mine:
        if samples[i].gt_label:
            kinds.setdefault(samples[i].defect, []).append(i)
    in_turn = [i for i in chain.from_iterable(zip_longest(*kinds.values())) if i is not None]
    return [*in_turn[:defective], *[i for i in mine if not samples[i].gt_label][:good]]


def _example(sample: Sample, one: _Predicted, role: Role, rank: int, input_side: int, largest: int) -> Example:
    side = min(input_side, largest)
    picture, low, high = (None, None, None) if one.anomaly_map is None else map_picture(one.anomaly_map, side)
    known = sample.mask is not None or not sample.gt_label
    return Example(
        category=sample.category,
        image_id=sample.id,
        defect=sample.defect,
        gt_label=sample.gt_label,
        pred_score=one.score,
        role=role,
        rank=rank,
        image=_image_picture(sample, side),
        mask=_mask_picture(resized_mask(sample, input_side), side) if known else None,
        anomaly_map=picture,
        low=low,
        high=high,
    )


def _image_picture(sample: Sample, side: int) -> bytes:
    image = Image.fromarray(sample.image.read()).resize((side, side), Image.Resampling.BILINEAR)
    return _saved(image, "JPEG", quality=92, subsampling=0, optimize=True)


def _mask_picture(mask: BoolArray, side: int) -> bytes:
    """The mask at input size, made smaller; a pixel is marked if any part of it is, so that small defects stay
    visible."""
    image = Image.fromarray(mask.astype(np.uint8) * 255)
    if image.size != (side, side):
        image = Image.fromarray(
            (np.asarray(image.resize((side, side), Image.Resampling.BOX)) > 0).astype(np.uint8) * 255
        )
    return _saved(image.convert("1", dither=Image.Dither.NONE), "PNG", optimize=True)


def map_picture(anomaly_map: FloatArray, side: int) -> tuple[bytes, float, float]:
    """A map resized to an 8-bit PNG (side, side), and the values of 0 and 255 in it: exact to 1/510 of its range."""
    values = np.asarray(anomaly_map, np.float32)
    if values.shape != (side, side):
        values = np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR))
    low, high = float(values.min()), float(values.max())
    scaled = (values.astype(np.float64) - low) / (high - low) if high > low else np.zeros(values.shape)
    return _saved(Image.fromarray(np.rint(scaled * 255).astype(np.uint8)), "PNG", optimize=True), low, high


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
