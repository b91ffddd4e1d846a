"""What a method demands of the image size: for `check` of its module and for its constructor. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from afrad_bench.errors import fail


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
