"""Keeps some normal training images of a data set from every fit, so that they can decide a threshold."""

from __future__ import annotations

from dataclasses import replace

from afrad_bench.errors import fail
from afrad_bench.hashing import canonical, digest
from afrad_bench.suite.file import HoldOut
from afrad_bench.types import Dataset


def without(dataset: Dataset, hold_out: HoldOut) -> Dataset:
    """The data set whose `train` lacks the images that are now its `held_out`: a share of each category, at least one.

    The choice depends on the seed and the ids alone. Raises `UserError` for a category that would have none left."""
    held: set[str] = set()
    for category in dict.fromkeys(sample.category for sample in dataset.train):
        mine = [sample.id for sample in dataset.train if sample.category == category]
        count = max(1, round(hold_out.share * len(mine)))
        if count >= len(mine):
            raise fail(
                f"{dataset.name}: {category} has {len(mine)} training images, too few to hold out {count}",
                "hold_out",
                "hold out a smaller share, or choose other categories",
            )
        held |= set(sorted(mine, key=lambda each: digest(str(hold_out.seed), "held out", each))[:count])
    share = f"{hold_out.share:.0%} of the normal training images of each category"
    note = f"{share} ({len(held)}, seed {hold_out.seed}) are kept from the fit, to decide a threshold"
    return replace(
        dataset,
        train=tuple(sample for sample in dataset.train if sample.id not in held),
        held_out=tuple(sample for sample in dataset.train if sample.id in held),
        fingerprint=digest(dataset.fingerprint, "held out", canonical(hold_out.model_dump(mode="json"))),
        notes=(*dataset.notes, note),
    )
