"""A fitted method in one file: its tensors, including the backbone's, and a card with metadata.

The format is safetensors: no code in it, nothing to unpickle. Its header holds the card as JSON. Nothing else is needed
to score images on another machine: no data, no weights files, no network access. A file is complete or absent (written
under another name, then renamed), and equal fits give equal files. Loading verifies a digest of the tensors, and that
the loaded method scores a test image as it did when the file was written."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from afrad_bench import registry
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.backbone.weights import BackboneConfig, Weights
from afrad_bench.errors import UserError, fail
from afrad_bench.hashing import canonical, digest, seed_for
from afrad_bench.images.sets import PREPROCESSING, ImageArray
from afrad_bench.machine.arithmetic import without_tf32
from afrad_bench.machine.environment import resolve_device
from afrad_bench.methods.versions import version_of
from afrad_bench.suite.checked import validated
from afrad_bench.types import Bench, Cell, HasState, Method, OperatingPoint, Seeds, TrainingRecord

if TYPE_CHECKING:
    import torch

FORMAT = 2
"""Version of the card and of the tensors; a file with a higher version is refused. Only a file with an operating point
needs 2: the others are written as 1, which earlier versions read."""
SUFFIX = ".safetensors"
KEY = "afrad_bench"
TOLERANCE = 1e-3
"""Relative difference of the test image's score above which a file is refused: rounding on other hardware stays far
below, another architecture under the same name does not."""


class TrainedOn(BaseModel):
    """What the method was fitted on, and how long."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: str = Field(description="Name of the data set; empty for images passed in Python.")
    fingerprint: str = Field(description="Digest of the training data.")
    images: int = Field(description="Training images.")
    seed: int = Field(description="Seed of the fit.")
    epochs: int = Field(description="Passes over the training images; 0 for a fit in closed form.")
    final_loss: float | None = Field(description="Mean training loss of the last epoch.")
    white: float | None = Field(None, description="Value of white in images of more than 8 bits; null if none has.")

    @model_serializer(mode="wrap")
    def _silent_in_8_bits(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out an empty `white`, so that a file of 8-bit images is what it was before this field existed."""
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name != "white" or value is not None}


class Card(BaseModel):
    """Metadata of a model file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: int = Field(1, description="Version of this layout.")
    method: str = Field(description="Registered name of the method.")
    method_version: str = Field(description="`version_of` the method and its configuration.")
    config: dict[str, Any] = Field(description="The whole validated configuration, defaults included.")
    image_size: int = Field(description="Side of the square input in pixels.")
    preprocessing: str = Field(PREPROCESSING, description="How images are resized to that size.")
    weights: str = Field(description="Where the frozen backbone's weights came from; empty without a backbone.")
    weights_hash: str = Field(description='SHA-256 of the weights\' file, or "random".')
    trained_on: TrainedOn = Field(description="Data and length of the fit.")
    packages: dict[str, str] = Field(description="Versions of afrad-bench, timm and torch that wrote the file.")
    tensors: str = Field("", description="Digest over names, types, shapes and bytes of all tensors.")
    test_score: float = Field(0.0, description="pred_score of the test image.")
    operating_point: OperatingPoint | None = Field(None, description="The threshold, and what decided it.")

    @model_serializer(mode="wrap")
    def _silent_without_a_threshold(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leaves out an absent operating point, so that such a file is what it was before this field existed."""
        written: dict[str, Any] = write(self)
        return {name: value for name, value in written.items() if name != "operating_point" or value is not None}

    def decided_by(self, point: OperatingPoint | None) -> Card:
        """This card with another operating point, or none."""
        return self.model_copy(update={"operating_point": point, "format": 1 if point is None else FORMAT})


@dataclass(frozen=True)
class Restored:
    """A method loaded from a file."""

    method: Method
    card: Card
    bench: Bench


def card_of(
    method: str,
    config: BaseModel,
    image_size: int,
    weights: Weights | None,
    trained_on: TrainedOn,
    point: OperatingPoint | None = None,
) -> Card:
    """The card of a fitted method; what depends on the tensors is filled in by `write`."""
    made = Card(
        method=method,
        method_version=version_of(method, config),
        config=config.model_dump(mode="json"),
        image_size=image_size,
        weights=weights.label if weights else "",
        weights_hash=weights.sha256 if weights else "",
        trained_on=trained_on,
        packages=_packages(),
    )
    return made.decided_by(point)


def trained_on(
    dataset: str, fingerprint: str, images: int, seed: int, record: TrainingRecord, white: float | None = None
) -> TrainedOn:
    """Data and length of a fit, from its record."""
    return TrainedOn(
        dataset=dataset,
        fingerprint=fingerprint,
        images=images,
        seed=seed,
        epochs=record.epochs,
        final_loss=record.loss[-1] if record.loss else None,
        white=white,
    )


def place_of(store: Path, cell: Cell) -> Path:
    """Path at which `run --keep-models` keeps the model of a cell."""
    return store / "models" / f"{cell.method}-{cell.id}{SUFFIX}"


def is_current(path: Path, terms: Mapping[str, str]) -> bool:
    """Whether `path` is a model file that was fitted under these terms of a result: data, weights, versions."""
    try:
        card = read_card(path)
    except UserError:
        return False
    found = {
        "method_version": card.method_version,
        "data_fingerprint": card.trained_on.fingerprint,
        "preprocessing": card.preprocessing,
        "weights_hash": card.weights_hash,
    }
    return all(terms[name] == value for name, value in found.items())


def write(path: Path, method: Method, card: Card) -> Path:
    """Write a fitted method; an existing file at `path` is replaced completely or not at all.

    Raises `UserError` for a method without state."""
    if not isinstance(method, HasState):
        raise fail(f"{card.method} offers no state that can be saved in a file", str(path))
    tensors = {name: value.detach().cpu().contiguous() for name, value in method.state().items()}
    found = {"tensors": _digest(tensors), "test_score": _test_score(method, card.image_size)}
    return _save(path, tensors, card.model_copy(update=found))


def decide(path: Path, point: OperatingPoint) -> Path:
    """Write an operating point into a model file, whose tensors stay as they are."""
    card = read_card(path)
    return _save(path, _tensors(path, card), card.decided_by(point))


def _save(path: Path, tensors: Mapping[str, torch.Tensor], card: Card) -> Path:
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        save_file(dict(tensors), scratch, {KEY: canonical(card.model_dump(mode="json"))})
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return path


EXPORTED = (".onnx", ".pt2", ".pt", ".ts")
"""Suffixes of files that `export` writes."""


def read_card(path: Path) -> Card:
    """Read the card only, not the tensors. Raises `UserError` for a file that is missing, foreign, damaged or newer."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise fail("no such model file", str(path), "`afrad-bench run SUITE --keep-models` writes model files")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        if path.suffix in EXPORTED:
            hint = "name the .safetensors file that it was made of; docs/deploy.md shows how exported files are run"
            raise fail("this is an exported file, not a model file", str(path), hint) from error
        raise _damaged(path, f"not a complete safetensors file: {error}") from error
    if KEY not in metadata:
        raise fail(
            "a safetensors file, but no model of afrad-bench",
            str(path),
            "to use it as weights of a backbone, set in a configuration: backbone.weights=file:PATH",
        )
    try:
        facts = json.loads(metadata[KEY])
    except ValueError as error:
        raise _damaged(path, f"its card is not valid JSON: {error}") from error
    if isinstance(facts, dict) and isinstance(facts.get("format"), int) and facts["format"] > FORMAT:
        raise fail(
            f"written in format {facts['format']} by a newer afrad-bench; this version reads up to {FORMAT}",
            str(path),
            "pip install --upgrade afrad-bench",
        )
    card = validated(Card, facts, lambda _: str(path))
    if isinstance(card, list):
        raise UserError(*card)
    assert isinstance(card, Card)
    return card


def load(path: Path, device: str = "auto") -> Restored:
    """Load a fitted method from a file to `device` and verify it (see the module). Raises `UserError` if invalid."""
    found = restored(path, device)
    score, card = _test_score(found.method, found.card.image_size), found.card
    if not abs(score - card.test_score) <= TOLERANCE * abs(card.test_score):
        raise fail(
            f"the model gives its test image the score {score:.6g} here, but gave {card.test_score:.6g} "
            "when it was written",
            str(path),
            _versions(card),
        )
    return found


def restored(path: Path, device: str = "auto") -> Restored:
    """As `load`, whatever score the test image has here."""
    card = read_card(path)
    tensors = _tensors(path, card)
    module = registry.find("method", card.method, str(path)).load()
    config = validated(module.Config, card.config, lambda _: str(path), card.method)
    if isinstance(config, list):
        raise UserError(*config)
    bench = Bench(resolve_device(device), card.image_size, Seeds(0, 0), _Bare(card))
    method: Method = module.build(config, bench)
    if not isinstance(method, HasState):
        raise fail(f"the method {card.method} cannot be loaded from a file in this version", str(path))
    try:
        method.restore(tensors)
    except (RuntimeError, KeyError, ValueError) as error:
        raise fail(
            f"its tensors do not fit {card.method} in this installation: {str(error).splitlines()[0]}",
            str(path),
            _versions(card),
        ) from error
    return Restored(method, card, bench)


class _Bare(FeatureCache):
    """A cache that stores nothing and builds backbones without weights: the loaded state contains them."""

    def __init__(self, card: Card) -> None:
        super().__init__(None)
        self._found = Weights(card.weights, None, card.weights_hash)

    def weights(self, config: BackboneConfig) -> Weights:
        return self._found


def _tensors(path: Path, card: Card) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    tensors = load_file(path)
    if _digest(tensors) != card.tensors:
        raise _damaged(path, "its tensors are not those that were written")
    return tensors


def _damaged(path: Path, what: str) -> UserError:
    return fail(what, str(path), "copy the file again, or create it again")


def _digest(tensors: Mapping[str, torch.Tensor]) -> str:
    import torch

    parts: list[str | bytes] = []
    for name in sorted(tensors):
        values = tensors[name]
        raw = values.reshape(-1).view(torch.uint8).numpy().tobytes()
        parts += [name, str(values.dtype), repr(tuple(values.shape)), raw]
    return digest(*parts)


def _test_score(method: Method, side: int) -> float:
    """The score of a test image: noise from a fixed seed, so that every channel of every layer responds. Without TF32,
    whose rounding may exceed the tolerance."""
    import numpy as np

    pixels = np.random.default_rng(seed_for("test image")).random((1, 3, side, side), dtype=np.float32)
    with without_tf32():
        return float(method.predict(ImageArray(pixels)).pred_score[0])


def _packages() -> dict[str, str]:
    return {name: version(name) for name in ("afrad-bench", "timm", "torch")}


def _versions(card: Card) -> str:
    here = _packages()
    packages = ", ".join(f"{name} {card.packages.get(name, 'unknown')} (here {here[name]})" for name in here)
    return f"written with {packages}; method version {card.method_version}"
