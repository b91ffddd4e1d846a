"""From the images found to a verified `Dataset`: limits, checks of every file, notes and the fingerprint.

The fingerprint is a digest of the loader's version, the split, and each sample's id, label and content, without paths
and file times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal, Protocol, TypeVar

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault, problems
from afrad_bench.datasets._reading.files import faults_of, notes_on, pairs_of, samples_of
from afrad_bench.datasets._reading.layout import ScanResult, Split, place
from afrad_bench.datasets._reading.options import Limits, Reading
from afrad_bench.errors import UserError, fail
from afrad_bench.hashing import digest
from afrad_bench.types import FEW, LEAK, MEAN, NO_ANOMALOUS, NO_NORMAL, Dataset, ImageFiles, Sample

Masks = Literal["auto", "required", "none"]
"""`auto`: a category has masks for all its anomalous images or for none; `required`: for all; `none`: unused."""
AS_EVER = Reading()
FEWEST = 10
"""With fewer test images of a kind in a category, a note says so."""
EMPTY: dict[Split, kinds.Kind] = {"train": kinds.EMPTY_TRAIN, "test": kinds.EMPTY_TEST}
PARTS: tuple[tuple[Split, bool], ...] = (("train", False), ("test", False), ("test", True))
"""Split and label of the three parts of a category."""


class Placed(Protocol):
    """Anything with an id, a category, a split and a label."""

    @property
    def id(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def split(self) -> Split: ...
    @property
    def gt_label(self) -> bool: ...


P = TypeVar("P", bound=Placed)


@dataclass(frozen=True, slots=True)
class About:
    """Metadata of a data set."""

    name: str
    version: str
    licence: str
    source: str


@dataclass(frozen=True, slots=True)
class Verified:
    """Samples whose files were all checked, in their fixed order."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    notes: tuple[str, ...]


def assemble(
    about: About, scan: ScanResult, limits: Limits, masks: Masks, files: ImageFiles, reading: Reading = AS_EVER
) -> Dataset:
    """Verify the files found and make the data set. Raises one `UserError` that lists all problems."""
    verified = verify(scan, limits, masks, files, reading)
    return finish(about, verified.train, verified.test, verified.notes)


def verify(scan: ScanResult, limits: Limits, masks: Masks, files: ImageFiles, reading: Reading = AS_EVER) -> Verified:
    """Verified samples within the limits. Files that a limit leaves out are not checked. Raises `UserError`."""
    chosen, notes = limited(scan.found, limits)
    pairs = pairs_of(chosen, files, reading)
    faults = [*_structure(scan), *_unmasked(scan, masks), *faults_of(scan.root, pairs, reading)]
    if faults or scan.faults:
        raise UserError(*problems(scan.root, [*scan.faults, *faults]))
    samples = [(pair.found.split, sample) for pair, sample in zip(pairs, samples_of(pairs, reading), strict=True)]
    return Verified(
        tuple(sample for split, sample in samples if split == "train"),
        tuple(sample for split, sample in samples if split == "test"),
        (*scan.notes, *notes, *notes_on(pairs, reading)),
    )


def finish(about: About, train: Sequence[Sample], test: Sequence[Sample], notes: Iterable[str]) -> Dataset:
    """The data set of these samples, with its fingerprint and with notes on what cannot be measured on it.

    Raises `UserError` if a split is empty."""
    empty = [split for split, samples in (("training", train), ("test", test)) if not samples]
    if empty:
        raise fail(f"the data set {about.name!r} has no {' and no '.join(empty)} images")
    return Dataset(
        name=about.name,
        version=about.version,
        train=tuple(train),
        test=tuple(test),
        fingerprint=_fingerprint(about.version, train, test),
        notes=(*notes, *_undefined(test), *_few(test), *_repeated(train, test)),
        licence=about.licence,
        source=about.source,
    )


def limited(found: Sequence[P], limits: Limits) -> tuple[list[P], tuple[str, ...]]:
    """Apply the limits to training, normal test and anomalous test images of each category; notes say what was cut."""
    groups: dict[tuple[str, str, bool], list[str]] = {}
    for one in found:
        groups.setdefault((one.split, one.category, one.gt_label), []).append(one.id)
    kept: set[str] = set()
    cuts: dict[str, list[str]] = {}
    for (split, category, anomalous), ids in groups.items():
        limit = limits.limit_train if split == "train" else limits.limit_test
        kept.update(ids if limit is None else choose(ids, limit, limits.limit_seed))
        if limit is not None and limit < len(ids):
            what = "training" if split == "train" else "anomalous test" if anomalous else "normal test"
            cuts.setdefault(f"{limit} {what}", []).append(f"{category} of {len(ids)}")
    seeded = f"chosen with seed {limits.limit_seed}"
    notes = tuple(f"only {what} images per category, {seeded}: {', '.join(of)}" for what, of in cuts.items())
    return [one for one in found if one.id in kept], notes


