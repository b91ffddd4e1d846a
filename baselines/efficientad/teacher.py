"""The teacher: read from a published file, or distilled from a backbone on natural images (paper, appendix)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.hashing import canonical, seed_for
from afrad_bench.machine.copying import moved
from afrad_bench.methods.ahead import ahead
from afrad_bench.methods.fitting import Checkpoint, beforehand, stepped, train_epochs
from afrad_bench.methods.official import load_into, read_state
from afrad_bench.methods.patch_embedding import PatchEmbedding
from afrad_bench.methods.textures import Textures
from afrad_bench.types import Bench
from afrad_bench_baselines.efficientad import REDUCTIONS, Config
from afrad_bench_baselines.efficientad.jitter import natural
from afrad_bench_baselines.efficientad.networks import Network, padded

EMBEDDING = 1024
"""Values of each stage before they are averaged to the teacher's channels."""
GREY = 0.1
"""Share of grey images."""
CHUNK = 100
"""Steps between two looks at progress and checkpoint."""


def load(network: Network, path: Path) -> None:
    """Load a teacher of nelson1425/EfficientAD or of anomalib; raises `UserError` for anything else."""
    places = [str(place) for place, layer in enumerate(network.teacher) if isinstance(layer, torch.nn.Conv2d)]

    def our_name(name: str) -> str:
        layer, _, of = name.partition(".")
        place = layer if layer in places else dict(zip((f"conv{i + 1}" for i in range(6)), places, strict=False))[layer]
        return f"{place}.{of}"

    hint = "teacher.weights names a file such as teacher_small.pth"
    state = read_state(path, hint, "EfficientAD's teachers", our_name)
    load_into(network.teacher, "teacher", state, path, "choose `size`, and leave `width` and `channels` as published")


def distil(config: Config, bench: Bench, network: Network, textures: Textures) -> None:
    """Train the teacher to give, for an image, the patch features of a backbone for that image at twice the side."""
    given, side, device = config.teacher, bench.image_size, bench.device
    extractor = bench.features.extractor(
        given.backbone, REDUCTIONS, 2 * side, device, after_ones=given.batch_norm == "official"
    )
    grid = (side // 4, side // 4)
    embedding = PatchEmbedding(extractor.channels, grid, 3, EMBEDDING, config.channels).to(device)
    pdn = padded(network.teacher).requires_grad_(True)

    def images(*names: object) -> tuple[Tensor, Tensor]:
        rngs = [np.random.default_rng(seed_for(bench.seeds.init, *names, i)) for i in range(given.batch_size)]
        large = torch.from_numpy(np.stack([natural(rng, textures, 2 * side, GREY, crop=False) for rng in rngs]))
        return large, F.interpolate(large, (side, side), mode="bilinear", antialias=True)

    def features(large: Tensor) -> Tensor:
        with torch.no_grad():
            return embedding(extractor(moved(large, device)))

    rounds = range(-(-given.statistics // given.batch_size))
    moments = [
        torch.stack(torch.var_mean(features(images("statistics", i)[0]), (0, 2, 3), correction=0)) for i in rounds
    ]
    variance, mean = spread(torch.stack(moments))
    optimizer = torch.optim.Adam(pdn.parameters(), lr=given.lr, weight_decay=1e-5)

    def chunk(number: int) -> float:
        steps = range(number * CHUNK, min((number + 1) * CHUNK, given.steps))
        losses = []
        for large, small in ahead(lambda step: images("distillation", step), steps, bench.device):
            target = (features(large) - mean) / variance.sqrt()
            losses.append(stepped(F.mse_loss(pdn(network.normalised(moved(small, device))), target), optimizer))
        return float(torch.stack(losses).mean())

    own = beforehand(bench, "teacher")
    identity = canonical([config.model_dump(mode="json"), extractor.key, textures.note, side, bench.seeds.init])
    checkpoint = Checkpoint(own.checkpoint, identity, {"teacher": network.teacher, "optimizer": optimizer})
    train_epochs(own, checkpoint, -(-given.steps // CHUNK), CHUNK * given.batch_size, pdn, chunk)
    network.teacher.requires_grad_(False)


def spread(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Variance and mean (1, C, 1, 1) of all, from those of equal shares (N, 2, C)."""
    variance, mean = moments.unbind(1)
    whole = mean.mean(0)
    return tuple(each.view(1, -1, 1, 1) for each in ((variance + (mean - whole).square()).mean(0), whole))  # type: ignore[return-value]
