"""Shared by the tests of adapters: deterministic weights and images, and a small task on photographs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
import torch

from afrad_bench import registry
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.images.sets import ImageArray
from afrad_bench.instruments.metrics import auroc
from afrad_bench.methods import fitting
from afrad_bench.methods.diffusion.config import UnetConfig
from afrad_bench.methods.small import small_images
from afrad_bench.types import Bench, Method, Seeds, TrainingRecord

Float32 = npt.NDArray[np.float32]


def bench_at(side: int, seed: int = 1, features: FeatureCache | None = None) -> Bench:
    return Bench("cpu", side, Seeds(init=seed, order=2), features or FeatureCache(None))


def small(method: str) -> dict[str, Any]:
    """The parameters of the small configuration that a method declares."""
    return dict(registry.find("method", method).load().SMALL.params)


def interrupted(epoch: int) -> Any:
    """A progress callback that interrupts the fit after this epoch (counted from 1), like a killed process."""

    def watch(done: int, total: int, what: str, loss: float | None = None) -> None:
        if what == "training" and done > epoch:
            raise KeyboardInterrupt

    return watch


def check_it_resumes(
    make: Callable[[Bench], Method],
    train: ImageArray,
    folder: Path,
    images: ImageArray | None = None,
    *,
    stopped: int = 1,
    other: Callable[[Bench], Method] | None = None,
) -> TrainingRecord:
    """Check that a fit which is killed after `stopped` epochs and goes on from its checkpoint ends with the same bits,
    and that `other`, of another configuration, takes nothing from that checkpoint. Returns a whole fit's record."""
    side, features = train.size[0], FeatureCache(None)
    images = small_images(2, side, 1) if images is None else images

    def fitted(make: Callable[[Bench], Method], **more: Any) -> tuple[Method, TrainingRecord]:
        method = make(Bench("cpu", side, Seeds(1, 2), features, **more))
        return method, method.fit(train)

    with patch.object(fitting, "CHECKPOINT_SECONDS", 0.0):
        whole, record = fitted(make)
        file = folder / "fit.pt"
        with pytest.raises(KeyboardInterrupt):
            fitted(make, checkpoint=file, watch=interrupted(stopped))
        resumed, again = fitted(make, checkpoint=file)
        assert (again.resumed_at, again.loss) == (stopped, record.loss)
        assert np.array_equal(resumed.predict(images).pred_score, whole.predict(images).pred_score)
        if other is not None:
            assert fitted(other, checkpoint=file)[1].resumed_at == 0
    return record


