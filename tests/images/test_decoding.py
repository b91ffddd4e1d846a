"""Decoding: formats by content, orientation, more than 8 bits, and limits."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from afrad_bench.errors import UserError
from afrad_bench.images.decoding import MAX_PIXELS, NoWhite, TooLarge, Undecodable, decode, resized, rgb
from afrad_bench.images.depth import white_for
from afrad_bench.images.pictures import FileIndex, FilePicture

RNG = np.random.default_rng(3)
COLOUR = RNG.integers(0, 256, (6, 10, 3), dtype=np.uint8)
TWELVE = RNG.integers(0, 4096, (6, 10), dtype=np.uint16)
LATER = {2: np.fliplr, 3: lambda a: np.rot90(a, 2), 6: lambda a: np.rot90(a, -1), 8: np.rot90}
"""Some EXIF orientations, and how they turn the stored pixels (H, W, ...)."""


def encoded(pixels: np.ndarray | Image.Image, form: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, form, **how)
    return file.getvalue()


def deep_png(values: np.ndarray) -> bytes:
    """A PNG with 16 bits per channel of (H, W, 2), (H, W, 3) or (H, W, 4), which Pillow cannot write."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_tiff(values: np.ndarray, order: str, planar: int = 1) -> bytes:
    """An uncompressed TIFF with 16 bits per channel of (H, W, 3) in this byte order ("<" or ">")."""
    height, width, _ = values.shape
    planes = values if planar == 1 else values.transpose(2, 0, 1)
    data = planes.astype(f"{order}u2").tobytes()
    strip = len(data) if planar == 1 else len(data) // 3
    at = 8 + 2 + 12 * 10 + 4
    bits, offsets, counts = at, at + 6, at + 18
    pixels = at + 30
    many = planar != 1
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 3 if many else 1, offsets if many else pixels), (277, 3, 1, 3), (278, 3, 1, height),
        (279, 4, 3 if many else 1, counts if many else strip), (284, 3, 1, planar),
    ]  # fmt: skip

    def entry(tag: int, kind: int, count: int, value: int) -> bytes:
        value_code = "HH" if kind == 3 and count == 1 else "I"
        values = [value, 0] if value_code == "HH" else [value]
        return struct.pack(f"{order}HHI{value_code}", tag, kind, count, *values)

    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    ifd = struct.pack(f"{order}H", 10) + b"".join(entry(*one) for one in entries) + bytes(4)
    tables = struct.pack(f"{order}3H3I3I", 16, 16, 16, *(pixels + i * strip for i in range(3)), *[strip] * 3)
    return head + ifd + tables + data


# --------------------------------------------------------------------------------------------------------- orientation


@pytest.mark.parametrize("orientation", LATER)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_images_are_turned_as_viewers_turn_them(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(form, {})
    made = decode(encoded(COLOUR, form, exif=exif, **how))
    stored = rgb(decode(encoded(COLOUR, form, **how)))
    assert made.turned
    assert np.array_equal(rgb(made), LATER[orientation](stored))


def test_deep_images_are_turned_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = decode(encoded(TWELVE, exif=exif))
    assert made.values is not None
    assert np.array_equal(made.values, np.rot90(TWELVE, -1))


@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"", b"x" * 40])
def test_damaged_exif_turns_nothing(exif: bytes) -> None:
    made = decode(encoded(COLOUR, "PNG", exif=exif))
    assert not made.turned
    assert np.array_equal(rgb(made), COLOUR)


# ----------------------------------------------------------------------------------------------------- more than 8 bits


def test_white_is_that_of_the_bits_in_use() -> None:
    made = decode(encoded(TWELVE))
    assert np.array_equal(rgb(made, 4095.0)[:, :, 0], np.rint(TWELVE / (4095 / 255)))
    assert len(np.unique(rgb(made, 65535.0))) <= 17, "the former reading kept 16 grey levels"


def test_full_range_is_read_as_ever() -> None:
    full = RNG.integers(0, 65536, (6, 10), dtype=np.uint16)
    made = decode(encoded(full))
    assert np.array_equal(rgb(made, 65535.0), rgb(made))
    assert np.array_equal(rgb(made)[:, :, 0], np.rint(full / 257.0))


