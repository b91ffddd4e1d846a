"""The teachers: read from files of the most used implementation, or distilled on patches of natural images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.hashing import canonical, seed_for
from afrad_bench.machine.copying import moved
from afrad_bench.methods.ahead import ahead
from afrad_bench.methods.fitting import Checkpoint, beforehand, draws_of, stepped, train_epochs
from afrad_bench.methods.official import load_into, read_state
from afrad_bench.methods.textures import Textures
from afrad_bench.types import Bench
from afrad_bench_baselines.us import DEEPEST, Config
from afrad_bench_baselines.us.networks import DECODED, DROPOUT, SLOPE, Describer, Network

GREY = 0.1
"""Share of grey patches."""
SIDES = (4, 16)
"""Smallest and largest side of the image over that of the patch."""
CHUNK = 100
"""Steps between two looks at progress and checkpoint."""


def load(describer: Describer, path: Path) -> None:
    """Load a network of denguir's code; raises `UserError` for anything else."""
    count = len(describer.convolutions)
    places = {f"conv{i + 1}": f"convolutions.{i}" for i in range(count)} | {"decode": "decode"}

    def our_name(name: str) -> str:
        layer, _, of = name.rpartition(".")
        return f"{places[layer]}.{of}"

    state = read_state(path, "a file such as teacher_65_net.pt", "denguir's code", our_name)
    if describer.decode is None:  # in the paper only the distillation decodes
        state = {name: tensor for name, tensor in state.items() if not name.startswith("decode.")}
    elif "decode.weight" in state:
        state["decode.weight"] = state["decode.weight"][..., None, None]
    load_into(describer, "teacher", state, path, "leave `width` at 128")


def distil(config: Config, bench: Bench, network: Network, textures: Textures, field: int) -> None:
    """Train the teacher of a receptive field to know a backbone's mean features of patches (section 3.1)."""
    given, device = config.teacher, bench.device
    extractor = bench.features.extractor(config.backbone, (DEEPEST,), field, device)
    teacher = network.scales[str(field)].teacher.requires_grad_(True)
    with draws_of(bench, "decoder", field):
        decode = nn.Linear(config.width, DECODED) if teacher.decode is None else nn.Flatten(0)
        widen = nn.Linear(DECODED, extractor.channels[0]) if extractor.channels[0] != DECODED else nn.Identity()
    extra = nn.ModuleList([decode, widen]).to(device)
    learned = [*teacher.parameters(), *extra.parameters()]
    optimizer = torch.optim.Adam(learned, lr=given.lr, weight_decay=1e-5)

    def patches(step: int) -> Tensor:
        rngs = [
            np.random.default_rng(seed_for(bench.seeds.init, "patch", field, step, i)) for i in range(given.batch_size)
        ]
        return torch.from_numpy(np.stack([patch(rng, textures, field) for rng in rngs]))

    def loss(images: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = extractor(images)[0].mean((2, 3))
        descriptors = teacher.patches(network.pixels(images))
        dropped = F.dropout(descriptors, DROPOUT)
        values = decode(dropped) if teacher.decode is None else teacher.decode(dropped[..., None, None]).flatten(1)
        decoded = widen(F.dropout(F.leaky_relu(values, SLOPE), DROPOUT))
        return (decoded - wanted).square().sum(1).mean() + given.compactness * compactness(descriptors)

    def chunk(number: int) -> float:
        steps, losses = range(number * CHUNK, min((number + 1) * CHUNK, given.steps)), []
        with draws_of(bench, "teacher's dropout", field, number):
            for images in ahead(patches, steps, bench.device):
                losses.append(stepped(loss(moved(images, device)), optimizer))
        return float(torch.stack(losses).mean())

    own = beforehand(bench, f"teacher{field}")
    identity = canonical([config.model_dump(mode="json"), extractor.key, textures.note, field, bench.seeds.init])
    parts = {"teacher": teacher, "extra": extra, "optimizer": optimizer}
    checkpoint = Checkpoint(own.checkpoint, identity, parts)
    train_epochs(own, checkpoint, -(-given.steps // CHUNK), CHUNK * given.batch_size, teacher, chunk)
    teacher.requires_grad_(False)


def patch(rng: np.random.Generator, textures: Textures, side: int) -> np.ndarray:
    """A random square (3, side, side) in [0, 1] of a natural image, at a random scale, sometimes grey."""
    whole = int(rng.integers(SIDES[0] * side, SIDES[1] * side + 1))
    image = Image.fromarray(textures.draw(rng, whole))
    left, top = (int(rng.integers(whole - side + 1)) for _ in range(2))
    image = image.crop((left, top, left + side, top + side))
    if rng.random() < GREY:
        image = image.convert("L").convert("RGB")
    return np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255


def compactness(descriptors: Tensor) -> Tensor:
    """Sum of the squared correlations of different descriptors (B, C) over the batch (eq. 4)."""
    centred = descriptors - descriptors.mean(0)
    unit = centred / centred.norm(dim=0).clamp_min(1e-6)
    correlations = unit.T @ unit
    return correlations.square().sum() - correlations.diagonal().square().sum()
