"""The options of measures that need a threshold: which images decide it, and by which rule."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from afrad_bench.errors import fail


class DecidedBy(BaseModel):
    """How the threshold is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["false_alarms", "best_f1"] = Field(
        "false_alarms",
        description="false_alarms: normal images alone, by `rate`; best_f1: labels of normal and anomalous ones",
    )
    rate: float = Field(0.05, gt=0, lt=1, description="accepted rate of false alarms; for the rule false_alarms")
    decided_on: Literal["train", "held_out", "test_share", "test"] = Field(
        "train",
        description="images that decide. train: those of the fit, so that new ones give more false alarms; held_out: "
        "the training images that `hold_out` of the data set keeps from the fit; test_share: a share of the test "
        "images, and the figures are those of the rest; test: all test images, so that the figures are optimistic",
    )
    share: float = Field(0.5, gt=0, lt=1, description="share of the test images of each category and label; test_share")
    seed: int = Field(0, ge=0, description="which images are drawn for the share; for test_share")

    @model_validator(mode="after")
    def _has_anomalous_images(self) -> DecidedBy:
        if self.rule == "best_f1" and self.decided_on in ("train", "held_out"):
            hint = "decided_on: test_share, or test"
            raise ValueError(f"the best F1 needs anomalous images, and training images are normal: {hint}")
        return self


def check(config: DecidedBy, holds_out: bool) -> None:
    """Raise `UserError` if images that were held out are to decide, and the data set holds none out."""
    if config.decided_on == "held_out" and not holds_out:
        raise fail(
            "`decided_on: held_out` needs training images that are kept from the fit",
            hint="write `hold_out: {share: 0.2}` beside the name of the data set, or choose decided_on: train, or "
            "test_share",
        )
