"""What the authors chose for each category, by results on its test images: the table of their README."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from afrad_bench.hashing import canonical
from afrad_bench.methods.recipes import Recipe

MVTEC = """
carpet 2500 0 0, grid 2000 4 6, leather 2000 11 8, tile 1000 4 0, wood 2000 11 16, bottle 1000 3 5, cable 3000 3 0,
capsule 1500 8 8, hazelnut 2000 5 3, metal_nut 3000 7 1, pill 1000 9 4, screw 2000 2 4, toothbrush 2000 0 2,
transistor 2000 0 0, zipper 1000 10 6
"""
VISA = """
candle 1000 6 1, capsules 1000 5 3, cashew 1750 0 0, chewinggum 1250 6 0, fryum 1000 4 3, macaroni1 500 5 7,
macaroni2 500 2 11, pcb1 500 9 8, pcb2 500 5 5, pcb3 500 6 1, pcb4 500 6 1, pipe_fryum 500 8 6
"""
"""Category, epochs of the U-Net, w, epochs of the extractor's adaptation."""
OF_SIXTEEN = ("macaroni2", "pcb1")
"""Categories of VisA whose adaptation has batches of 16; the others have 32."""


def recipes() -> Iterator[Recipe]:
    """The published configuration of every category but the configuration file's, and that of the small network;
    categories with equal ones together."""
    for name, table, of in (("MVTec AD", MVTEC, _mvtec), ("VisA", VISA, _visa)):
        found: dict[str, list[str]] = {}
        for category, *chosen in _rows(table):
            if category != "screw":
                found.setdefault(canonical(of(category, *chosen)), []).append(category)
        for params, categories in found.items():
            called = f"official code, {name}, {' and '.join(categories)}"
            yield Recipe(called, json.loads(params), image_size=256)
    small = {"width": 32, "heads": 2, "dropout": 0.3}
    yield Recipe("official code, DDAD-S", {"unet": small, "training": {"batch_size": 16}}, image_size=256)


def _mvtec(category: str, epochs: int, w: int, adapted: int) -> dict[str, Any]:
    return {"training": {"epochs": epochs}, "w": float(w), "adaptation": {"epochs": adapted}}


def _visa(category: str, epochs: int, w: int, adapted: int) -> dict[str, Any]:
    batch = 16 if category in OF_SIXTEEN else 32
    return {
        "training": {"epochs": epochs},
        "w": float(w),
        "adaptation": {"epochs": adapted, "batch_size": batch, "keep": 0.01},
        "score": {"v": 1.0 if category == "cashew" else 7.0},
    }


def _rows(table: str) -> Iterator[tuple[str, int, int, int]]:
    for row in table.replace("\n", " ").split(","):
        category, epochs, w, adapted = row.split()
        yield category, int(epochs), int(w), int(adapted)
