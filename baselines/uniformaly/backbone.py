"""The frozen vision transformer: mean patch tokens of some blocks, and the class token's attention in the last one.

Axes: B images, T tokens (the class token first), D values of a token, (h, w) the grid of patches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench.backbone.extractor import Extractor, state_dict
from afrad_bench.backbone.maps import Part
from afrad_bench.backbone.weights import BackboneConfig, Weights
from afrad_bench.errors import fail
from afrad_bench.hashing import digest, seed_for

VERSION = "1"
NUDGE = 0.1
"""DINO's addition to the sides of the grid, against rounding when positions are interpolated."""


class Described(NamedTuple):
    """What is known of a vision transformer without its weights."""

    blocks: int
    patch: int
    """Pixels of a patch's side."""
    width: int
    """Values of a token."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


@lru_cache(maxsize=16)
def _described(name: str) -> Described:
    """Raises `UserError` if the backbone is no such transformer."""
    with torch.device("meta"):
        net = timm.create_model(name, pretrained=False)
    prefixed = getattr(net, "num_prefix_tokens", 0) == 1 and not getattr(net, "no_embed_class", True)
    if type(net) is not VisionTransformer or not prefixed or net.cls_token is None or net.pos_embed is None:
        raise fail(
            f"the backbone {name} is no vision transformer with a class token, whose attention masks the background",
            hint="the published one is vit_base_patch8_224.dino; vit_small_patch8_224.dino is a smaller one",
        )
    norm = net.pretrained_cfg
    return Described(len(net.blocks), int(net.patch_embed.patch_size[0]), int(net.embed_dim), norm["mean"], norm["std"])


def plain(name: str) -> tuple[int, int]:
    """Number of blocks and pixels of a patch's side of a timm model. Raises `UserError` if Uniformaly cannot use it."""
    found = _described(name)
    return found.blocks, found.patch


def width_of(name: str) -> int:
    """Values of a token of a timm model."""
    return _described(name).width


def _key(config: BackboneConfig, weights: Weights, layers: tuple[int, ...]) -> str:
    """Digest of everything that the maps of a given image depend on, except the device."""
    found = _described(config.name)
    parts = (VERSION, timm.__version__, config.name, weights.sha256, repr(layers), repr((found.mean, found.std)))
    return digest("uniformaly", *parts, *(["float16"] if config.precision == "float16" else []))


def parts_of(config: BackboneConfig, weights: Weights, layers: tuple[int, ...], image_size: int) -> tuple[Part, ...]:
    """What the cache keeps: mean tokens and attention."""
    found = _described(config.name)
    side = image_size // found.patch
    shapes = {"tokens": (found.width, side, side), "attention": (1, side, side)}
    key = _key(config, weights, layers)
    return tuple(
        Part(digest(key, what), f"{config.name} {what}", found.patch, shape, precision=config.precision)
        for what, shape in shapes.items()
    )


class Tokens(Extractor):
    """(B, 3, H, W) in [0, 1] -> mean tokens (B, D, h, w) and attention (B, 1, h, w), as feature maps for the cache."""

    def __init__(self, config: BackboneConfig, weights: Weights, layers: tuple[int, ...], image_size: int) -> None:
        nn.Module.__init__(self)
        described = _described(config.name)
        patch, width = described.patch, described.width
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("backbone", config.name))  # seed of `random` weights
            net = timm.create_model(config.name, pretrained=False)
        if weights.path is not None:
            net.load_state_dict(state_dict(config.name, weights))
        self.net = nn.Module()
        self.net.patches = net.patch_embed.proj
        self.net.norm = net.norm_pre
        self.net.blocks = net.blocks[: layers[-1] + 1]
        self.net.cls_token = net.cls_token
        self.net.positions = nn.Parameter(interpolated(net.pos_embed.detach(), image_size // patch))
        self.layers = layers
        self.side = image_size // patch
        self.image_size = image_size
        self.map_channels = (width, 1)
        self.reductions = (patch, patch)
        self.grid = None
        self.precision = config.precision
        self.channels_last = False
        self.register_buffer("mean", torch.tensor(described.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(described.std).view(1, 3, 1, 1), persistent=False)
        self.key = _key(config, weights, layers)
        self.maps = None
        self.parts = parts_of(config, weights, layers, image_size)
        self.requires_grad_(False)
        self.eval()

    @property
    def shapes(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((channels, self.side, self.side) for channels in self.map_channels)

    def kept(self, images: Tensor, parts: Sequence[Part]) -> tuple[Tensor, ...]:
        """Both, which nobody else asks for."""
        assert tuple(parts) == self.parts
        return self._tokens(images)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._rounded(one) for one in self._tokens(images))

    def _tokens(self, images: Tensor) -> tuple[Tensor, ...]:
        net = self.net
        tokens = net.patches((images - self.mean) / self.std).flatten(2).transpose(1, 2)
        tokens = torch.cat([net.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1) + net.positions
        tokens = net.norm(tokens)
        total, attention = torch.zeros(()), torch.zeros(())
        for i, block in enumerate(net.blocks):
            if i == self.layers[-1]:
                attention = class_attention(block, tokens)
            tokens = block(tokens)
            if i == self.layers[0]:
                total = tokens[:, 1:]
            elif i in self.layers:
                total = total + tokens[:, 1:]
        mean = (total / len(self.layers)).transpose(1, 2)
        size = (self.side, self.side)
        return mean.unflatten(2, size), attention[:, None].unflatten(2, size)


def class_attention(block: nn.Module, tokens: Tensor) -> Tensor:
    """(B, T - 1) attention of the class token to the patches in this block, mean over its heads."""
    part = block.attn
    normed = block.norm1(tokens)
    width = normed.shape[-1]
    weight, bias = part.qkv.weight, part.qkv.bias
    query = F.linear(normed[:, :1], weight[:width], None if bias is None else bias[:width])
    keys = F.linear(normed, weight[width : 2 * width], None if bias is None else bias[width : 2 * width])
    query, keys = (part_of.unflatten(2, (part.num_heads, -1)).transpose(1, 2) for part_of in (query, keys))
    weights = (part.q_norm(query) * part.scale @ part.k_norm(keys).transpose(2, 3)).softmax(3)
    return weights.mean(1)[:, 0, 1:]


def interpolated(positions: Tensor, side: int) -> Tensor:
    """Positional embeddings (1, 1 + n n, D) on a grid of another side: bicubic as in DINO, without antialiasing."""
    first, grid = positions[:, :1], positions[:, 1:]
    before = round(grid.shape[1] ** 0.5)
    if before == side:
        return positions
    scale = (side + NUDGE) / before
    maps = grid.transpose(1, 2).unflatten(2, (before, before))
    maps = F.interpolate(maps, scale_factor=(scale, scale), mode="bicubic", recompute_scale_factor=False)
    return torch.cat([first, maps.flatten(2).transpose(1, 2)], 1)
