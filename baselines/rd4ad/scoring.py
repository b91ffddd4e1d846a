"""Cosine distance between the student's and the teacher's maps: as a loss, as a map, as a score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from afrad_bench.backbone.memory_format import Arranged
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench_baselines.rd4ad import Score
from afrad_bench_baselines.rd4ad.student import Student


def cosine_loss(
    teacher: Sequence[Tensor], student: Sequence[Tensor], compare: Literal["whole_map", "per_position"]
) -> Tensor:
    """Sum over the stages of the batch mean of 1 - cos; maps (B, C_i, h_i, w_i) of teacher and student.

    `whole_map`: one cosine per image, of all C·h·w values (official code). `per_position`: the mean over positions of
    the cosines of their C channels (the paper's equation)."""
    losses = []
    for theirs, ours in zip(teacher, student, strict=True):
        if compare == "whole_map":  # channels last, like the student's maps: no copy is needed
            theirs, ours = (maps.permute(0, 2, 3, 1).flatten(1) for maps in (theirs, ours))
        losses.append((1 - F.cosine_similarity(theirs, ours, dim=1)).mean())
    return torch.stack(losses).sum()


class Head(Arranged):
    """The teacher's maps -> (anomaly map (B, H, W), image score (B,)): student, cosines, smoothing."""

    def __init__(self, student: Student, image: tuple[int, int], config: Score) -> None:
        super().__init__()
        self.student = student
        self.image = image
        self.combine = config.combine
        self.smooth = PixelMap(image, image, config.sigma)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        teacher = [self.arranged(each) for each in maps]
        parts = []
        for theirs, ours in zip(teacher, self.student(teacher), strict=True):
            distance = 1 - F.cosine_similarity(theirs, ours, dim=1)
            parts.append(F.interpolate(distance[:, None], self.image, mode="bilinear", align_corners=True)[:, 0])
        combined = math.prod(parts[1:], start=parts[0]) if self.combine == "product" else sum(parts[1:], parts[0])
        anomaly_map: Tensor = self.smooth(combined)
        return anomaly_map, anomaly_map.amax((1, 2))
