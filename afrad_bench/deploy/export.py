"""A fitted method as one file for other runtimes: ONNX, torch.export (`.pt2`), TorchScript.

The file holds the whole inference path: images (B, 3, S, S) float32, RGB in [0, 1], for any B -> anomaly_map (B, S, S)
and pred_score (B,); of a model with an operating point also normalised_score (B,) and is_anomalous (B,). Normalisation,
backbone and scoring are inside; reading images and resizing them is not: a Python file beside it does that. Before the
file gets its name, it is run in its own runtime and compared with the model."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench.deploy import input_file, model_file, onnx_file
from afrad_bench.deploy.deciding import with_decision
from afrad_bench.deploy.model_file import Card
from afrad_bench.deploy.onnx_file import Precision, batch_of, exporters_quiet
from afrad_bench.errors import Problem, UserError, fail, first_line
from afrad_bench.hashing import seed_for
from afrad_bench.images.intake import batches
from afrad_bench.types import HasLoop, HasNetwork, Method

if TYPE_CHECKING:
    import torch

    from afrad_bench.deploy.onnx_file import Float32, Runner
    from afrad_bench.images.intake import Image

Format = Literal["onnx", "torchscript", "pt2"]

SUFFIXES: dict[str, Format] = {".onnx": "onnx", ".pt2": "pt2", ".pt": "torchscript", ".ts": "torchscript"}
TOLERANCES: dict[Precision, float | None] = {"fp32": 1e-4, "fp16": 2e-2, "int8": None}
"""Largest accepted difference, relative to the largest value of the output. What int8 costs depends on the images, so
the difference on images from a seed says nothing: the measure `exported` tells it."""
BATCHES = (1, 3)
"""Batch sizes of the comparison; the file is exported with a batch of two."""
OUTPUTS, DECIDED = ("anomaly_map", "pred_score"), ("normalised_score", "is_anomalous")
"""Outputs of every file, and the further ones of a model with an operating point."""
CALIBRATION = 100
"""Most images by which int8 is scaled."""
TURNS = 60
"""Most turns of a loop, such as denoising steps, that a file can hold: every turn is written out."""


@dataclass(frozen=True, slots=True)
class Check:
    """Difference between the written file and the model on one batch."""

    batch: int
    map_difference: float
    """Largest difference of the anomaly maps over their largest value."""
    score_difference: float
    """The same for the scores."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written and checked."""

    path: Path
    format: Format
    runtime: str
    """Runtime of the check, with its version."""
    image_size: int
    bytes: int
    checks: tuple[Check, ...]
    input: Path
    """The Python file beside it, with a function that reads images as its input."""
    tolerance: float | None
    """Largest accepted difference; None for int8."""
    card: Card
    """The card of the model."""


def export(
    model: Path,
    out: Path,
    form: Format | None = None,
    precision: Precision = "fp32",
    images: Sequence[Image] = (),
) -> Exported:
    """Export the model file `model` to `out`, in the format `form` or by default that of `out`'s suffix.

    `precision`: of an ONNX file. `images`: normal images by which int8 is scaled; the first `CALIBRATION` are used.
    Raises `UserError` for an unknown suffix, missing packages, a method without a network or with too long a loop,
    and a file whose outputs differ from the model's (it is deleted)."""
    form = form or _format_of(out)
    _must_be_installed(form)
    _must_be_possible(form, precision, images)
    beside = input_file.place_beside(out)
    restored = model_file.load(model, "cpu")
    if not isinstance(restored.method, HasNetwork):
        raise fail(f"{restored.card.method} offers no network that could be exported", str(model))
    _must_be_short(restored.method, model)
    network = restored.method.network().eval()
    if restored.card.operating_point is not None:
        network = with_decision(network, restored.card.operating_point)
    side, white = restored.card.image_size, restored.card.trained_on.white
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{uuid.uuid4().hex}.{out.name}")
    try:
        _write(form, network, side, restored.card, scratch)
        if precision != "fp32":
            first = islice(batches(images, side, 1, white), CALIBRATION) if images else ()
            _convert(scratch, precision, (batch.array() for batch in first))
        checks = _compare(network, _runner(form, scratch), side)
        _must_agree(checks, form, precision, out)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        input_file.write(beside, side, restored.card.trained_on.white)
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)
    size, tolerance = out.stat().st_size, TOLERANCES[precision]
    return Exported(out, form, _runtime(form), side, size, checks, beside, tolerance, restored.card)


def _must_be_possible(form: Format, precision: Precision, images: Sequence[Image]) -> None:
    if precision != "fp32" and form != "onnx":
        raise fail(f"{precision} is offered for ONNX only", "--precision", "name a file .onnx")
    if precision == "int8" and not images:
        raise fail("int8 is scaled by normal images, and none are given", "--images", "e.g. --images train/good")


def _convert(path: Path, precision: Precision, images: Iterable[Float32]) -> None:
    """Replace a float32 file by one of another precision."""
    made = path.with_name(f"{path.name}.{precision}")
    try:
        if precision == "fp16":
            onnx_file.to_fp16(path, made)
        else:
            onnx_file.to_int8(path, made, images)
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)


