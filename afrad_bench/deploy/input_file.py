"""The Python file that lies beside an exported model and reads images as they were read for training.

It holds the source of `images.decoding` and needs numpy and Pillow only, not this package."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from afrad_bench.errors import fail
from afrad_bench.images import decoding
from afrad_bench.writing import replacing

MARK = '"""Reads images for an exported model, as they were read for its training. Written by afrad-bench.'
"""How such a file begins."""
FUNCTION = '''

SIDE = {side}
"""Height and width of the model's input in pixels."""
TRAINING_WHITE = {white}
"""The value of white in training images with more than 8 bits per channel; None if there were none."""


def images(*paths: Any, white: float | None = TRAINING_WHITE, max_pixels: int = MAX_PIXELS) -> Any:
    """(N, 3, SIDE, SIDE) float32, the model's input `images`, from N image files.

    `white`: the value of white in files with more than 8 bits per channel. Raises `Undecodable`."""
    import numpy as np

    found = []
    for path in paths:
        with open(path, "rb") as file:
            found.append(resized(rgb(decode(file.read(), max_pixels), white), SIDE))
    return np.stack(found)
'''


def place_beside(out: Path) -> Path:
    """The file beside the exported model `out`: a module that can be imported, `<stem>_input.py`.

    Raises `UserError` if another file has this name."""
    place = out.with_name(f"{re.sub(r'[^0-9A-Za-z_]', '_', out.stem)}_input.py")
    if place.exists() and not place.read_bytes().startswith(MARK.encode()):
        hint = "the export writes a file of this name, with a function that reads images; rename one of them"
        raise fail("exists, and was not written by an export", str(place), hint)
    return place


def write(place: Path, side: int, white: float | None) -> None:
    """Write the file for a model of `side` x `side` pixels whose training images had this `white`."""
    source = inspect.getsource(decoding)
    _, _, code = source.removeprefix('"""').partition('"""')
    about = "\n\n    model_input = images('part.png')  # (1, 3, SIDE, SIDE)\n\nNeeds numpy and Pillow only."
    text = f'{MARK}{about}"""{code}{FUNCTION.format(side=side, white=white)}'
    with replacing(place, "free some space there, or choose another folder for the export") as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")
