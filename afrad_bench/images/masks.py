"""What a mask file marks: decided by what a person sees in it, not by the numbers that its format stores.

Plain masks mark every value above 0 on a ground of 0: one other level, or small class ids (VisA). For all others the
ground is black or else the level that prevails, in the whole and along the frame; a pixel is marked if its colour is
nearer to the shape's than to the ground's, which cuts anti-aliased edges and the ringing of lossy compression halfway.
A shape may also be in the alpha channel. What cannot be decided is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from afrad_bench.images.decoding import Decoded, has_alpha

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from afrad_bench.types import BoolArray, FloatArray

    IntArray = npt.NDArray[np.integer[Any]]

CLASS_IDS = 31
"""Largest class id, and largest number of class colours."""
NEARLY_ALL = 0.95
"""A mask that marks more of its image is refused. One that marks more than half of it is refused if it also marks that
much of the frame."""
SAME_COLOUR = 16
"""Colours that differ by no more than this, of 255, look alike."""

HOW = {
    "alpha": "by their alpha channel",
    "colours": "by the colours of their palette or channels",
    "ground": "as what differs from a ground that is not black",
    "soft": "cut halfway between ground and shape, since their levels are soft (anti-aliasing, lossy compression)",
}
"""What `Marking.how` is made of, and its text for notes."""


@dataclass(frozen=True, eq=False)
class Marking:
    """What a mask marks, and how that was decided."""

    marked: BoolArray
    """(H, W)"""
    how: str
    """Keys of `HOW`, joined by "+"; empty if the same pixels are above 0."""
    refusal: str = ""
    """Why it cannot be decided; `marked` is then meaningless."""


def above_zero(mask: Decoded) -> BoolArray:
    """(H, W), the plain reading: True where any stored number except alpha is above 0."""
    import numpy as np

    image = mask.image
    if image.mode in ("LA", "RGBA", "PA"):
        image = image.convert(image.mode[:-1].replace("P", "RGB"))
    marked: BoolArray = np.asarray(image if mask.values is None else mask.values) > 0
    return marked if marked.ndim == 2 else np.asarray(marked.any(axis=2))


def decide(mask: Decoded) -> Marking:
    """What this mask marks, and how that was decided."""
    import numpy as np

    plain = above_zero(mask)
    try:
        if mask.several:
            raise _Undecided("holds several pictures (frames, pages)")
        marked, how = _decided(mask)
        _must_leave_a_ground(marked)
    except _Undecided as reason:
        return Marking(plain, "", str(reason))
    return Marking(marked, "" if np.array_equal(marked, plain) else "+".join(how or ["colours"]))


def how_text(how: str) -> str:
    """`Marking.how` as text for notes."""
    return ", ".join(HOW[key] for key in how.split("+"))


class _Undecided(Exception):
    """Why a mask cannot be decided."""


def _decided(mask: Decoded) -> tuple[BoolArray, list[str]]:
    import numpy as np

    seen, how = _seen(mask)
    levels, counts = _levels(seen)
    black = not levels.any(axis=1).all()
    if len(levels) == 1 and not black:
        raise _Undecided("shows one level only, which is not black")
    if len(levels) == 1:
        return np.zeros(seen.shape[:2], dtype=bool), how
    distance = np.abs(seen - (levels[0] * 0 if black else levels[counts.argmax()])).max(axis=2)
    if not black:
        how = [*how, "ground"]
        _must_prevail(distance < distance.max() / 2)
    if black:
        _must_be_clear(distance, mask.lossy)
    if len(levels) == 2 or (black and _are_classes(levels)):
        return distance > 0, how
    return _halved(distance, mask.lossy), [*how, "soft"]


def _seen(mask: Decoded) -> tuple[FloatArray, list[str]]:
    """(H, W, 1 or 3) float32: the colours or the alpha channel, whichever shows the shape; and keys of `HOW`."""
    import numpy as np

    image = mask.image
    layered = has_alpha(image)
    if mask.values is not None:
        colours = np.asarray(mask.values, dtype=np.float32)
    elif image.mode in ("1", "L") and not layered:
        colours = np.asarray(image, dtype=np.float32)
    else:
        image = image.convert("RGBA" if layered else "RGB")
        colours = np.asarray(image, dtype=np.float32)[:, :, :3]
    colours = colours[:, :, None] if colours.ndim == 2 else colours
    if colours.shape[2] == 3 and (colours == colours[:, :, :1]).all():
        colours = colours[:, :, :1]
    how = ["colours"] if mask.image.mode in ("P", "PA", "CMYK", "YCbCr", "HSV") else []
    alpha = np.asarray(image.getchannel("A"), dtype=np.float32)[:, :, None] if layered else None
    if alpha is None or alpha.min() == alpha.max():
        return colours, how
    visible = colours[alpha[:, :, 0] > alpha.max() / 2]
    if np.ptp(visible, axis=0).max() <= SAME_COLOUR:
        return alpha, ["alpha"]
    return np.rint(colours * (alpha / 255)), [*how, "alpha"]


def _levels(seen: FloatArray) -> tuple[FloatArray, IntArray]:
    """(n, channels) different colours in ascending order, and how many pixels have each."""
    import numpy as np

    flat = seen.reshape(-1, seen.shape[2])
    if flat.shape[1] == 1:
        values, counts = np.unique(flat[:, 0], return_counts=True)
        return values[:, None], counts
    codes = flat.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])
    _, first, counts = np.unique(codes, return_index=True, return_counts=True)
    return flat[first], counts


def _must_prevail(ground: BoolArray) -> None:
    if min(ground.mean(), _frame(ground).mean()) <= 0.5:
        raise _Undecided("has no black, and no other level that prevails both in the whole and along the frame")


def _must_leave_a_ground(marked: BoolArray) -> None:
    share = marked.mean()
    if share > NEARLY_ALL or (share > 0.5 and _frame(marked).mean() > NEARLY_ALL):
        raise _Undecided(f"marks {share:.0%} of the image: is it inverted?")


def _frame(marked: BoolArray) -> BoolArray:
    """The outermost pixels."""
    import numpy as np

    return np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])


def _must_be_clear(distance: FloatArray, lossy: bool) -> None:
    """Raise `_Undecided` for small class ids on black that lossy compression has changed, or that are beside one much
    larger level, which may be a class or its opposite ("ignore")."""
    import numpy as np
    from scipy.ndimage import maximum_filter, minimum_filter

    large, top = np.unique(distance[distance > CLASS_IDS]), distance.max()
    if lossy and not len(large):
        raise _Undecided(f"has levels up to {top:g} of 255 after lossy compression")
    ids = (distance > 0) & (distance <= CLASS_IDS)
    if lossy or len(large) != 1 or not ids.any():
        return
    ids &= maximum_filter(distance, 3) == minimum_filter(distance, 3)  # flat: no noise of the ground
    if ids.sum() > 3:
        raise _Undecided(
            f"has regions of levels up to {distance[ids].max():g}, like class ids, beside the level {top:g}"
        )


def _are_classes(levels: FloatArray) -> bool:
    """Whether the levels on a black ground are class ids: small integers, or colours of several hues."""
    import numpy as np

    if len(levels) > CLASS_IDS + 1:
        return False
    if levels.shape[1] == 1:
        return bool(levels.max() <= CLASS_IDS and (levels == np.rint(levels)).all())
    main = np.linalg.svd(levels, full_matrices=False)[2][0]
    return bool(np.abs(levels - np.outer(levels @ main, main)).max() > levels.max() / 16)


def _halved(distance: FloatArray, lossy: bool) -> BoolArray:
    """(H, W): the pixels more than half as far from the ground as the shape is.

    Raises `_Undecided` if the levels in between are not just the edge of the shape: too many, far inside or far from
    it, or flat regions. The limits were tried on drawn shapes with anti-aliasing, blur, and compression of any quality
    (accepted), and on photographs, noise and third levels (refused)."""
    import numpy as np
    from scipy.ndimage import maximum_filter, minimum_filter

    values, counts = np.unique(distance[distance > distance.max() / 2], return_counts=True)
    common = values[counts >= 0.1 * counts.sum()]
    shape = common.max() if len(common) else values.max()
    marked = distance > shape / 2
    between = (distance > shape / 4) & (distance < shape * 3 / 4)
    low = (distance > shape / 10) & (distance < shape * 3 / 4)
    inside = between & (minimum_filter(distance, 7) > shape / 4)
    flat = low & (maximum_filter(distance, 3) - minimum_filter(distance, 3) <= shape / 50)
    apart = (between & ~maximum_filter(marked, 7)) | (distance > shape * 5 / 4)
    far = low & ~maximum_filter(marked, 33 if lossy else 17)
    size = marked.sum()
    if (
        between.mean() > 0.2
        or inside.sum() > 0.1 * size
        or flat.sum() > max(3, 0.01 * size)
        or max(apart.sum(), far.sum()) > (max(2, 0.05 * size) if lossy else 2)
    ):
        raise _Undecided("has more than two levels, which are neither class ids nor soft edges")
    return marked
