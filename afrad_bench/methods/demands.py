"""What a method demands of the image size and the machine: for `check` and `warn` of its module. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from afrad_bench.errors import fail

MANY_TO_CHOOSE, MANY_TO_SCORE = 10**13, 5 * 10**10
"""Multiply-accumulates from which the coreset and an image take minutes and seconds on a CPU."""


def multiple_of(step: int, image_size: int, method: str) -> None:
    """Raise `UserError` unless the side of the image is a multiple of `step`. `method`: its name in the error."""
    if image_size % step:
        below = image_size // step * step
        raise fail(
            f"{method} needs an image size that is a multiple of {step}, but got {image_size}",
            hint=f"the nearest sizes are {below} and {below + step}" if below else f"the smallest size is {step}",
        )


def square_maps(
    shapes: Sequence[tuple[int, ...]], reductions: Sequence[int], image_size: int, backbone: str, method: str
) -> None:
    """Raise `UserError` unless the backbone's maps have the shapes (C, side / reduction, side / reduction)."""
    wanted = [(shape[0], image_size // r, image_size // r) for shape, r in zip(shapes, reductions, strict=True)]
    if list(shapes) != wanted:
        raise fail(
            f"the backbone {backbone} cannot teach {method}: its maps are {list(shapes)}, but {wanted} are needed"
        )


def costly_bank(positions: int, train_images: int, fraction: float, width: int, projection: int) -> str | None:
    """A line on a bank of patches that is expensive to choose or to score with, else None.

    `positions`: patches per image; `width`, `projection`: values per vector in the bank and while it is chosen."""
    total = train_images * positions
    kept = int(fraction * total)
    choosing, scoring = kept * total * projection if kept < total else 0, positions * kept * width
    if choosing < MANY_TO_CHOOSE and scoring < MANY_TO_SCORE:
        return None
    return (
        f"a bank of {kept:,} of {total:,} patches, {4 * kept * width / 2**30:.2f} GiB; multiply-accumulates: "
        f"{choosing:.1e} to choose it, {scoring:.1e} to score an image; they grow with the square of the number of "
        f"images and more with their size; `fraction` (now {fraction:g}) lowers them"
    )
