"""The work whose time and memory are measured: from one image to its pixel map and score."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from afrad_bench.images.sets import ImageArray
from afrad_bench.types import HasNetwork, Subject


@dataclass(frozen=True, slots=True)
class Scoring:
    """One call scores one image."""

    call: Callable[[], object]
    inside: str
    """Start and end of the work, for the notes."""


def scoring(subject: Subject) -> Scoring:
    """Score the first test image, decoded beforehand: with the method's network, on the device. A method without one
    uses `predict`, which takes the image from memory and returns its result to memory."""
    method = subject.method
    if isinstance(method, HasNetwork):
        return scoring_by(method.network(), subject)
    images = _first(subject)
    return Scoring(lambda: method.predict(images), "image in memory -> pixel map and image score, in memory")


def scoring_by(network: torch.nn.Module, subject: Subject) -> Scoring:
    """Score the first test image, decoded beforehand, with this network."""
    image = torch.from_numpy(_first(subject).pixels).to(subject.device)

    def call() -> object:
        with torch.inference_mode():
            return network(image)

    return Scoring(call, "image tensor on the device -> pixel map and image score, on the device")


def _first(subject: Subject) -> ImageArray:
    return ImageArray(subject.test.subset([0]).array())