@pytest.mark.parametrize(
    ("kind", "peak", "white"),
    [
        (np.uint16, 200, 255), (np.uint16, 256, 1023), (np.uint16, 1023, 1023), (np.uint16, 1024, 4095),
        (np.uint16, 16383, 16383), (np.uint16, 16384, 65535), (np.int32, 4000, 4095), (np.int32, 70_000, 2**18 - 1),
        (np.float32, 0.7, 1), (np.float32, 1.0, 1), (np.float32, 1.25, 3), (np.float32, 255, 255),
        (np.float32, 4000, 4095),
    ],
)  # fmt: skip
def test_the_fewest_bits_that_hold_all_values(kind: type, peak: float, white: float) -> None:
    pixels = np.zeros((6, 10), dtype=kind)
    pixels[2, 3] = peak
    made = decode(encoded(pixels, "TIFF"))
    assert white_for([made]) == white
    assert rgb(made, white).max() == round(255 * peak / white)


def test_without_a_known_white_few_bits_are_refused() -> None:
    for pixels, form in ((TWELVE, "PNG"), (TWELVE.astype(np.float32) / 4095, "TIFF")):
        with pytest.raises(NoWhite, match="which one is white is not known"):
            rgb(decode(encoded(pixels, form)))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_values_without_a_known_range_are_refused(value: float) -> None:
    pixels = np.full((6, 10), 0.5, dtype=np.float32)
    pixels[0, 0] = value
    with pytest.raises(Undecodable, match="below 0 or not finite"):
        decode(encoded(pixels, "TIFF"))


@pytest.mark.parametrize("alpha", [False, True])
def test_colours_in_16_bits_keep_their_low_byte(alpha: bool) -> None:
    """Pillow reads the high byte only, so 12 bits in 16 would keep 16 levels per channel."""
    values = RNG.integers(0, 4096, (6, 10, 4 if alpha else 3), dtype=np.uint16)
    made = decode(deep_png(values))
    assert (made.deep, made.peak) == ("integer", values[:, :, :3].max())
    assert np.array_equal(rgb(made, 4095.0), np.rint(values[:, :, :3] / (4095 / 255)))


def test_grey_with_alpha_and_ppm_in_16_bits_keep_their_low_byte_too() -> None:
    made = decode(deep_png(np.stack([TWELVE, np.full_like(TWELVE, 65535)], axis=2)))
    assert made.values is not None
    assert np.array_equal(made.values, TWELVE)
    values = RNG.integers(0, 4096, (6, 10, 3), dtype=np.uint16)
    made = decode(b"P6 10 6 65535\n" + values.astype(">u2").tobytes())
    assert made.values is not None
    assert np.array_equal(made.values, values)


def test_layouts_whose_low_bytes_cannot_be_read_are_refused() -> None:
    raw = encoded(Image.new("CMYK", (20, 6)), "TIFF")  # made to a picture of half the width and twice the bits
    for was, now in (((256, 4, 1, 20), (256, 4, 1, 10)), ((8, 8, 8, 8), (16, 16, 16, 16))):
        code = "<HHII" if was[0] == 256 else "<4H"
        assert raw.count(struct.pack(code, *was)) == 1
        raw = raw.replace(struct.pack(code, *was), struct.pack(code, *now))
    with pytest.raises(Undecodable, match="16 bits per channel in the layout CMYK;16"):
        decode(raw)