def choose(ids: Iterable[str], count: int, seed: int) -> set[str]:
    """`count` of the ids, spread evenly over their folders; ids are sorted by a digest of the seed and the id."""
    folders: dict[str, list[str]] = {}
    for name in sorted(ids, key=lambda name: digest(str(seed), name)):
        folders.setdefault(name.rpartition("/")[0], []).append(name)
    in_turn = (name for turn in zip_longest(*folders.values()) for name in turn if name is not None)
    return {name for name, _ in zip(in_turn, range(count), strict=False)}


def count_note(found: Sequence[Placed], published: Mapping[str, tuple[int, int, int]]) -> tuple[str, ...]:
    """A note on categories whose counts of (training, normal test, anomalous test) images differ from the published."""
    counts = Counter((one.category, one.split, one.gt_label) for one in found)
    wrong = []
    for category in dict.fromkeys(one.category for one in found):
        here = tuple(counts[category, split, label] for split, label in PARTS)
        if here != published[category]:
            wrong.append(f"{category} {'/'.join(map(str, here))} instead of {'/'.join(map(str, published[category]))}")
    if not wrong:
        return ()
    return (
        f"image counts (train / test normal / test anomalous) differ from the published data set: {', '.join(wrong)}",
    )


def _structure(scan: ScanResult) -> Iterator[Fault]:
    """Faults of whole categories: a reserved name, no training images, no test images."""
    counts = Counter((one.category, one.split) for one in scan.found)
    for category in scan.categories:
        if category == MEAN:
            yield Fault(kinds.RESERVED, category)
        for split, kind in EMPTY.items():
            if not counts[category, split]:
                others = [one.where for one in scan.left_out if (one.category, one.split) == (category, split)]
                more = f"{len(others)} files of formats that are not read, the first {others[0]}" if others else ""
                yield Fault(kind, category, more)


def _unmasked(scan: ScanResult, masks: Masks) -> Iterator[Fault]:
    anomalous = [one for one in scan.found if one.gt_label]
    masked = {one.category for one in anomalous if one.mask is not None}
    for one in anomalous:
        if one.mask is None and (masks == "required" or (masks == "auto" and one.category in masked)):
            yield Fault(kinds.NO_MASK, place(one.image, scan.root))


def _fingerprint(version: str, train: Iterable[Sample], test: Iterable[Sample]) -> str:
    parts = [version]
    for split, samples in (("train", train), ("test", test)):
        parts.append(split)
        for one in samples:
            mask = one.mask.fingerprint() if one.mask else ""
            parts += [one.id, str(one.gt_label), one.image.fingerprint(), mask]
    return digest(*parts)


def _undefined(test: Sequence[Sample]) -> Iterator[str]:
    """Notes on what cannot be measured: pixel metrics without masks; metrics that need both kinds of test images."""
    anomalous = dict.fromkeys(one.category for one in test if one.gt_label)
    normal = dict.fromkeys(one.category for one in test if not one.gt_label)
    unmasked = dict.fromkeys(one.category for one in test if one.gt_label and one.mask is None)
    if unmasked:
        yield f"image labels only, no masks: {', '.join(unmasked)}"
    if one_sided := [name for name in anomalous if name not in normal]:
        yield f"{NO_NORMAL}, so image-level metrics are undefined: {', '.join(one_sided)}"
    if one_sided := [name for name in normal if name not in anomalous]:
        yield f"{NO_ANOMALOUS}, so all accuracy metrics are undefined: {', '.join(one_sided)}"


def _few(test: Sequence[Sample]) -> Iterator[str]:
    """A note on categories with so few test images of a kind that one of them moves an accuracy by points."""
    counts = Counter((one.category, bool(one.gt_label)) for one in test)
    few = []
    for category in dict.fromkeys(one.category for one in test):
        normal, anomalous = counts[category, False], counts[category, True]
        if 0 < min(normal, anomalous) < FEWEST:
            few.append(f"{category} {normal} normal, {anomalous} anomalous")
    if few:
        yield f"{FEW}, so that one image moves an accuracy by points: {'; '.join(few)}"


def _repeated(train: Iterable[Sample], test: Iterable[Sample]) -> Iterator[str]:
    """Notes on images of equal content: test images that are training images (leakage), and training images that count
    more than once."""
    seen: set[str] = set()
    again: list[str] = []
    for one in train:
        content = one.image.fingerprint()
        if content in seen:
            again.append(one.id)
        seen.add(content)
    leaks = [one.id for one in test if one.image.fingerprint() in seen]
    if leaks:
        yield f"{LEAK} ({len(leaks)}): {_some(leaks)}"
    if again:
        yield f"training images that are there already ({len(again)}): {_some(again)}"


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
