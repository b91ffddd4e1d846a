"""A small third-party package, written to a folder that can be put on the path like an installed distribution."""

from __future__ import annotations

from pathlib import Path

MODULE = '''\
"""Nearest colour: distance of each pixel to the mean training image.

A method from another package, to test plug-ins."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VERSION = "1"
PAPER = "none"


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    power: float = Field(1.0, gt=0, description="Exponent of the distance.")
    fault: Literal["", "build", "fit", "predict", "nan", "memory", "interrupt"] = Field("", description="What breaks.")


class NearestColour:
    def __init__(self, config, bench):
        self.config, self.bench, self.mean = config, bench, None

    def fit(self, train):
        from afrad_bench.types import TrainingRecord

        if self.config.fault == "fit":
            raise RuntimeError("the fit went wrong")
        if self.config.fault == "memory":
            raise MemoryError("no memory is left")
        if self.config.fault == "interrupt":
            raise KeyboardInterrupt
        self.mean = train.array().mean(axis=0)
        return TrainingRecord(images_seen=len(train), notes=("a note of the method",))

    def predict(self, images):
        import numpy as np

        from afrad_bench.types import Prediction

        if self.config.fault == "predict":
            raise RuntimeError("the prediction went wrong")
        maps = np.abs(images.array() - self.mean).sum(axis=1) ** self.config.power
        if self.config.fault == "nan":
            maps[:] = np.nan
        return Prediction(maps.max(axis=(1, 2)), maps.astype(np.float32))


def build(config, bench):
    if config.fault == "build":
        raise RuntimeError("the build went wrong")
    return NearestColour(config, bench)
'''


def install(folder: Path) -> Path:
    """Write the package `somebodys_methods` with the method `nearest_colour`; put the returned folder on the path."""
    package = folder / "somebodys_methods"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Methods of somebody else."""\n')
    (package / "nearest_colour.py").write_text(MODULE)
    info = folder / "somebodys_methods-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-methods\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[afrad_bench.method_packages]\nsomebody = somebodys_methods\n")
    return folder
