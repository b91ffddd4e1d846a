"""Decoding of one image file: which formats, which way up, and how more than 8 bits per channel become 8.

`export` copies this module into the file that it writes beside an exported model, so that images are read there as they
were read for training. So it needs numpy and Pillow only, and nothing of this package."""

from __future__ import annotations

import io
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the formats that are read, whatever the file is called. None of their decoders starts a program."""
LOSSY = frozenset({"AVIF", "JPEG", "JPEG2000", "MPO", "WEBP"})
MAX_PIXELS = 178_956_970
"""Pixels of the largest image that is read unless the caller allows more; Pillow's own limit."""
WHITE = 65535.0
"""The value of white in a file that uses 16 bits."""
UNSURE = 16383
"""A file of more than 8 bits whose largest value is not above this one may hold 14, 12 or 10 bits in 16."""
GREY_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", *GREY_MODES})

_LARGE_AT_ONCE = (b"GIF8", b"RIFF")
"""Formats (GIF, WebP) for whose pixels Pillow takes memory before it tells their number: its own limit must hold."""
_pillow = threading.Lock()
"""Held while Pillow's limit of pixels, which is global, has another value."""


class Undecodable(ValueError):
    """A file that is no image of a known format, is damaged, or whose pixels have no known meaning."""


class NoWhite(Undecodable):
    """A file with more than 8 bits per channel, of which it is not known which value is white."""

    def __init__(self, peak: float) -> None:
        super().__init__(f"more than 8 bits per channel, values up to {peak:g}; which one is white is not known")


class TooLarge(Undecodable):
    """An image with more pixels than allowed; `size` is (width, height), or (0, 0) if Pillow stopped before."""

    def __init__(self, size: tuple[int, int], limit: int) -> None:
        text = f"{size[0]}x{size[1]} pixels, more than {limit}" if any(size) else f"more than {limit} pixels"
        super().__init__(text)
        self.size = size


@dataclass(frozen=True, eq=False)
class Decoded:
    """A decoded image, turned as its EXIF orientation says."""

    image: Image
    """In 8 bits, except for `GREY_MODES`."""
    turned: bool
    """True if its EXIF orientation is not upright."""
    several: bool
    """True if the file holds more than one picture (frames, pages); this is the first one."""
    lossy: bool
    """True if its compression may have changed the pixels."""
    values: npt.NDArray[Any] | None
    """(H, W) or (H, W, 3): the pixels of a file with more than 8 bits per channel; None if it has 8."""

    @property
    def deep(self) -> Literal["", "integer", "float"]:
        """Kind of `values`; empty if there are none."""
        if self.values is None:
            return ""
        return "float" if self.values.dtype.kind == "f" else "integer"

    @property
    def peak(self) -> float:
        """The largest value of all channels except alpha."""
        return float((_eight_bits(self.image) if self.values is None else self.values).max())

    @property
    def transparent(self) -> bool:
        """True if not all of it is opaque."""
        import numpy as np

        return has_alpha(self.image) and bool(np.asarray(self.image.convert("RGBA").getchannel("A")).min() < 255)


