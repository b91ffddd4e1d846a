"""LPIPS 0.1 with VGG-16 (Zhang et al., CVPR 2018), read from the two published files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from afrad_bench.methods.official import load_into, read_state
from afrad_bench_baselines.diad import LPIPS_FILES

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions; a map is compared after each group."""
SHIFT, SPREAD = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""LPIPS's normalisation of images in [-1, 1]; the official code gives it ImageNet's normalised images as they are."""
EPSILON = 1e-10
HINT = "training.autoencoder.perceptual names a folder with the files of torchvision and of LPIPS 0.1"


class Lpips(nn.Module):
    """Two batches of images (B, 3, H, W) -> perceptual distance (B,); frozen."""

    shift: Tensor
    spread: Tensor

    def __init__(self, folder: Path | None) -> None:
        """Raises `UserError` for files that are not VGG-16's and LPIPS's. None: random weights."""
        super().__init__()
        layers: list[nn.Module] = []
        before, self.ends = 3, []
        for group in WIDTHS:
            layers += [nn.MaxPool2d(2)] if layers else []
            for width in group:
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            self.ends.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)
        self.heads = nn.ModuleList(nn.Conv2d(group[-1], 1, 1, bias=False) for group in WIDTHS)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(SPREAD).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False).eval()
        if folder is not None:
            trunk, heads = (folder / name for name in LPIPS_FILES)
            state = read_state(trunk, HINT, "VGG-16", lambda name: name)
            kept = {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")}
            load_into(self, "LPIPS", {**kept, **read_state(heads, HINT, "LPIPS", _head)}, folder, HINT)

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        maps = torch.cat([(batch - self.shift) / self.spread for batch in (images, others)])
        heads = iter(self.heads)
        distance = images.new_zeros(len(images))
        for place, layer in enumerate(self.features):
            maps = layer(maps)
            if place in self.ends:
                unit = maps / (maps.norm(dim=1, keepdim=True) + EPSILON)
                one, two = unit.chunk(2)
                distance = distance + next(heads)((one - two).square()).mean((1, 2, 3))
        return distance


def _head(name: str) -> str:
    """`lin0.model.1.weight` -> `heads.0.weight`."""
    layer, _, rest = name.partition(".")
    if rest != "model.1.weight" or layer not in {f"lin{i}" for i in range(len(WIDTHS))}:
        raise KeyError(name)
    return f"heads.{layer.removeprefix('lin')}.weight"
