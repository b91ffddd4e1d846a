"""The options of measures that need a threshold: which images decide it, and by which rule."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class DecidedBy(BaseModel):
    """How the threshold is chosen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["false_alarms", "best_f1"] = Field(
        "false_alarms",
        description="false_alarms: normal images alone, by `rate`; best_f1: labels of normal and anomalous ones",
    )
    rate: float = Field(0.05, gt=0, lt=1, description="accepted rate of false alarms; for the rule false_alarms")
    decided_on: Literal["train", "test"] = Field(
        "train",
        description="images that decide. train: those of the fit, so that new ones give more false alarms; "
        "test: test labels, so that the figures are no estimates for other images",
    )

    @model_validator(mode="after")
    def _has_anomalous_images(self) -> DecidedBy:
        if self.rule == "best_f1" and self.decided_on == "train":
            raise ValueError("the best F1 needs anomalous images, and training images are normal: decided_on: test")
        return self