def decode(raw: bytes, max_pixels: int = MAX_PIXELS) -> Decoded:
    """The first picture of an image file. Raises `Undecodable`."""
    from PIL import Image, UnidentifiedImageError

    try:
        first = _loaded(raw, max_pixels)
        made = decoded(first.image, first.several, first.turned)
        if first.deep == "colour":
            return _with_low_bytes(made, _loaded(raw, max_pixels, other_bytes=True).image)
        return _of_both_bytes(made) if first.deep == "grey and alpha" else made
    except Undecodable:
        raise
    except UnidentifiedImageError as error:
        raise Undecodable(f"its content is none of {', '.join(FORMATS)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooLarge((0, 0), max_pixels) from error
    except _DAMAGED as error:
        raise Undecodable(str(error) or type(error).__name__) from error


def decoded(image: Image, several: bool = False, turned: bool = False) -> Decoded:
    """The same for an image that is already open. `turned`: TIFF files are turned by Pillow itself."""
    import numpy as np
    from PIL import ImageOps

    lossy = image.format in LOSSY or image.info.get("compression") == "jpeg"
    if image.mode not in MODES:
        raise Undecodable(f"pixels of mode {image.mode}")
    if image.mode not in GREY_MODES and any(";16" in _raw_mode(tile) for tile in getattr(image, "tile", ())):
        raise Undecodable("16 bits per channel, of which Pillow keeps 8: give the path of the file instead")
    if _orientation(image) != 1:
        wide = image.convert("I") if image.mode.startswith("I;16") else image
        image, turned = ImageOps.exif_transpose(wide), True
    values = np.asarray(image) if image.mode in GREY_MODES else None
    if values is not None and not (np.isfinite(values).all() and values.min() >= 0):
        raise Undecodable("pixels below 0 or not finite: their range is not known")
    return Decoded(image, turned, several, lossy, values)


def has_alpha(image: Image) -> bool:
    """Whether an image has an alpha channel, or colours that are declared transparent."""
    return image.mode in ("LA", "PA", "RGBA") or ("transparency" in image.info and image.mode not in GREY_MODES)


def rgb(made: Decoded, white: float | None = None) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8. Greyscale is repeated, alpha is dropped, more than 8 bits are scaled: `white` becomes 255.

    Without `white` a file that uses 16 bits is scaled by them; one that uses fewer raises `NoWhite`."""
    import numpy as np

    if made.values is None:
        return _eight_bits(made.image)
    if white is None and not (made.deep == "integer" and UNSURE < made.peak <= WHITE):
        raise NoWhite(made.peak)
    white = WHITE if white is None else white
    if made.values.ndim == 3 and white == WHITE:
        return _eight_bits(made.image)
    scaled = np.clip(np.rint(made.values.astype(np.float64) / (white / 255)), 0, 255).astype(np.uint8)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[:, :, None], 3, axis=2)


def squared(pixels: npt.NDArray[Any], side: int) -> npt.NDArray[np.uint8]:
    """(side, side, 3) uint8 of (H, W, 3) uint8: bilinear with antialiasing, directly to the square."""
    import numpy as np
    from PIL import Image

    image = Image.fromarray(pixels)
    if image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(image)


def as_floats(square: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating[Any]]:
    """(3, side, side) float32 in [0, 1] of (side, side, 3) uint8."""
    import numpy as np

    return square.astype(np.float32).transpose(2, 0, 1) / 255.0


def resized(pixels: npt.NDArray[Any], side: int) -> npt.NDArray[np.floating[Any]]:
    """(3, side, side) float32 in [0, 1] of (H, W, 3) uint8, as `squared` resizes it."""
    return as_floats(squared(pixels, side))


# ------------------------------------------------------------------------------------------------------- opening a file


_DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, AttributeError, AssertionError,
    RuntimeError, MemoryError, struct.error, zlib.error, Warning,
)  # fmt: skip
"""What Pillow's decoders raise for damaged files."""


_Deep = Literal["", "colour", "grey and alpha"]


@dataclass(frozen=True, eq=False)
class _Loaded:
    image: Image
    turned: bool
    several: bool
    deep: _Deep
    """What has 16 bits per channel in an image whose mode holds 8."""


def _loaded(raw: bytes, max_pixels: int, other_bytes: bool = False) -> _Loaded:
    """The first picture of a file. `other_bytes`: of colours with 16 bits per channel, which Pillow cuts to the high
    byte, read the low byte instead."""
    from PIL import Image

    def load(image: Any) -> _Loaded:
        deep = _prepared(image)
        if other_bytes:
            image.tile = [_swapped(tile) for tile in image.tile]
        several, turned = bool(getattr(image, "is_animated", False)), _orientation(image) != 1
        image.load()
        return _Loaded(image, turned and image.format == "TIFF", several, deep)

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    with _limit(max_pixels if raw.startswith(_LARGE_AT_ONCE) else None) as usual:
        image = Image.open(io.BytesIO(raw), formats=formats)
        if image.width * image.height > max_pixels:
            raise TooLarge(image.size, max_pixels)
        if image.width * image.height > usual:
            return load(image)
    return load(image)


def _prepared(image: Any) -> _Deep:
    """What has 16 bits per channel in an image whose mode holds 8: Pillow would drop the low byte without a word.

    Changes its tiles where only so both bytes can be read. Raises `Undecodable` for layouts that cannot be read."""
    image.tile = [_both_bytes(tile) for tile in image.tile]
    layouts = {_raw_mode(tile) for tile in image.tile}
    if layouts == {"LA;16B"}:
        image._mode, image.tile = "RGBA", [_with(tile, layout="RGBA") for tile in image.tile]
        return "grey and alpha"
    if any(one.startswith(("RGB;16", "RGBA;16", "RGBX;16")) for one in layouts):
        return "colour"
    if _bits(image) > 8 and layouts & {"R", "G", "B"}:
        raise Undecodable("more than 8 bits per channel, in separate planes")
    if image.mode not in GREY_MODES and any(";16" in one for one in layouts):
        raise Undecodable(f"16 bits per channel in the layout {', '.join(layouts)}")
    if image.mode in GREY_MODES and getattr(image, "tag_v2", {}).get(262) == 0:
        raise Undecodable("more than 8 bits per channel, in which 0 is white")  # Pillow turns only 8 bits round
    return ""


@contextmanager
def _limit(max_pixels: int | None) -> Iterator[float]:
    """Pillow's global limit replaced by this one; gives its usual value."""
    from PIL import Image

    with _pillow:
        usual, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max_pixels
        try:
            yield float("inf") if usual is None else usual
        finally:
            Image.MAX_IMAGE_PIXELS = usual


def _orientation(image: Image) -> int:
    """1 for upright, 2 to 8 for turned or mirrored. Like other viewers, ignore EXIF data that are damaged."""
    try:
        found = image.getexif().get(0x0112, 1)
    except (SyntaxError, ValueError, TypeError, LookupError, struct.error, Warning):
        return 1
    return found if isinstance(found, int) and 2 <= found <= 8 else 1


def _bits(image: Any) -> int:
    """Bits per channel of a TIFF file; 8 for others."""
    bits = getattr(image, "tag_v2", {}).get(258, 8)  # one number, or one per channel
    return max(bits) if isinstance(bits, tuple) else int(bits)


def _raw_mode(tile: Any) -> str:
    """Pillow's name of the layout of the bytes, e.g. "RGB;16B"."""
    arguments = tile[3]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _swapped(tile: Any) -> Any:
    """The same tile in the other byte order, so that Pillow takes the low byte for the high one."""
    native = "L" if sys.byteorder == "little" else "B"
    mode = _raw_mode(tile)
    order = native if mode[-1] == "N" else mode[-1]
    return _with(tile, mode[:-1] + ("B" if order == "L" else "L"))


def _both_bytes(tile: Any) -> Any:
    """A tile of a colour PPM file whose white is 65535 as two bytes per channel; Pillow would round them to 8 bits."""
    codec, extents, offset, arguments = tile
    return ("raw", extents, offset, ("RGB;16B", 0, 1)) if (codec, arguments) == ("ppm", ("RGB", 65535)) else tile


def _with(tile: Any, layout: str) -> Any:
    """The same tile in another layout."""
    codec, extents, offset, arguments = tile
    made = (layout, *arguments[1:]) if isinstance(arguments, tuple) else layout
    kind: Callable[..., Any] = getattr(type(tile), "_make", tuple)
    return kind((codec, extents, offset, made))


def _of_both_bytes(made: Decoded) -> Decoded:
    """Grey and alpha, each decoded as high byte and low byte."""
    import numpy as np
    from PIL import Image

    high, low, alpha, _ = made.image.split()
    values = np.asarray(high).astype(np.uint16) * 256 + np.asarray(low)
    return replace(made, image=Image.merge("LA", (high, alpha)), values=values)


def _with_low_bytes(high: Decoded, low: Image) -> Decoded:
    import numpy as np

    low = decoded(low).image
    values = _eight_bits(high.image).astype(np.uint16) * 256 + _eight_bits(low)
    return replace(high, values=values)


def _eight_bits(image: Image) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 without alpha."""
    import numpy as np

    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # directly to RGB Pillow warns that transparency is lost
    return np.asarray(image.convert("RGB"))
