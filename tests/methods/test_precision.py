"""Scores in mixed precision: what is large is computed in float32."""

from __future__ import annotations

import pytest
import torch

from afrad_bench.methods.afrad.scoring import stage_errors, stage_means
from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.postprocessing import PixelMap
from afrad_bench.methods.precision import in_float32
from afrad_bench_baselines.padim.gaussians import PatchGaussians


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_distances_of_large_features_are_those_of_float32(half: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(0)
    vectors, queries = (100 * torch.randn(n, 32, generator=draws) for n in (50, 7))
    bank = MemoryBank(vectors)
    expected = bank.nearest(queries, 1)[0]
    assert float(expected.min()) > 65504  # the largest number of float16
    with torch.autocast("cpu", dtype=half):
        assert torch.equal(bank.nearest(queries, 1)[0], expected)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_gaussians_and_errors_and_maps_are_in_float32(half: torch.dtype) -> None:
    draws = torch.Generator().manual_seed(0)
    gaussians = PatchGaussians(16, 8, "cpu")
    mean = torch.randn(16, 8, generator=draws, dtype=torch.float64)
    gaussians.set(slice(0, 16), mean, torch.eye(8, dtype=torch.float64).expand(16, 8, 8) * 1e-6)
    features = 3 * torch.randn(2, 8, 4, 4, generator=draws)
    smooth, means = PixelMap((4, 4), (16, 16), 2.0), stage_means((3, 5))

    def scored() -> list[torch.Tensor]:
        distances = gaussians(features)
        return [distances, smooth(distances), stage_errors(features * 200, features, means)]

    expected = scored()
    with torch.autocast("cpu", dtype=half):
        found = scored()
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_without_autocast_nothing_is_changed() -> None:
    given = torch.ones(2, dtype=torch.float64)
    assert in_float32(lambda x: x)(given) is given
