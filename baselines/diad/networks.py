"""DiAD's networks: diffusers' U-Net, ControlNet and autoencoder, and the fusion that diffusers lacks.

Axes: B images; latents (B, C, h, w); times (B,) or () of the diffusion, 0 to 999; context (B, 77, D), the text tower's
vectors; hints (B, 3, H, W), normalised images. N levels of L residual blocks give an encoder of N (L + 1) outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from afrad_bench_baselines.diad import Autoencoder, Config, Denoiser


def autoencoder_of(config: Autoencoder) -> AutoencoderKL:
    """An untrained autoencoder: image (B, 3, H, W) -> posterior of the latent, latent -> image."""
    levels = len(config.widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=config.widths,
        layers_per_block=config.layers,
        latent_channels=config.channels,
        norm_num_groups=config.groups,
    )


def _encoder(config: Denoiser, channels: int) -> dict[str, Any]:
    """What U-Net and SGN have in common."""
    return {
        "in_channels": channels,
        "down_block_types": ("CrossAttnDownBlock2D",) * (len(config.widths) - 1) + ("DownBlock2D",),
        "block_out_channels": config.widths,
        "layers_per_block": config.layers,
        "cross_attention_dim": config.context,
        "attention_head_dim": config.heads,  # diffusers' name for the number of heads
        "norm_num_groups": config.groups,
    }


def unet_of(config: Denoiser, channels: int) -> UNet2DConditionModel:
    """An untrained U-Net: latent, time, context, maps to add -> noise in the latent."""
    up = ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * (len(config.widths) - 1)
    return UNet2DConditionModel(out_channels=channels, up_block_types=up, **_encoder(config, channels))


class Fusion(nn.Module):
    """Spatial-aware feature fusion (section 3.3): each map of the last level takes up all maps of the level before.

    Its convolutions start at zero, as in the official code, unless `learns`. While all of them are zero, they add
    exactly zero, and are not run (`inert`)."""

    def __init__(self, fine: Sequence[int], coarse: Sequence[int], learns: bool) -> None:
        """`fine`, `coarse`: channels of the maps of the last level but one, and of the last."""
        super().__init__()
        self.convs = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a in fine) for b in coarse
        )
        if not learns:
            for parameter in self.parameters():
                nn.init.zeros_(parameter)
        self.inert = not learns

    def looked_at(self) -> None:
        """Find out whether the weights, which were just loaded, are all zero."""
        self.inert = not any(bool(parameter.any()) for parameter in self.parameters())

    def forward(self, fine: Sequence[Tensor], coarse: Sequence[Tensor]) -> list[Tensor]:
        if self.inert:
            return [F.silu(own) for own in coarse]
        fused = []
        for own, convs in zip(coarse, self.convs, strict=True):
            for conv, maps in zip(convs, fine, strict=True):
                own = own + F.silu(F.instance_norm(conv(maps)))
            fused.append(F.silu(own))
        return fused


class Guidance(nn.Module):
    """The semantic-guided network (section 3.2): a ControlNet whose deepest maps are fused."""

    def __init__(self, config: Denoiser, channels: int, learns: bool) -> None:
        super().__init__()
        self.control = ControlNetModel(conditioning_embedding_out_channels=config.hint, **_encoder(config, channels))
        self.maps = config.layers + 1
        outputs = [block.out_channels for block in self.control.controlnet_down_blocks]
        self.fusion = Fusion(outputs[-2 * self.maps : -self.maps], outputs[-self.maps :], learns)

    @property
    def without_effect(self) -> list[nn.Module]:
        """The layers that never learn: those whose maps are not used, and the fusion while it is inert."""
        unused = -self.maps if self.fusion.inert else -2 * self.maps
        return [*self.control.controlnet_down_blocks[:unused], *([self.fusion] if self.fusion.inert else [])]

    def forward(self, latents: Tensor, times: Tensor, context: Tensor, hints: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps to add to the encoder's outputs of the last level, and to the output of the middle block."""
        maps, middle = self.control(latents, times, context, hints, return_dict=False)
        return self.fusion(maps[-2 * self.maps : -self.maps], maps[-self.maps :]), middle


class Denoising(nn.Module):
    """Noisy latents, times, context, hints -> the noise in the latents, with the SGN's maps in the U-Net's decoder.

    The official code calls this `only_mid_control`: the SGN reaches the middle block and the first decoder block."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        channels = config.autoencoder.channels
        self.guidance = Guidance(config.denoiser, channels, config.sff == "paper")
        self.unet = unet_of(config.denoiser, channels)

    @property
    def decoder(self) -> list[nn.Module]:
        """The part of the U-Net that learns."""
        return [self.unet.up_blocks, self.unet.conv_norm_out, self.unet.conv_out]

    def freeze(self) -> None:
        """Let exactly what stage B trains require gradients."""
        self.requires_grad_(False)
        for module in (self.guidance, *self.decoder):
            module.requires_grad_(True)
        for module in self.guidance.without_effect:
            module.requires_grad_(False)

    def forward(self, latents: Tensor, times: Tensor, context: Tensor, hints: Tensor) -> Tensor:
        context = context.expand(latents.shape[0], -1, -1)
        deepest, middle = self.guidance(latents, times, context, hints)
        nothing = latents.new_zeros(())
        count = len(self.guidance.control.controlnet_down_blocks) - len(deepest)
        noise: Tensor = self.unet(
            latents,
            times,
            context,
            down_block_additional_residuals=(*[nothing] * count, *deepest),
            mid_block_additional_residual=middle,
            return_dict=False,
        )[0]
        return noise


def copy_encoder(denoising: Denoising) -> None:
    """Give the SGN the U-Net's weights where both have the same layers, as before stage B."""
    theirs = denoising.unet.state_dict()
    own = denoising.guidance.control.state_dict()
    with torch.no_grad():
        for name in own.keys() & theirs.keys():
            own[name].copy_(theirs[name])
