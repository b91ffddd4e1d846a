"""A fitted method as one file for other runtimes: ONNX, torch.export (`.pt2`), TorchScript.

The file holds the whole inference path: images (B, 3, S, S) float32, RGB in [0, 1], for any B -> anomaly_map (B, S, S)
and pred_score (B,). Normalisation, backbone and scoring are inside; reading images and resizing them is not: a Python
file beside it does that. Before the file gets its name, it is run in its own runtime and compared with the model."""

from __future__ import annotations

import inspect
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench.deploy import input_file, model_file
from afrad_bench.deploy.model_file import Card
from afrad_bench.errors import Problem, UserError, fail, first_line
from afrad_bench.hashing import seed_for
from afrad_bench.types import HasLoop, HasNetwork, Method

if TYPE_CHECKING:
    import numpy as np
    import torch

    Float32 = np.ndarray[Any, np.dtype[np.float32]]
    Outputs = tuple[Float32, Float32]
    Runner = Callable[[Float32], Outputs]

Format = Literal["onnx", "torchscript", "pt2"]

SUFFIXES: dict[str, Format] = {".onnx": "onnx", ".pt2": "pt2", ".pt": "torchscript", ".ts": "torchscript"}
TOLERANCE = 1e-4
"""Largest accepted difference, relative to the largest value of the output."""
BATCHES = (1, 3)
"""Batch sizes of the comparison; the file is exported with a batch of two."""
INPUT, OUTPUTS = "images", ("anomaly_map", "pred_score")
LEGACY_OPSET = 17
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
    tolerance: float = TOLERANCE


def export(model: Path, out: Path, form: Format | None = None) -> Exported:
    """Export the model file `model` to `out`, in the format `form` or by default that of `out`'s suffix.

    Raises `UserError` for an unknown suffix, missing packages, a method without a network or with too long a loop,
    and a file whose outputs differ from the model's (it is deleted)."""
    form = form or _format_of(out)
    _must_be_installed(form)
    beside = input_file.place_beside(out)
    restored = model_file.load(model, "cpu")
    if not isinstance(restored.method, HasNetwork):
        raise fail(f"{restored.card.method} offers no network that could be exported", str(model))
    _must_be_short(restored.method, model)
    network = restored.method.network().eval()
    side = restored.card.image_size
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_name(f".{uuid.uuid4().hex}.{out.name}")
    try:
        _write(form, network, side, restored.card, scratch)
        checks = _compare(network, _runner(form, scratch), side)
        _must_agree(checks, form, out)
        with scratch.open("rb+") as file:
            os.fsync(file.fileno())
        input_file.write(beside, side, restored.card.trained_on.white)
        scratch.replace(out)
    finally:
        scratch.unlink(missing_ok=True)
    return Exported(out, form, _runtime(form), side, out.stat().st_size, checks, beside)


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

    needed = ("onnx", "onnxscript", "onnxruntime") if form == "onnx" else ()
    if missing := [name for name in needed if find_spec(name) is None]:
        raise fail(
            f"writing and checking ONNX needs {', '.join(missing)}", "--format", "pip install 'afrad-bench[export]'"
        )
    if form == "torchscript" and not hasattr(torch.jit, "trace"):
        raise fail(f"torch {torch.__version__} no longer has TorchScript", "--format", "use pt2 or onnx")


# ------------------------------------------------------------------------------------------------------------- writing


def _write(form: Format, network: torch.nn.Module, side: int, card: Card, path: Path) -> None:
    import torch

    example = torch.from_numpy(_images(2, side))
    with torch.no_grad(), _exporters_quiet():
        if form == "onnx":
            _write_onnx(network, example, card, path)
        elif form == "pt2":
            try:
                program = torch.export.export(network, (example,), dynamic_shapes=({0: _batch(network)},))
            except RuntimeError as error:  # torch's base class for what its exporter does not support
                raise fail(
                    f"torch.export cannot write this network for every number of images: {first_line(str(error))}",
                    hint=f"try another format: {', '.join(sorted(set(SUFFIXES.values()) - {form}))}",
                ) from error
            torch.export.save(program, path)
        else:
            torch.jit.trace(network, example, check_trace=False).save(str(path))


def _batch(network: torch.nn.Module) -> Any:
    """Any number of images, or up to the `largest_batch` of a network that computes larger ones in another way."""
    import torch

    return torch.export.Dim("batch", max=getattr(network, "largest_batch", None))


def _write_onnx(network: torch.nn.Module, example: torch.Tensor, card: Card, path: Path) -> None:
    import onnx
    import torch

    names: dict[str, Any] = {"input_names": [INPUT], "output_names": list(OUTPUTS)}
    if "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters:
        shapes = ({0: _batch(network)},)
        program = torch.onnx.export(network, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
        assert program is not None
        proto = program.model_proto
    else:  # torch 2.4: only the exporter based on TorchScript supports a dynamic batch axis
        axes = {name: {0: "batch"} for name in (INPUT, *OUTPUTS)}
        torch.onnx.export(network, (example,), str(path), opset_version=LEGACY_OPSET, dynamic_axes=axes, **names)
        proto = onnx.load(str(path))
    onnx.helper.set_model_props(proto, {model_file.KEY: card.model_dump_json()})
    onnx.save(proto, str(path))


@contextmanager
def _exporters_quiet() -> Iterator[None]:
    """Silence the exporters' warnings of deprecation and of Python branches; the written file is checked instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ------------------------------------------------------------------------------------------------------------ checking


def _runner(form: Format, path: Path) -> Runner:
    """The written file as a function, executed by the runtime of its format."""
    if form == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])

        def run(images: Float32) -> Outputs:
            anomaly_map, pred_score = session.run(list(OUTPUTS), {INPUT: images})
            return anomaly_map, pred_score

        return run
    import torch

    with _exporters_quiet():
        loaded = torch.export.load(path).module() if form == "pt2" else torch.jit.load(str(path))
    return _as_runner(loaded)


def _as_runner(network: torch.nn.Module) -> Runner:
    import torch

    def run(images: Float32) -> Outputs:
        with torch.no_grad():
            anomaly_map, pred_score = network(torch.from_numpy(images))
        return anomaly_map.numpy(), pred_score.numpy()

    return run


def _compare(network: torch.nn.Module, written: Runner, side: int) -> tuple[Check, ...]:
    original = _as_runner(network)
    checks = []
    for batch in BATCHES:
        images = _images(batch, side)
        differences = [_difference(a, b) for a, b in zip(written(images), original(images), strict=True)]
        checks.append(Check(batch, *differences))
    return tuple(checks)


def _difference(found: Float32, wanted: Float32) -> float:
    """Largest absolute difference over the largest absolute value; infinite for unequal shapes or non-finite values."""
    import numpy as np

    if found.shape != wanted.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def _must_agree(checks: tuple[Check, ...], form: Format, out: Path) -> None:
    problems = [
        Problem(
            f"the {form} file and the model differ on a batch of {each.batch}: relative difference "
            f"{each.map_difference:.1e} of the map, {each.score_difference:.1e} of the score, allowed {TOLERANCE:g}",
            str(out),
            f"nothing was written; try another format: {', '.join(sorted(set(SUFFIXES.values()) - {form}))}",
        )
        for each in checks
        if not max(each.map_difference, each.score_difference) <= TOLERANCE
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
