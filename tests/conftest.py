"""Shared by the tests: images and data sets, made in memory or in a temporary folder, small enough for fast tests."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.hashing import digest
from afrad_bench.types import Bench, Dataset, Sample, Seeds

ROOT = Path(__file__).parent.parent
"""The checkout."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", help="where the contract of methods is checked: cpu, cuda:0, ...")


def pytest_configure(config: pytest.Config) -> None:
    if device := config.getoption("--device"):
        os.environ["AFRAD_BENCH_TEST_DEVICE"] = device  # which `afrad_bench.testing` reads, in every worker


settings.register_profile("untimed", deadline=None)  # no test may fail because the machine is busy
settings.load_profile("untimed")

for size in ("COLUMNS", "LINES"):  # of the terminal that the tests were started from
    os.environ.pop(size, None)

torch.set_num_threads(1)  # for fixtures of modules, which are made before `one_thread`


@dataclass(frozen=True)
class DrawnPicture:
    """A striped image with noise from a seed, (side, side, 3) uint8; `defect` adds a bright 16x16 square at (8, 8)."""

    seed: int
    side: int = 64
    defect: bool = False

    @property
    def name(self) -> str:
        return f"drawn {self.seed}"

    def fingerprint(self) -> str:
        return digest("drawn", str(self.seed), str(self.side), str(self.defect))

    def read(self) -> np.ndarray:
        noise = np.random.default_rng(self.seed).integers(0, 40, (self.side, self.side, 3))
        stripes = (np.arange(self.side) // 8 % 2 * 120)[None, :, None]
        picture = (noise + stripes).astype(np.uint8)
        if self.defect:
            picture[8:24, 8:24] = 250
        return picture


@dataclass(frozen=True)
class SquareMask:
    """The mask of the defect of `DrawnPicture`, (side, side) bool."""

    side: int = 64
    name: str = "square"

    def fingerprint(self) -> str:
        return digest("square", str(self.side))

    def read(self) -> np.ndarray:
        mask = np.zeros((self.side, self.side), dtype=bool)
        mask[8:24, 8:24] = True
        return mask


def drawn_dataset(
    train: int = 12, normal: int = 4, anomalous: int = 4, categories: tuple[str, ...] = ("a", "b")
) -> Dataset:
    """Striped images, counts per category; the anomalous ones have a bright square with an exact mask."""
    training, testing = [], []
    for k, category in enumerate(categories):
        base = 1000 * k
        training += [Sample(f"{category}/train/{i}", category, DrawnPicture(base + i), False) for i in range(train)]
        testing += [
            Sample(f"{category}/good/{i}", category, DrawnPicture(base + 500 + i), False) for i in range(normal)
        ]
        for i in range(anomalous):
            picture = DrawnPicture(base + 700 + i, defect=True)
            testing.append(Sample(f"{category}/square/{i}", category, picture, True, "square", SquareMask()))
    parts = [sample.id + sample.image.fingerprint() for sample in (*training, *testing)]
    return Dataset("drawn", "1", tuple(training), tuple(testing), digest(*parts))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Each test starts with one torch thread, whatever an earlier test left: another count rounds differently, and the
    recorded outputs of official code are held to 1e-4."""
    torch.set_num_threads(1)


@pytest.fixture
def dataset() -> Dataset:
    return drawn_dataset()


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for the session, so that timm's list of models is built only once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def bench(cache_folder: Path) -> Bench:
    return Bench("cpu", 64, Seeds(init=1, order=2), FeatureCache(cache_folder))


def mvtec_folder(root: Path, categories: tuple[str, ...] = ("alpha", "beta"), train: int = 8, test: int = 4) -> Path:
    """Write a folder in MVTec layout with striped images and square defects. `test`: images of each kind."""
    for k, category in enumerate(categories):
        for split, kind, count in (("train", "good", train), ("test", "good", test), ("test", "square", test)):
            folder = root / category / split / kind
            folder.mkdir(parents=True)
            for i in range(count):
                seed = 10_000 * k + 1000 * (split == "test") + 100 * (kind == "square") + i
                Image.fromarray(DrawnPicture(seed, defect=kind == "square").read()).save(folder / f"{i:03}.png")
        masks = root / category / "ground_truth" / "square"
        masks.mkdir(parents=True)
        for i in range(test):
            Image.fromarray(SquareMask().read().astype(np.uint8) * 255).save(masks / f"{i:03}_mask.png")
    return root