def test_zero_as_white_is_turned_round_or_refused() -> None:
    """Pillow writes 8 bits turned round, and 16 bits as they are."""
    grey = (TWELVE // 16).astype(np.uint8)
    assert np.array_equal(rgb(decode(encoded(grey, "TIFF", tiffinfo={262: 0})))[:, :, 0], grey)
    with pytest.raises(Undecodable, match="in which 0 is white"):
        decode(encoded(TWELVE, "TIFF", tiffinfo={262: 0}))


@pytest.mark.parametrize("order", ["<", ">"])
def test_colours_in_16_bits_of_tiff(order: str) -> None:
    values = RNG.integers(0, 4096, (6, 10, 3), dtype=np.uint16)
    made = decode(deep_tiff(values, order))
    assert made.values is not None
    assert np.array_equal(made.values, values)
    with pytest.raises(Undecodable, match="separate planes"):
        decode(deep_tiff(values, order, planar=2))


# ------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP", "JPEG2000"])
def test_formats_are_told_by_content(tmp_path: Path, form: str) -> None:
    how = {"WEBP": {"lossless": True}}.get(form, {})
    picture = Image.fromarray(COLOUR).quantize(200) if form == "GIF" else COLOUR
    (tmp_path / "x.png").write_bytes(encoded(picture, form, **how))
    wanted = np.asarray(picture.convert("RGB")) if isinstance(picture, Image.Image) else picture
    assert np.array_equal(FilePicture(tmp_path / "x.png", "").read(), wanted)


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.mark.parametrize(
    "raw", [POSTSCRIPT, b"%PDF-1.4\n", b"SIMPLE  =                    T", b"GIMP", b"\0\0\1\0\1\0", b"words", b""]
)
def test_other_formats_are_refused_and_no_program_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes
) -> None:
    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    path = tmp_path / "x.png"
    path.write_bytes(raw)
    assert "its content is none of AVIF, BMP, GIF, JPEG" in str(FileIndex().facts([path])[0].error)
    with pytest.raises(UserError, match=r"x.png: cannot be read as an image: its content is none of"):
        FilePicture(path, "").read()


def test_damaged_files_of_every_format_are_one_kind_of_error() -> None:
    """Some thousand mutations: whatever Pillow's decoders raise, a caller sees `Undecodable`."""
    rng = np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    forms = [("PNG", {"exif": exif}), ("JPEG", {"exif": exif}), ("GIF", {}), ("BMP", {}), ("PPM", {}), ("JPEG2000", {})]
    sound = [encoded(COLOUR, form, **how) for form, how in forms] + [encoded(TWELVE), encoded(TWELVE, "TIFF")]
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in range(2000):
            raw = bytearray(sound[number % len(sound)])
            for _ in range(rng.integers(1, 6)):
                raw[rng.integers(len(raw))] = rng.integers(256)
            try:
                decode(bytes(raw[: rng.integers(1, len(raw) + 1)] if number % 3 == 0 else raw), 10**6)
            except Undecodable:
                refused += 1
    assert refused > 200


def test_only_the_first_of_several_pictures() -> None:
    frames = [Image.new("L", (8, 8), level) for level in (50, 200)]
    made = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert made.several
    assert rgb(made).max() == 50
    assert not decode(encoded(frames[0], "GIF")).several


# -------------------------------------------------------------------------------------------------------------- limits


def test_the_limit_of_pixels_can_be_raised_and_leaves_pillows_own(tmp_path: Path) -> None:
    usual = Image.MAX_IMAGE_PIXELS
    large = encoded(Image.new("1", (20_000, 9_000)))
    with pytest.raises(TooLarge, match=f"20000x9000 pixels, more than {MAX_PIXELS}"):
        decode(large)
    assert decode(large, 180_000_000).image.size == (20_000, 9_000)
    assert decode(encoded(Image.new("1", (10_000, 9_000)))).image.size == (10_000, 9_000), "no warning either"
    assert usual == Image.MAX_IMAGE_PIXELS
    path = tmp_path / "x.png"
    path.write_bytes(encoded(COLOUR))
    index = FileIndex(tmp_path / "index.sqlite")
    assert index.facts([path])[0].error is None
    assert index.facts([path], max_pixels=59)[0].error == "too large: 10x6 pixels, more than 59"


def test_resized_is_the_documented_preprocessing() -> None:
    wanted = np.asarray(Image.fromarray(COLOUR).resize((4, 4), Image.Resampling.BILINEAR), np.float32) / 255
    assert np.array_equal(resized(COLOUR, 4), wanted.transpose(2, 0, 1))


def test_the_module_stands_alone() -> None:
    """`export` copies it beside a model: it imports nothing of this package, and nothing heavy before it is used."""
    source = Path(sys.modules[decode.__module__].__file__ or "").read_text(encoding="utf-8")
    assert "afrad_bench" not in source
    code = "import sys; exec(sys.stdin.read()); print(sorted({'numpy', 'PIL', 'afrad_bench'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], input=source, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