def ruled(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor (weight, bias or batch norm statistics) whose values depend only on its name and shape."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return torch.zeros(shape, dtype=torch.long)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = rng.uniform(0.5, 1.0, shape)
    elif len(shape) > 1:
        values = rng.uniform(-1.0, 1.0, shape) * np.sqrt(3.0 / np.prod(shape[1:]))
    else:
        values = rng.uniform(-0.2, 0.2, shape)
    return torch.from_numpy(values).float()


def ruled_weights(path: Path, model: str = "resnet18") -> dict[str, torch.Tensor]:
    """Save and return the tensors of a timm model, made by `ruled`, so that recorded outputs need no weights file."""
    import timm

    with torch.device("meta"):
        wanted = timm.create_model(model, pretrained=False).state_dict()
    tensors = {name: ruled(name, tuple(like.shape)) for name, like in wanted.items()}
    torch.save(tensors, path)
    return tensors


def ruled32(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Like `ruled`, but in single precision: other values, in half the time, for large networks."""
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.long)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        values = rng.random(shape, np.float32) * 0.5 + 0.5
    elif len(shape) > 1:
        values = (rng.random(shape, np.float32) * 2 - 1) * np.float32(np.sqrt(3.0 / np.prod(shape[1:])))
    else:
        values = rng.random(shape, np.float32) * 0.4 - 0.2
    return torch.from_numpy(values)


def ruled_images(count: int, side: int, first: int = 0) -> Float32:
    """(count, 3, side, side) in [0, 1]: waves whose frequencies and phases depend on the image's number and channel."""
    rows, columns = np.mgrid[0:side, 0:side] / side
    images = np.empty((count, 3, side, side))
    for i in range(count):
        for channel in range(3):
            k = 3 * (first + i) + channel + 1
            wave = np.sin((5 + k % 7) * rows + (3 + k % 5) * columns + 2.4 * k) + 0.3 * np.cos(k * 9.0 * rows * columns)
            images[i, channel] = 0.5 + 0.35 * wave
    return np.clip(images, 0, 1).astype(np.float32)


def photographs(side: int) -> tuple[Float32, Float32, npt.NDArray[np.bool_]]:
    """Crops of a brick wall: training images, test images from other places with gravel in half of them, and masks."""
    skimage = pytest.importorskip("skimage.data")
    brick = np.repeat(skimage.brick()[..., None], 3, axis=2).astype(np.float32).transpose(2, 0, 1) / 255
    gravel = np.repeat(skimage.gravel()[..., None], 3, axis=2).astype(np.float32).transpose(2, 0, 1) / 255
    places = [(y, x) for y in range(0, 513 - side, 48) for x in range(0, 513 - side, 48)]
    crops = np.stack([brick[:, y : y + side, x : x + side] for y, x in places])
    train, test = crops[: len(crops) - 8], crops[-8:].copy()
    marked = np.zeros((8, side, side), dtype=bool)
    marked[4:, 48:80, 32:64] = True
    for image, mask in zip(test, marked, strict=True):
        image[:, mask] = gravel[:, :side, :side][:, mask]
    return train, test, marked


class Learned(NamedTuple):
    """What a fit on photographs changed."""

    loss: Sequence[float]
    """Of each epoch."""
    before: float
    after: float
    """P-AUROC of the method as it was built, and as it was fitted."""
    images: float
    """I-AUROC as it was fitted."""


def learned_from_photographs(method: Method, side: int, every: int = 1) -> Learned:
    """Fit a method that can predict before its fit, to each `every`-th training photograph."""
    train, test, marked = photographs(side)
    untrained = method.predict(ImageArray(test))
    record = method.fit(ImageArray(train[::every]))
    trained = method.predict(ImageArray(test))
    assert untrained.anomaly_map is not None
    assert trained.anomaly_map is not None
    before, after = (auroc(each.anomaly_map.ravel(), marked.ravel()) for each in (untrained, trained))
    return Learned(record.loss, before, after, auroc(trained.pred_score, marked.any((1, 2))))


def check_it_finds_planted_gravel(method: Method) -> None:
    """Check on photographs, with a trained backbone, that defective images score higher and maps peak in the defect."""
    train, test, marked = photographs(128)
    method.fit(ImageArray(train))
    prediction = method.predict(ImageArray(test))
    assert prediction.anomaly_map is not None
    assert prediction.pred_score[4:].min() > prediction.pred_score[:4].max()
    for values, mask in zip(prediction.anomaly_map[4:], marked[4:], strict=True):
        assert mask[np.unravel_index(values.argmax(), values.shape)]


def ruled_unet(config: UnetConfig, channels: int = 3, prefix: str = "") -> dict[str, torch.Tensor]:
    """Tensors of a guided-diffusion U-Net in the official layout, made by `ruled32` from the names without `prefix`."""
    from afrad_bench.methods.diffusion.checkpoint import official_names
    from afrad_bench.methods.diffusion.unet import Unet

    with torch.device("meta"):
        ours = {name: tuple(tensor.shape) for name, tensor in Unet(config, 64, channels).state_dict().items()}
    found = {}
    for official, name in official_names(config).items():
        for kind in ("weight", "bias"):
            if official.endswith("to_qkv"):
                shape = ours.get(f"{name.removesuffix('to_qkv')}to_q.{kind}")
                shape = shape and (3 * shape[0], *shape[1:], *([1] if kind == "weight" else []))
            else:
                shape = ours.get(f"{name}.{kind}")
                shape = shape and (*shape, *([1] if official.endswith("proj_out") and kind == "weight" else []))
            if shape:
                found[f"{prefix}{official}.{kind}"] = ruled32(f"{official}.{kind}", shape)
    return found
