"""Synthetic anomalies: Perlin noise against its definition, masks and blending, textures and where they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods import textures
from afrad_bench.methods.synthesis import Pair, corrupt, draw_mask, pairs, perlin, rotated
from afrad_bench.methods.textures import TextureConfig
from tests.adapters import bench_at, ruled_images

NOISE = [
    [-0.2277653, 0.1093292, 0.1124916, 0.3521362],
    [-0.2014173, -0.0152627, 0.0325343, 0.1953748],
    [-0.3686975, -0.0662822, -0.1679005, 0.2046443],
    [0.2094220, -0.0479865, -0.1847162, 0.2193454],
]
NOISE_SUM = 3892.135301
"""Recorded from VitjanZ/DRAEM, 2dbf673, at 128 pixels: every 32nd of a lattice of 2 x 4 cells, and the sum of the
absolute values of one of 32 x 1, whose gradients follow from a rule."""


def test_noise_is_gradients_faded_into_each_other() -> None:
    """Each pixel by itself, from the definition."""
    side, rows, columns = 32, 2, 4
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, (rows + 1, columns + 1))
    found = perlin(angles, side)
    for y, x in np.random.default_rng(1).integers(0, side, (60, 2)):
        at = np.array([y * rows / side, x * columns / side])
        cell = at.astype(int)
        inside = at - cell
        value = 0.0
        for i in (0, 1):
            for j in (0, 1):
                angle = angles[cell[0] + i, cell[1] + j]
                slope = (inside - (i, j)) @ (np.cos(angle), np.sin(angle))
                fade = 6 * inside**5 - 15 * inside**4 + 10 * inside**3
                value += np.prod(np.where((i, j), fade, 1 - fade)) * slope
        assert found[y, x] == pytest.approx(np.sqrt(2) * value, abs=1e-12)


def test_noise_is_that_of_the_official_code() -> None:
    assert perlin(_angles(2, 4), 128)[::32, 16::32] == pytest.approx(np.array(NOISE), abs=1e-6)
    assert np.abs(perlin(_angles(32, 1), 128)).sum() == pytest.approx(NOISE_SUM, rel=1e-9)


def _angles(rows: int, columns: int) -> np.ndarray:
    return np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1) ** 2 * 0.7


def test_masks_cover_what_those_of_the_official_code_cover() -> None:
    """3,000 official masks: 4.8 % of an image on average, 5.5 % of them empty."""
    rng = np.random.default_rng(0)
    areas = np.array([draw_mask(rng, 256).mean() for _ in range(600)])
    assert areas.mean() == pytest.approx(0.048, abs=0.004)
    assert (areas == 0).mean() == pytest.approx(0.055, abs=0.02)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31))
def test_a_texture_shows_in_the_mask_and_nowhere_else(seed: int) -> None:
    image, texture = ruled_images(2, 64)
    pair = corrupt(np.random.default_rng(seed), image, 1 - texture)
    outside = np.broadcast_to(~pair.mask, image.shape)
    assert np.array_equal(pair.corrupted[outside], image[outside])
    assert pair.clean is image
    blended = pair.corrupted[:, pair.mask].astype(float) - image[:, pair.mask]
    toward = (1 - texture - image)[:, pair.mask].astype(float)
    if pair.mask.any():
        share = (blended * toward).sum() / (toward**2).sum()
        assert 0.2 - 1e-6 <= share <= 1, "the image keeps at most 0.8"
        np.testing.assert_allclose(blended, share * toward, atol=1e-6)


def test_planes_are_turned_about_their_centre() -> None:
    planes = ruled_images(1, 32)[0]
    np.testing.assert_allclose(rotated(planes, 90), np.rot90(planes, axes=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(rotated(planes, 0), planes)
    assert rotated(planes, 45, fill=7.0)[:, 0, 0] == pytest.approx([7.0] * 3), "a corner from outside"


def test_draws_follow_from_seed_epoch_and_image() -> None:
    train = ImageArray(ruled_images(5, 32))
    order = torch.tensor([3, 0, 4, 1, 2]).split(2)

    def noisy(rng: np.random.Generator, image: np.ndarray) -> Pair:
        return Pair(image, image + rng.random(image.shape, np.float32), np.zeros(image.shape[1:], dtype=bool))

    def shown(epoch: int, batches: tuple[torch.Tensor, ...], seed: int = 1) -> dict[int, torch.Tensor]:
        found = {}
        for batch in pairs(bench_at(32, seed), train, batches, epoch, noisy):
            assert batch.mask.shape == (len(batch.indices), 1, 32, 32)
            assert torch.equal(batch.clean, torch.from_numpy(train.pixels[batch.indices]))
            found.update(zip(batch.indices, batch.corrupted, strict=True))
        return found

    first = shown(0, order)
    assert [len(first), sorted(first)] == [5, list(range(5))]
    assert all(torch.equal(first[i], again) for i, again in shown(0, order[1:]).items()), "whatever the batches are"
    for other in (shown(1, order), shown(0, order, seed=2)):
        assert not any(torch.equal(first[i], other[i]) for i in first)


# ------------------------------------------------------------------------------------------------------------ textures


TRAIN = ImageArray(ruled_images(3, 32))


def test_textures_of_a_folder_with_subfolders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i, name in enumerate(("banded/a.jpg", "dotted/b.png")):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (50, 40), (0, 100 * i, 250)).save(tmp_path / name)
    (tmp_path / "banded" / "notes.txt").write_text("no image")
    found = textures.find(TextureConfig(source=f"folder:{tmp_path}"), TRAIN)
    rng = np.random.default_rng(0)
    drawn = [found.draw(rng, 32) for _ in range(20)]
    assert all(one.shape == (32, 32, 3) and one.dtype == np.uint8 for one in drawn)
    assert {int(one[0, 0, 1]) // 90 for one in drawn} == {0, 1}
    assert "instead of DTD: 2 images" in found.note
    monkeypatch.setenv(textures.ENVIRONMENT, str(tmp_path))
    assert textures.find(TextureConfig(), TRAIN).note.startswith("textures: DTD 2 images")
    (tmp_path / "banded" / "c.heic").write_bytes(b"")
    assert textures.find(TextureConfig(), TRAIN).note.endswith(
        "; 1 files that look like images are left out, since their format is not read"
    )
    (tmp_path / "banded" / "d.png").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"d.png: cannot be read: No such file"):
        textures.find(TextureConfig(), TRAIN)


def test_stand_ins_say_that_they_are() -> None:
    pytest.importorskip("skimage")
    for source in ("photographs", "training"):
        found = textures.find(TextureConfig(source=source), TRAIN)
        assert found.note.startswith("textures: instead of DTD")
        drawn = found.draw(np.random.default_rng(0), 64)
        assert drawn.shape == (64, 64, 3)
        assert drawn.std() > 5
    near = [np.abs(drawn / 255 - np.kron(one.transpose(1, 2, 0), np.ones((2, 2, 1)))).mean() for one in TRAIN.pixels]
    assert min(near) < 0.05, "the last one is one of the training images"


def test_natural_images_come_from_imagenet_or_stand_in_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(textures.IMAGENET, raising=False)
    with pytest.raises(UserError, match="ImageNet's training images") as caught:
        textures.must_be_here(textures.NaturalImages())
    assert textures.IMAGENET in str(caught.value)
    Image.new("RGB", (50, 40), (0, 100, 250)).save(tmp_path / "a.png")
    monkeypatch.setenv(textures.IMAGENET, str(tmp_path))
    assert textures.find(textures.NaturalImages(), TRAIN).note.startswith("textures: ImageNet 1 images")
    for source in (f"folder:{tmp_path}", "training"):
        found = textures.find(textures.NaturalImages(source=source), TRAIN)
        assert found.note.startswith("textures: instead of ImageNet")
    textures.must_be_here(textures.NaturalImages(source="none"))
    with pytest.raises(ValidationError, match="unknown source of textures 'dtd'"):
        textures.NaturalImages(source="dtd")


def test_missing_textures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(textures.ENVIRONMENT, raising=False)
    with pytest.raises(UserError, match="are not on this machine") as caught:
        textures.find(TextureConfig(), TRAIN)
    assert textures.ENVIRONMENT in str(caught.value)
    with pytest.raises(UserError, match="no such folder of textures"):
        textures.find(TextureConfig(source=f"folder:{tmp_path / 'none'}"), TRAIN)
    with pytest.raises(UserError, match="holds no images"):
        textures.find(TextureConfig(source=f"folder:{tmp_path}"), TRAIN)
    with pytest.raises(ValidationError, match="did you mean 'photographs'"):
        TextureConfig(source="photograph")
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="cannot be read as an image"):
        textures.find(TextureConfig(source=f"folder:{tmp_path}"), TRAIN).draw(np.random.default_rng(0), 32)
