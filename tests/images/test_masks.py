"""Masks: what a person sees in the file is marked, however the file stores it; what cannot be decided is refused."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from afrad_bench.images.decoding import decode
from afrad_bench.images.masks import Marking, decide
from afrad_bench.images.pictures import FileIndex, FileMask
from afrad_bench.types import MaskFacts

SIDE = 96
SHAPE = np.zeros((SIDE, SIDE), dtype=bool)
SHAPE[20:36, 60:76] = True
SHAPE[70:74, 10:50] = True
L = Image.fromarray(SHAPE.astype(np.uint8) * 255)
WHITE, BLACK = (Image.new("L", L.size, level) for level in (255, 0))


def read(image: Image.Image, form: str = "PNG", **how: object) -> Marking:
    file = io.BytesIO()
    image.save(file, form, **how)
    return decide(decode(file.getvalue()))


def painted(colours: dict[int, tuple[int, int, int]], ground: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    """The shape in a colour for each of its two regions, on a ground."""
    pixels = np.full((SIDE, SIDE, 3), ground, dtype=np.uint8)
    for region, colour in colours.items():
        pixels[SHAPE & ((np.arange(SIDE) > 50)[None, :] == (region == 1))] = colour
    return Image.fromarray(pixels)


def indexed(palette: list[int]) -> Image.Image:
    """The shape as index 1 of a palette."""
    image = Image.fromarray(SHAPE.astype(np.uint8))
    image.putpalette(palette)
    return image


CLASSES = np.where(SHAPE, 1 + (np.arange(SIDE) > 50)[None, :], 0)

AS_EVER: dict[str, Image.Image] = {
    "0 and 255": L,
    "0 and 1": Image.fromarray(SHAPE.astype(np.uint8)),
    "0 and 7": Image.fromarray(SHAPE.astype(np.uint8) * 7),
    "one bit": L.convert("1"),
    "16 bits": Image.fromarray(SHAPE.astype(np.uint16) * 65535),
    "class ids": Image.fromarray(CLASSES.astype(np.uint8)),
    "class ids in 16 bits": Image.fromarray(CLASSES.astype(np.uint16)),
    "class colours": painted({0: (0, 0, 1), 1: (7, 0, 0)}),
    "one colour": painted({0: (200, 0, 0), 1: (200, 0, 0)}),
    "black at index 0 of the palette": indexed([0, 0, 0, 128, 0, 0]),
    "any colour at index 0": indexed([31, 119, 180, 255, 127, 14]),
    "opaque": Image.merge("RGBA", (L, L, L, WHITE)),
    "opaque where white": Image.merge("RGBA", (L, L, L, L)),
}


@pytest.mark.parametrize("name", AS_EVER)
def test_plain_masks_mark_what_is_above_zero(name: str) -> None:
    marking = read(AS_EVER[name])
    assert (marking.how, marking.refusal) == ("", "")
    assert np.array_equal(marking.marked, SHAPE)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_plain_masks_of_other_numbers(kind: type) -> None:
    for scale in (1, 255):
        marking = read(Image.fromarray(SHAPE.astype(kind) * scale), "TIFF")
        assert (marking.how, marking.refusal) == ("", "")
        assert np.array_equal(marking.marked, SHAPE)


def outside() -> Image.Image:
    """The shape, and a strip that is transparent in `opaque_middle`."""
    pixels = np.asarray(L).copy()
    pixels[:, :5] = 255
    return Image.fromarray(pixels)


def opaque_middle() -> Image.Image:
    return Image.fromarray(np.pad(np.full((SIDE, SIDE - 5), 255, dtype=np.uint8), ((0, 0), (5, 0))))


def inverted(image: Image.Image) -> Image.Image:
    return image.point(lambda value: 255 - value)


AS_SEEN: dict[str, tuple[Callable[[], Marking], str]] = {
    "white at index 0": (lambda: read(L.convert("RGB").quantize(2)), "colours"),
    "gif": (lambda: read(L.convert("RGB").quantize(2), "GIF"), "colours"),
    "alpha only": (lambda: read(Image.merge("LA", (WHITE, L))), "alpha"),
    "alpha of black": (lambda: read(Image.merge("RGBA", (BLACK, BLACK, BLACK, L))), "alpha"),
    "black on transparent white": (lambda: read(Image.merge("RGBA", (*[inverted(L)] * 3, L))), "alpha"),
    "a cut-out with marks outside": (lambda: read(Image.merge("RGBA", (*[outside()] * 3, opaque_middle()))), "alpha"),
    "lossy webp with alpha": (lambda: read(Image.merge("RGBA", (WHITE, WHITE, WHITE, L)), "WEBP"), "alpha"),
    "grey ground": (lambda: read(L.point(lambda value: value or 128)), "ground"),
    "grey on white": (lambda: read(L.point(lambda value: 100 if value else 255)), "ground"),
    "red on white": (lambda: read(painted({0: (255, 0, 0), 1: (255, 0, 0)}, (255, 255, 255))), "ground"),
    "grey ground in jpeg": (lambda: read(L.point(lambda value: value or 128), "JPEG", quality=60), "ground+soft"),
    "jpeg": (lambda: read(L, "JPEG", quality=30), "soft"),
    "red jpeg": (lambda: read(painted({0: (255, 0, 0), 1: (255, 0, 0)}), "JPEG", quality=95), "soft"),
    "cmyk": (lambda: read(L.convert("CMYK"), "TIFF"), "colours"),
}


@pytest.mark.parametrize("name", AS_SEEN)
def test_masks_mark_what_is_seen(name: str) -> None:
    made, how = AS_SEEN[name]
    marking = made()
    assert (marking.how, marking.refusal) == (how, "")
    assert np.array_equal(marking.marked, SHAPE)


@pytest.mark.parametrize("quality", [10, 30, 75, 95])
def test_ringing_of_any_compression_is_cut(quality: int) -> None:
    marking = read(L, "JPEG", quality=quality)
    assert marking.refusal == ""
    assert (marking.marked & SHAPE).sum() / (marking.marked | SHAPE).sum() > 0.97


def test_soft_edges_are_cut_halfway() -> None:
    """Anti-aliasing neither adds a pixel all round nor takes one away: the area stays."""
    small = L.resize((40, 40), Image.Resampling.BILINEAR)
    marking = read(small)
    assert (marking.how, marking.refusal) == ("soft", "")
    assert np.array_equal(marking.marked, np.asarray(small) > 127)
    for deep in (np.asarray(small).astype(np.uint16) * 257, np.rint(np.asarray(small) / 17).astype(np.float32) / 15):
        marking = read(Image.fromarray(deep), "TIFF")
        assert (marking.how, marking.refusal) == ("soft", "")
        assert np.array_equal(marking.marked, np.asarray(small) > 127)


def spot(level: int, side: int) -> Image.Image:
    """The shape, and elsewhere a square of another level."""
    pixels = np.asarray(L).copy()
    pixels[40 : 40 + side, 8 : 8 + side] = level
    return Image.fromarray(pixels)


def ignored() -> Image.Image:
    """The shape as class 1, and a margin of 255, which stands for "ignore"."""
    pixels = np.full((SIDE, SIDE), 255, dtype=np.uint8)
    pixels[4:-4, 4:-4] = SHAPE[4:-4, 4:-4]
    return Image.fromarray(pixels)


REFUSED: dict[str, tuple[Callable[[], Marking], str]] = {
    "inverted": (lambda: read(inverted(L)), r"marks 9\d% of the image: is it inverted"),
    "inverted, of a large shape": (lambda: read(Image.fromarray(~np.pad(SHAPE[20:36, 60:76], 8))), "is it inverted"),
    "inverted jpeg": (lambda: read(inverted(L), "JPEG"), "is it inverted"),
    "a hole in an opaque sheet": (lambda: read(Image.merge("LA", (BLACK, inverted(L)))), "is it inverted"),
    "one grey level": (lambda: read(Image.new("L", L.size, 128)), "one level only"),
    "all white": (lambda: read(WHITE), "one level only"),
    "three levels": (lambda: read(spot(128, 20)), "more than two levels"),
    "three levels, the third dark": (lambda: read(spot(40, 20)), "more than two levels"),
    "three levels, the third small": (lambda: read(spot(100, 2)), "more than two levels"),
    "three levels in jpeg": (lambda: read(spot(128, 20), "JPEG"), "more than two levels"),
    "one class id in jpeg": (lambda: read(Image.fromarray(SHAPE.astype(np.uint8)), "JPEG"), "lossy"),
    "class ids beside white": (
        lambda: read(Image.fromarray(np.where(CLASSES == 2, 255, CLASSES).astype(np.uint8))),
        "like class ids",
    ),
    "a class and a margin to ignore": (lambda: read(ignored()), "like class ids"),
    "class ids in jpeg": (lambda: read(Image.fromarray(CLASSES.astype(np.uint8) * 8), "JPEG"), "lossy"),
    "a heat map": (lambda: read(L.filter(ImageFilter.GaussianBlur(9))), "more than two levels"),
    "noise": (
        lambda: read(Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), dtype=np.uint8))),
        "more than two levels",
    ),
    "halves without black": (
        lambda: read(Image.fromarray(np.repeat([[90, 200]], SIDE // 2, axis=1).repeat(SIDE, axis=0).astype(np.uint8))),
        "no black",
    ),
    "frames": (lambda: read(L, "GIF", save_all=True, append_images=[inverted(L)]), "several pictures"),
    "pages": (lambda: read(L, "TIFF", save_all=True, append_images=[L]), "several pictures"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_decided_is_refused(name: str) -> None:
    made, why = REFUSED[name]
    refusal = made().refusal
    assert re.search(why, refusal), refusal


def test_a_blank_mask_is_blank_in_any_form(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    for image in (
        BLACK,
        BLACK.convert("1"),
        BLACK.convert("RGB"),
        BLACK.convert("P"),
        Image.merge("LA", (BLACK, WHITE)),
    ):
        image.save(path)
        assert FileIndex().facts([path], [path])[0].mask == MaskFacts("", True, True, "")


def test_the_fingerprint_changes_only_where_the_reading_does(tmp_path: Path) -> None:
    """A mask that always was read rightly keeps the digest of its content."""
    for name, image in (("plain", L), ("palette", L.convert("RGB").quantize(2))):
        path = tmp_path / f"{name}.png"
        image.save(path)
        facts = FileIndex().facts([path], [path])[0]
        assert facts.mask is not None
        mask = FileMask(path, facts.sha256, facts.mask.how)
        assert np.array_equal(mask.read(), SHAPE)
        assert (mask.fingerprint() == facts.sha256) == (name == "plain")
