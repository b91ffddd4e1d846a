"""The files of a data set: what is wrong with their content, how they are read as one set, and notes that say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault
from afrad_bench.datasets._reading.layout import Found, place
from afrad_bench.datasets._reading.options import Reading
from afrad_bench.images.decoding import WHITE
from afrad_bench.images.depth import white_for
from afrad_bench.images.masks import how_text
from afrad_bench.images.pictures import TOO_LARGE, FileMask, FilePicture
from afrad_bench.types import FileFacts, ImageFiles, Sample

DARK = 63
"""If no 8-bit image has a value above this one, they are probably the upper bytes of 10 to 14 bits."""


@dataclass(frozen=True, slots=True)
class Pair:
    """An image that was found, with the facts about its file and about that of its mask."""

    found: Found
    image: FileFacts
    mask: FileFacts | None


def pairs_of(found: Sequence[Found], files: ImageFiles, reading: Reading) -> list[Pair]:
    """The facts about the files of these images, in order."""
    paths = [path for one in found for path in (one.image, one.mask) if path is not None]
    masks = [one.mask for one in found if one.mask is not None]
    facts = dict(zip(paths, files.facts(paths, masks, reading.max_pixels), strict=True))
    return [Pair(one, facts[one.image], facts[one.mask] if one.mask else None) for one in found]


def faults_of(root: Path, pairs: Sequence[Pair], reading: Reading) -> Iterator[Fault]:
    """Faults in the content of the files."""
    for pair in pairs:
        yield from _content(root, pair, reading)
    if {"integer", "float"} <= {pair.image.deep for pair in pairs}:
        yield from (Fault(kinds.MIXED, place(one.image.path, root)) for one in pairs if one.image.deep == "float")


def samples_of(pairs: Sequence[Pair], reading: Reading) -> Iterator[Sample]:
    """The samples of valid images. The mask of a normal image is blank and is dropped."""
    white = _white(pairs, reading)
    for pair in pairs:
        one, facts, mask = pair.found, pair.image, None
        image = FilePicture(one.image, facts.sha256, facts.turned, white if facts.deep else None, reading.max_pixels)
        if one.gt_label and one.mask is not None and pair.mask is not None:
            how = _how(pair.mask, reading)
            mask = FileMask(one.mask, pair.mask.sha256, how, pair.mask.turned, reading.max_pixels)
        yield Sample(one.id, one.category, image, one.gt_label, one.defect, mask)


def notes_on(pairs: Sequence[Pair], reading: Reading) -> Iterator[str]:
    """Notes on files that are not read as they stand."""
    images = [pair.image for pair in pairs]
    masks = [pair.mask for pair in pairs if pair.mask is not None and pair.found.gt_label]
    white = _white(pairs, reading)
    if white is not None:
        yield _on_depth([pair for pair in pairs if pair.image.deep], white, reading)
    elif reading.bits is not None:
        yield "the option `bits` changes nothing: no image has more than 8 bits per pixel"
    elif max((one.peak for one in images), default=255) <= DARK:
        peak = max(one.peak for one in images)
        yield f"dark: no image has a value above {peak:g} of 255; of files with more than 8 bits the lower may be lost"
    if turned := sum(one.turned for one in images):
        yield f"{turned} images are turned as their EXIF orientation says"
    if transparent := sum(one.transparent for one in images):
        yield f"{transparent} images are not opaque everywhere; their colours are read as if they were"
    if several := sum(one.several for one in (*images, *masks)):
        yield f"{several} files hold several pictures (frames, pages); only the first of each is read"
    if turned := sum(one.turned for one in masks):
        yield f"{turned} masks are turned as their EXIF orientation says"
    hows = Counter(how for one in masks if (how := _how(one, reading)))
    if hows:
        parts = "; ".join(f"{count} {how_text(how)}" for how, count in hows.most_common())
        yield f"{hows.total()} of {len(masks)} masks are not read as every value above 0, but as they look: {parts}"


def _content(root: Path, pair: Pair, reading: Reading) -> Iterator[Fault]:
    one, image, mask = pair.found, pair.image, pair.mask
    for file in (image, mask):
        if file is not None and file.error is not None:
            large = file.error.startswith(TOO_LARGE)
            detail = file.error.removeprefix(TOO_LARGE)
            yield Fault(kinds.TOO_LARGE if large else kinds.UNREADABLE, place(file.path, root), detail)
    if mask is None or mask.error is not None or mask.mask is None:
        return
    if image.error is None and (mask.width, mask.height) != (image.width, image.height):
        sizes = f"{mask.width}x{mask.height}, the image {image.width}x{image.height}"
        turned = (mask.height, mask.width) == (image.width, image.height) and (image.turned or mask.turned)
        yield Fault(kinds.EXIF_SIZE if turned else kinds.OTHER_SIZE, place(mask.path, root), sizes)
    seen = reading.mask_reading == "auto"
    blank = mask.mask.blank if seen else mask.mask.zero
    if one.gt_label and seen and mask.mask.refusal:
        yield Fault(kinds.UNDECIDED, place(mask.path, root), mask.mask.refusal)
    elif one.gt_label and blank:
        yield Fault(kinds.BLANK_MASK, place(mask.path, root))
    elif not one.gt_label and not blank:
        yield Fault(kinds.MARKED_GOOD, place(mask.path, root))


def _how(mask: FileFacts, reading: Reading) -> str:
    return mask.mask.how if mask.mask is not None and reading.mask_reading == "auto" else ""


def _white(pairs: Sequence[Pair], reading: Reading) -> float | None:
    """The value of white in the images of more than 8 bits; None if there are none."""
    found = white_for(pair.image for pair in pairs)
    return found if found is None or reading.bits is None else float(2**reading.bits - 1)


def _on_depth(deep: Sequence[Pair], white: float, reading: Reading) -> str:
    peaks: dict[str, list[float]] = {}
    for pair in deep:
        peaks.setdefault(pair.found.category, []).append(pair.image.peak)
    every = [one for values in peaks.values() for one in values]
    of, peak = f"{len(deep)} images have", max(every)
    if reading.bits is not None:
        above = sum(value > white for value in every)
        more = f"; {above} have larger values, which are cut" if above else ""
        return f"{of} more than 8 bits per pixel (up to {peak:g}), of which the option `bits` uses {reading.bits}{more}"
    half = {name: median(values) for name, values in peaks.items()}
    dim = [f"{name} {value:g}" for name, value in half.items() if value * 4 <= white]
    hint = f"; half of them have no value above: {', '.join(dim)}; `bits` sets another range" if dim else ""
    if deep[0].image.deep == "float":
        return f"{of} floating-point pixels, up to {peak:g}, and are scaled to 8 bits; {white:g} is white{hint}"
    if white == WHITE:
        return f"{of} 16 bits per pixel and are scaled to 8{hint}"
    used = round(white + 1).bit_length() - 1
    return f"{of} more than 8 bits per pixel, of which {used} are in use (up to {peak:g}) and scaled to 8{hint}"
