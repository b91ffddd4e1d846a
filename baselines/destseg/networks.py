"""The student, the segmentation of its differences from the teacher, and the whole inference path.

Axes: B images; C_k channels of the teacher's map k = 1..3 at 1/4, 1/8 and 1/16 of the image's side."""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor
from afrad_bench.backbone.memory_format import Arranged
from afrad_bench.errors import fail
from afrad_bench_baselines.destseg import DEEPEST, REDUCTIONS

DILATIONS = (6, 12, 18)


def stage(inputs: int, outputs: int) -> nn.Sequential:
    """Two residual blocks of 3 x 3 convolutions at one resolution; initial values Kaiming-normal by fan-out."""
    skip = None
    if inputs != outputs:
        skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
    blocks = nn.Sequential(BasicBlock(inputs, outputs, downsample=skip), BasicBlock(outputs, outputs))
    for module in blocks.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return blocks


def enlarged(maps: Tensor, like: Tensor) -> Tensor:
    """Maps resized bilinearly to the resolution of `like`."""
    return F.interpolate(maps, like.shape[-2:], mode="bilinear", align_corners=False)


class Student(nn.Module):
    """Normalised image (B, 3, H, W) -> the teacher's maps of the image without its anomalies."""

    def __init__(self, backbone: str, channels: Sequence[int], signed: bool) -> None:
        """`channels`: those of the teacher's maps; `signed`: whether these maps may be negative."""
        super().__init__()
        offered = timm.create_model(backbone, pretrained=False, features_only=True).feature_info.reduction()
        if offered.count(DEEPEST) != 1:
            raise fail(
                f"the backbone {backbone} has no single feature map with reduction {DEEPEST}, which the student needs",
                hint=f"it offers {', '.join(map(str, offered))}",
            )
        places = tuple(offered.index(reduction) for reduction in (*REDUCTIONS, DEEPEST))
        self.encoder = timm.create_model(backbone, pretrained=False, features_only=True, out_indices=places)
        deepest = self.encoder.feature_info.channels()[-1]
        widths = (deepest, *reversed(channels))
        self.decoder = nn.ModuleList([stage(deepest, deepest)])
        self.decoder.extend(stage(widths[i], widths[i + 1]) for i in range(len(channels)))
        self.outputs = nn.ModuleList(nn.Conv2d(c, c, 1) if signed else nn.Identity() for c in widths[1:])

    def forward(self, pixels: Tensor) -> list[Tensor]:
        *levels, out = self.encoder(pixels)
        out = self.decoder[0](out)
        maps = []
        for level, block, output in zip(reversed(levels), self.decoder[1:], self.outputs, strict=True):
            out = block(enlarged(out, level))
            maps.append(output(out))
        return maps[::-1]


def convolution(inputs: int, outputs: int, side: int, dilation: int = 1) -> nn.Sequential:
    """`side` x `side` convolution without bias, batch norm, ReLU; keeps the resolution."""
    padding = dilation * (side // 2)
    plain = nn.Conv2d(inputs, outputs, side, padding=padding, dilation=dilation, bias=False)
    return nn.Sequential(plain, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: the mean of the map and three dilated convolutions, fused; (B, w, h, w')."""

    def __init__(self, w: int) -> None:
        super().__init__()
        self.pooled = convolution(w, w, 1)
        self.dilated = nn.ModuleList(convolution(w, w, 3, dilation) for dilation in DILATIONS)
        self.fusion = convolution((1 + len(DILATIONS)) * w, w, 3)

    def forward(self, maps: Tensor) -> Tensor:
        mean = self.pooled(maps.mean((2, 3), keepdim=True)).expand(-1, -1, *maps.shape[-2:])
        return self.fusion(torch.cat([mean, *(view(maps) for view in self.dilated)], dim=1))


class Segmentation(nn.Module):
    """Products of normalised features (B, sum of C_k, h, w) -> probability of an anomaly (B, 1, h, w)."""

    def __init__(self, inputs: int, w: int) -> None:
        super().__init__()
        self.residual = stage(inputs, w)
        self.head = nn.Sequential(Pyramid(w), *convolution(w, w, 3), nn.Conv2d(w, 1, 1))

    def forward(self, products: Tensor) -> Tensor:
        return torch.sigmoid(self.head(self.residual(products)))


def normalised(maps: Tensor) -> Tensor:
    """Maps divided by the norm of their channels at every position."""
    return maps / (torch.linalg.vector_norm(maps, dim=1, keepdim=True) + 1e-12)


class Network(Arranged):
    """Image (B, 3, H, W) in [0, 1] -> (anomaly map (B, H, W), image score (B,))."""

    def __init__(self, teacher: Extractor, student: Student, segmentation: Segmentation, top: int) -> None:
        super().__init__()
        self.teacher = teacher
        self.student = student
        self.segmentation = segmentation
        self.top = top

    def restored(self, images: Tensor) -> list[Tensor]:
        """The student's maps, normalised at every position, finest first."""
        pixels = self.arranged((images - self.teacher.mean) / self.teacher.std)
        return [normalised(maps) for maps in self.student(pixels)]

    def products(self, images: Tensor) -> Tensor:
        """Input of the segmentation, (B, sum of C_k, H/4, W/4): minus the products, lower where both networks agree."""
        pairs = zip(self.teacher(images), self.restored(images), strict=True)
        parts = [-normalised(theirs) * ours for theirs, ours in pairs]
        return torch.cat([parts[0], *(enlarged(part, parts[0]) for part in parts[1:])], dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        anomaly_map = enlarged(self.segmentation(self.products(images)), images)[:, 0]
        return anomaly_map, anomaly_map.flatten(1).topk(self.top, sorted=False).values.mean(1)
