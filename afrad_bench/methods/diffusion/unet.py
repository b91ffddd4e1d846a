"""The guided-diffusion U-Net (Dhariwal and Nichol, NeurIPS 2021) without classes and learned variance, by diffusers.

Axes: B images of C channels, in [-1, 1] with noise; t (B,) is the step of the diffusion, from 0."""

from __future__ import annotations

from diffusers import UNet2DModel
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

from afrad_bench.methods.diffusion.config import GROUPS, UnetConfig


class Unet(nn.Module):
    """Noisy images (B, C, H, W) at steps t (B,) -> the noise that is estimated in them, (B, C, H, W)."""

    def __init__(self, config: UnetConfig, image_size: int, channels: int = 3) -> None:
        """Residual blocks and attentions start as the identity, and the output as 0, as in the official code."""
        super().__init__()
        down = ["AttnDownBlock2D" if attends else "ResnetDownsampleBlock2D" for attends in config.attends]
        up = ["AttnUpBlock2D" if attends else "ResnetUpsampleBlock2D" for attends in reversed(config.attends)]
        self.net = UNet2DModel(
            sample_size=image_size,
            in_channels=channels,
            out_channels=channels,
            block_out_channels=config.widths,
            layers_per_block=config.blocks,
            down_block_types=tuple(down),
            up_block_types=tuple(up),
            downsample_type="resnet",
            upsample_type="resnet",
            dropout=config.dropout,
            norm_num_groups=GROUPS,
            norm_eps=1e-5,
            act_fn="silu",
            flip_sin_to_cos=False,
            freq_shift=0,
        )
        for module in self.net.modules():
            if isinstance(module, Attention):  # diffusers fixes the width of a head, guided diffusion their number
                module.heads = module.sliceable_head_dim = config.heads
                module.scale = (module.inner_dim / config.heads) ** -0.5
                _zero(module.to_out[0])
            elif isinstance(module, ResnetBlock2D):
                _zero(module.conv2)
        _zero(self.net.conv_out)

    def forward(self, noisy: Tensor, t: Tensor) -> Tensor:
        estimate: Tensor = self.net(noisy, t, return_dict=False)[0]
        return estimate


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
