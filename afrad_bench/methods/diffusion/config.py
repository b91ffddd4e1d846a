"""Configuration of the guided-diffusion U-Net, and the schedule of noise that it is trained with."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

GROUPS = 32
"""Groups of every group norm."""
TIMESTEPS = 1000
"""Steps of the diffusion, 0 ... 999."""
LINEAR: dict[str, Any] = {
    "num_train_timesteps": TIMESTEPS,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
}
"""The linear schedule as arguments of a scheduler of diffusers."""


class UnetConfig(BaseModel):
    """Shape of the guided-diffusion U-Net; by default DDAD's at 256 px."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(64, description="Channels of the finest level; a multiple of the 32 groups of the norms.")
    multipliers: tuple[int, ...] = Field(
        (1, 1, 2, 2, 4, 4), min_length=1, description="Channels of each level divided by `width`, finest level first."
    )
    blocks: int = Field(2, ge=1, description="Residual blocks per level; the decoder has one more.")
    attention: tuple[int, ...] = Field(
        (8, 16, 32),
        description="Reductions of the levels with self-attention. At 256 px the default is the official 32, 16, 8 px.",
    )
    heads: int = Field(4, ge=1, description="Heads of each self-attention, the same at every width.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout in the residual blocks while training.")

    @property
    def step(self) -> int:
        """The side of the image must be a multiple of this."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level, finest first."""
        return tuple(self.width * factor for factor in self.multipliers)

    @property
    def attends(self) -> tuple[bool, ...]:
        """Whether each level has self-attention, finest first."""
        return tuple(2**level in self.attention for level in range(len(self.multipliers)))

    @model_validator(mode="after")
    def _consistent(self) -> UnetConfig:
        if self.width < 1 or self.width % GROUPS:
            raise ValueError(f"width must be a multiple of {GROUPS}, but got {self.width}")
        if min(self.multipliers) < 1:
            raise ValueError(f"multipliers must be at least 1, but got {list(self.multipliers)}")
        offered = [2**level for level in range(len(self.multipliers))]
        if strange := [one for one in self.attention if one not in offered]:
            raise ValueError(f"no level has the reductions {strange} of `attention`; {len(offered)} levels: {offered}")
        with_heads = {
            width
            for width, attends in zip(self.widths, self.attends, strict=True)
            if attends or width == self.widths[-1]
        }
        if bad := sorted(width for width in with_heads if width % self.heads):
            raise ValueError(f"{self.heads} heads do not divide the {bad[0]} channels of a self-attention")
        return self
