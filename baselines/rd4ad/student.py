"""The student: fuses the teacher's three maps, compresses them to the one-class embedding, and restores them.

Axes: B images; C_i channels of the teacher's map i, finest first, at reductions r, 2r and 4r of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.errors import fail

Step = Literal["down", "keep", "up"]
"""What a block does to the resolution: halve it (3 x 3, stride 2), keep it, double it (transposed 2 x 2, stride 2)."""


@dataclass(frozen=True, slots=True)
class Design:
    """The blocks of a student."""

    kind: Literal["basic", "bottleneck"]
    depths: tuple[int, int, int]
    """Blocks of the decoder's stages, coarsest first: the depths of the teacher's first three stages in that order."""
    embedding_depth: int
    base_width: int = 64
    """Width of a bottleneck: its 3 x 3 convolution has (C / 4) * base_width / 64 channels for C outputs."""
    signed: bool = False
    """Whether a 1 x 1 convolution ends each stage of the decoder, so that it can give negative values."""


MIRRORED = {
    "resnet18": Design("basic", (2, 2, 2), 2),
    "resnet34": Design("basic", (3, 4, 6), 3),
    "resnet50": Design("bottleneck", (3, 4, 6), 3),
    "resnet101": Design("bottleneck", (3, 4, 23), 3),
    "resnet152": Design("bottleneck", (3, 8, 36), 3),
    "wide_resnet50_2": Design("bottleneck", (3, 4, 6), 3, base_width=128),
    "wide_resnet101_2": Design("bottleneck", (3, 4, 23), 3, base_width=128),
}
"""Students of the official code, by the teacher's timm name without its tag."""

MOST_BASIC = 512
"""Channels of the last map above which other families' teachers get bottlenecks: basic blocks grow with C²."""


def design_for(name: str, channels: Sequence[int]) -> Design:
    """The official student of a teacher. For teachers that the official code does not know: ResNet-18 or ResNet-50
    blocks with the teacher's own channel counts."""
    known = MIRRORED.get(name.partition(".")[0])
    if known is not None:
        return known
    if channels[-1] <= MOST_BASIC:
        return Design("basic", (2, 2, 2), 2, signed=True)
    return Design("bottleneck", (3, 4, 6), 3, signed=True)


def halved(design: Design, teacher: str) -> Design:
    """The design of an embedding half as wide. Raises `UserError` unless the design is of a wide teacher."""
    if design.base_width != 128:
        raise fail(
            f"`embedding: half` halves the embedding of wide teachers, but {teacher} is not one",
            hint="leave `embedding` out, or use a teacher such as wide_resnet50_2",
        )
    return replace(design, base_width=64)


def convolution(inputs: int, outputs: int, step: Step = "keep") -> nn.Module:
    """The spatial convolution of a block, without bias."""
    if step == "up":
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2, bias=False)
    stride = 2 if step == "down" else 1
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def pointwise(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """A 1 x 1 convolution without bias."""
    return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)


def normalised(*convolutions: nn.Module) -> list[nn.Module]:
    """Batch norm after each convolution, and ReLU between them (none at the end)."""
    layers: list[nn.Module] = []
    for one in convolutions:
        assert isinstance(one, nn.Conv2d | nn.ConvTranspose2d)
        layers += [one, nn.BatchNorm2d(one.out_channels), nn.ReLU(inplace=True)]
    return layers[:-1]


class Residual(nn.Module):
    """(B, C, h, w) -> ReLU(main + skip), (B, C', h', w'); `step` says how h and w change."""

    def __init__(self, inputs: int, outputs: int, step: Step, design: Design) -> None:
        super().__init__()
        if design.kind == "basic":
            main = normalised(convolution(inputs, outputs, step), convolution(outputs, outputs))
        else:
            width = outputs // 4 * design.base_width // 64
            main = normalised(pointwise(inputs, width), convolution(width, width, step), pointwise(width, outputs))
        self.main = nn.Sequential(*main)
        self.skip: nn.Module = nn.Identity()
        if step == "down":
            self.skip = nn.Sequential(*normalised(pointwise(inputs, outputs, stride=2)))
        elif step == "up":
            self.skip = nn.Sequential(*normalised(convolution(inputs, outputs, "up")))

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.main(maps)
        out += self.skip(maps)
        return F.relu(out, inplace=True)


def stage(inputs: int, outputs: int, step: Step, depth: int, design: Design) -> nn.Sequential:
    """`depth` blocks; the first one changes channels and resolution."""
    first = Residual(inputs, outputs, step, design)
    return nn.Sequential(first, *(Residual(outputs, outputs, "keep", design) for _ in range(1, depth)))


class Fusion(nn.Module):
    """Multi-scale feature fusion, MFF (section 3.3): maps (B, C_i, h_i, w_i), i = 1..3, -> (B, 3 C_3, h_3, w_3)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.fine = nn.Sequential(
            *normalised(convolution(fine, middle, "down"), convolution(middle, coarse, "down")), nn.ReLU(inplace=True)
        )
        self.middle = nn.Sequential(*normalised(convolution(middle, coarse, "down")), nn.ReLU(inplace=True))

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        return torch.cat([self.fine(maps[0]), self.middle(maps[1]), maps[2]], dim=1)


class Decoder(nn.Module):
    """Embedding (B, 2 C_3, h, w) -> maps of the teacher's shapes, finest first."""

    def __init__(self, channels: Sequence[int], design: Design) -> None:
        super().__init__()
        fine, middle, coarse = channels
        widths = (2 * coarse, coarse, middle, fine)
        self.stages = nn.ModuleList(
            stage(widths[i], widths[i + 1], "up", depth, design) for i, depth in enumerate(design.depths)
        )
        self.outputs = nn.ModuleList(nn.Conv2d(c, c, 1) if design.signed else nn.Identity() for c in widths[1:])

    def forward(self, embedding: Tensor) -> list[Tensor]:
        maps = []
        out = embedding
        for one, output in zip(self.stages, self.outputs, strict=True):
            out = one(out)
            maps.append(output(out))
        return maps[::-1]


class Student(nn.Module):
    """The teacher's maps -> maps of the same shapes, restored from an embedding (B, 2 C_3, h_3 / 2, w_3 / 2).

    Initial values as in the official code: convolutions Kaiming-normal by fan-out, transposed ones with torch's
    defaults."""

    def __init__(self, channels: Sequence[int], design: Design, embedding: Design) -> None:
        """`design`: blocks of the decoder; `embedding`: those of the one-class embedding, OCE."""
        super().__init__()
        coarse = channels[-1]
        self.fusion = Fusion(channels)
        self.embedding = stage(3 * coarse, 2 * coarse, "down", embedding.embedding_depth, embedding)
        self.decoder = Decoder(channels, design)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        restored: list[Tensor] = self.decoder(self.embedding(self.fusion(maps)))
        return restored
