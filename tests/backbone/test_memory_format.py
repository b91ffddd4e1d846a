"""Networks of methods in another memory format: every convolution gets its input in it, with equal results."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from afrad_bench import registry
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.backbone.memory_format import Arranged, arrange
from afrad_bench.methods.small import small_images, small_of
from afrad_bench.types import Bench, Seeds

FITTED = ("padim",)


def network(name: str) -> tuple[nn.Module, Tensor]:
    """The network of a method in its small configuration, and images for it."""
    module = registry.find("method", name).load()
    small = small_of(module)
    assert small is not None
    bench = Bench("cpu", small.image_size, Seeds(1, 2), FeatureCache(None))
    method = module.build(module.Config.model_validate(small.params), bench)
    if name in FITTED:
        method.fit(small_images(4, small.image_size, 1))
    return method.network().eval(), torch.from_numpy(small_images(2, small.image_size, 2).array())


def in_format(net: nn.Module, images: Tensor, memory_format: torch.memory_format) -> list[bool]:
    """For each call of a convolution, in their order, whether its input is in this format."""
    found = []

    def note(part: nn.Module, given: tuple[Tensor, ...]) -> None:
        if min(given[0].shape[1:]) > 1:  # else it is in both
            found.append(given[0].is_contiguous(memory_format=memory_format))

    hooks = [part.register_forward_pre_hook(note) for part in net.modules() if isinstance(part, nn.Conv2d)]
    with torch.inference_mode():
        net(images)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", ["destseg", "draem", "efficientad", "mkd", "padim", "rd4ad"])
def test_every_convolution_follows_the_network(name: str) -> None:
    net, images = network(name)
    usual = in_format(net, images, torch.channels_last)
    assert any(usual)
    other = arrange(copy.deepcopy(net), torch.contiguous_format)
    assert all(in_format(other, images, torch.contiguous_format))
    assert in_format(net, images, torch.channels_last) == usual  # the copy has left it alone
    with torch.inference_mode():
        for ours, theirs in zip(net(images), other(images), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_afrads_tokens_are_views_of_whatever_format_they_come_in() -> None:
    """Its linear layers on tokens give maps with the channels innermost."""
    net, images = network("afrad")
    found = in_format(arrange(net, torch.contiguous_format), images, torch.contiguous_format)
    assert not all(found)
    assert sum(found) > 0.7 * len(found)


def test_a_network_in_its_format_copies_nothing() -> None:
    maps = torch.zeros(2, 3, 4, 5)
    assert Arranged().arranged(maps).is_contiguous(memory_format=torch.channels_last)
    other = arrange(Arranged(), torch.contiguous_format)
    assert isinstance(other, Arranged)
    assert other.arranged(maps).data_ptr() == maps.data_ptr()
    assert Arranged.memory_format is torch.channels_last
