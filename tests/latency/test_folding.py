"""Batch norms folded into convolutions: equal outputs with fewer operators, and nothing folded that may not be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch
from torch import Tensor, nn

from afrad_bench.latency.calls import prepared
from afrad_bench.latency.folding import fold
from afrad_bench.latency.modes import Mode, parse_modes

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def moved(network: nn.Module) -> nn.Module:
    """In eval mode, with statistics and weights of batch norms that do something."""
    drawn = torch.Generator().manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            if part.running_mean is not None and part.running_var is not None:
                part.running_mean.uniform_(-1, 1, generator=drawn)
                part.running_var.uniform_(0.5, 2, generator=drawn)
            if part.affine:
                nn.init.uniform_(part.weight, 0.5, 1.5, generator=drawn)
                nn.init.uniform_(part.bias, -1, 1, generator=drawn)
    return network.eval()


class Net(nn.Module):
    """One convolution and one norm, in some order."""

    def __init__(self, kind: str, **options: bool) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.other = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(3, 3, 1)
        self.norm = nn.BatchNorm2d(3, **options)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images)
        match self.kind:
            case "read twice":
                return self.norm(maps) + maps
            case "another value":
                return self.norm(maps.relu())
            case "changed in place":
                return self.norm(maps.mul_(2))
            case "norm runs twice":
                return self.norm(maps) + self.norm(self.other(images))
            case "convolution runs twice":
                return self.norm(self.conv(maps.detach()))
            case "norm first":
                return self.conv(self.norm(images))
        return self.norm(maps)


@pytest.mark.parametrize("options", [{}, {"affine": False}])
def test_a_convolution_and_its_norm_become_one(options: dict[str, bool]) -> None:
    network = moved(Net("plain", **options))
    with torch.inference_mode():
        expected = network(IMAGES)
    assert fold(network, IMAGES) == 1
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    with torch.inference_mode():
        torch.testing.assert_close(network(IMAGES), expected)


@pytest.mark.parametrize(
    "kind",
    ["read twice", "another value", "changed in place", "norm runs twice", "convolution runs twice", "norm first"],
)
def test_what_would_change_the_output_stays(kind: str) -> None:
    network = moved(Net(kind))
    with torch.inference_mode():
        expected = network(IMAGES)
    with pytest.raises(ValueError, match="no batch norm that alone reads"):
        fold(network, IMAGES)
    with torch.inference_mode():
        assert torch.equal(network(IMAGES), expected)


@pytest.mark.parametrize("change", ["training", "no statistics"])
def test_norms_of_the_batch_stay(change: str) -> None:
    network = moved(Net("plain", track_running_stats=change != "no statistics"))
    network.norm.train(change == "training")  # type: ignore[operator, union-attr]
    with pytest.raises(ValueError, match="no batch norm"):
        fold(network, IMAGES)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_all_norms_of_a_backbone_are_folded(name: str) -> None:
    """Those of timm's EfficientNets hold an activation, which stays."""
    network = moved(timm.create_model(name, pretrained=False, features_only=True))
    count = sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    with torch.inference_mode():
        expected = network(IMAGES)
    assert fold(network, IMAGES) == count > 15
    with torch.inference_mode():
        for maps, wanted in zip(network(IMAGES), expected, strict=True):
            assert (maps - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_the_mode_folds_a_copy_and_says_how_many() -> None:
    class Scored(Net):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            maps = super().forward(images).square().sum(1)
            return maps, maps.amax((1, 2))

    network = moved(Scored("plain"))
    method = SimpleNamespace(network=lambda: network)
    (mode,) = parse_modes(["channels_last+folded"], "cpu")
    assert mode == Mode(frozenset({"folded", "channels_last"}))
    found = prepared(method, IMAGES, "cpu", mode)  # type: ignore[arg-type]
    assert found.facts["folded_norms"] == 1
    assert found.facts["map_difference_relative"] < 1e-5
    assert isinstance(network.norm, nn.BatchNorm2d)
    assert network.conv.bias is None  # type: ignore[union-attr]
