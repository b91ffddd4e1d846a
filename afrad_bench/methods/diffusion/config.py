"""The configuration of the guided-diffusion U-Net."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

GROUPS = 32
"""Groups of every group norm."""


class UnetConfig(BaseModel):
    """Shape of the guided-diffusion U-Net; by default DDAD's at 256 px."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    width: int = Field(
        64,
        ge=GROUPS,
        multiple_of=GROUPS,
        description="Channels of the finest level; a multiple of the 32 groups of the norms.",
    )
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