def _must_be_short(method: Method, model: Path) -> None:
    """Raise `UserError` if the network repeats so many turns that a file with all of them would be of no use."""
    turns = method.loop().turns if isinstance(method, HasLoop) else 1
    if turns > TURNS:
        raise fail(
            f"the network repeats a loop {turns} times for an image; a file writes out every turn, of {TURNS} at most",
            str(model),
            "score images with the model file itself, or choose fewer steps and fit again",
        )


def _format_of(out: Path) -> Format:
    if out.suffix.lower() not in SUFFIXES:
        known = ", ".join(f"{suffix} ({form})" for suffix, form in SUFFIXES.items())
        raise fail(f"no export format has the suffix {out.suffix!r}", str(out), f"known: {known}\nor use --format")
    return SUFFIXES[out.suffix.lower()]


def _must_be_installed(form: Format) -> None:
    import torch

    if form == "onnx":
        onnx_file.must_be_installed("--format")
    if form == "torchscript" and not hasattr(torch.jit, "trace"):
        raise fail(f"torch {torch.__version__} no longer has TorchScript", "--format", "use pt2 or onnx")


# ------------------------------------------------------------------------------------------------------------- writing


def _write(form: Format, network: torch.nn.Module, side: int, card: Card, path: Path) -> None:
    import torch

    example = torch.from_numpy(_images(2, side))
    if form == "onnx":
        outputs = OUTPUTS if card.operating_point is None else (*OUTPUTS, *DECIDED)
        onnx_file.write(network, example, outputs, {model_file.KEY: card.model_dump_json()}, path)
        return
    with torch.no_grad(), exporters_quiet():
        if form == "pt2":
            try:
                program = torch.export.export(network, (example,), dynamic_shapes=({0: batch_of(network)},))
            except RuntimeError as error:  # torch's base class for what its exporter does not support
                raise fail(
                    f"torch.export cannot write this network for every number of images: {first_line(str(error))}",
                    hint=f"try another format: {', '.join(sorted(set(SUFFIXES.values()) - {form}))}",
                ) from error
            torch.export.save(program, path)
        else:
            torch.jit.trace(network, example, check_trace=False).save(str(path))


# ------------------------------------------------------------------------------------------------------------ checking


def _runner(form: Format, path: Path) -> Runner:
    """The written file as a function, executed by the runtime of its format."""
    if form == "onnx":
        return onnx_file.runner(path)
    import torch

    with exporters_quiet():
        loaded = torch.export.load(path).module() if form == "pt2" else torch.jit.load(str(path))
    return _as_runner(loaded)


def _as_runner(network: torch.nn.Module) -> Runner:
    import torch

    def run(images: Float32) -> tuple[Any, ...]:
        with torch.no_grad():
            return tuple(each.numpy() for each in network(torch.from_numpy(images)))

    return run


def _compare(network: torch.nn.Module, written: Runner, side: int) -> tuple[Check, ...]:
    original = _as_runner(network)
    checks = []
    for batch in BATCHES:
        images = _images(batch, side)
        found, wanted = written(images), original(images)
        assert len(found) == len(wanted)
        checks.append(Check(batch, *(_difference(a, b) for a, b in zip(found[:2], wanted[:2], strict=True))))
    return tuple(checks)


def _difference(found: Float32, wanted: Float32) -> float:
    """Largest absolute difference over the largest absolute value; infinite for unequal shapes or non-finite values."""
    import numpy as np

    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _must_agree(checks: tuple[Check, ...], form: Format, precision: Precision, out: Path) -> None:
    tolerance = TOLERANCES[precision]
    if tolerance is None:
        return
    problems = [
        Problem(
            f"the {form} file and the model differ on a batch of {each.batch}: relative difference "
            f"{each.map_difference:.1e} of the map, {each.score_difference:.1e} of the score, allowed {tolerance:g}",
            str(out),
            f"nothing was written; try another format: {', '.join(sorted(set(SUFFIXES.values()) - {form}))}",
        )
        for each in checks
        if not max(each.map_difference, each.score_difference) <= tolerance
    ]
    if problems:
        raise UserError(*problems)


def _images(count: int, side: int) -> Float32:
    """(count, 3, side, side) images from a fixed seed: plain grey, a ramp and noise, mixed in different proportions."""
    import numpy as np

    rng = np.random.default_rng(seed_for("export", side))
    ramp = np.linspace(0, 1, side)[:, None] * np.linspace(0, 1, side)[None, :]
    shares = rng.dirichlet(np.ones(3), count)[:, :, None, None, None]
    noise = rng.random((count, 3, side, side))
    mixed: Float32 = (0.5 * shares[:, 0] + ramp * shares[:, 1] + noise * shares[:, 2]).astype(np.float32)
    return mixed


def _runtime(form: Format) -> str:
    from importlib.metadata import version

    if form == "onnx":
        return f"onnxruntime {version('onnxruntime')}"
    return f"torch {version('torch')}"
