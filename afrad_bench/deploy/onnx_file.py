"""ONNX files of a network: float32 by torch's exporter, float16 and int8 by ONNX Runtime's own tools."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from afrad_bench.errors import fail

if TYPE_CHECKING:
    import numpy as np
    import torch

    Float32 = np.ndarray[Any, np.dtype[np.float32]]
    Runner = Callable[[Float32], tuple[Any, ...]]

Precision = Literal["fp32", "fp16", "int8"]

INPUT = "images"
LEGACY_OPSET = 17
NEEDED = ("onnx", "onnxscript", "onnxruntime")
QUANTISED = ("Conv",)
"""Operators that int8 computes. The rest stays float32: products of matrices are mostly distances and attention here,
and 8 bits lose the small differences that scores consist of."""


def must_be_installed(where: str) -> None:
    """Raise `UserError`, with the command that installs them, if packages for ONNX are missing."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise fail(f"writing and checking ONNX needs {', '.join(missing)}", where, "pip install 'afrad-bench[export]'")


def write(
    network: torch.nn.Module, example: torch.Tensor, outputs: Sequence[str], props: Mapping[str, str], path: Path
) -> None:
    """Write the network for any number of images, with these metadata. `example`: (B, 3, S, S), B at least 2."""
    import onnx
    import torch

    names: dict[str, Any] = {"input_names": [INPUT], "output_names": list(outputs)}
    with torch.no_grad(), exporters_quiet():
        if "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters:
            shapes = ({0: batch_of(network)},)
            program = torch.onnx.export(network, (example,), dynamo=True, dynamic_shapes=shapes, verbose=False, **names)
            assert program is not None
            proto = program.model_proto
        else:  # torch 2.4: only the exporter based on TorchScript supports a dynamic batch axis
            axes = {name: {0: "batch"} for name in (INPUT, *outputs)}
            torch.onnx.export(network, (example,), str(path), opset_version=LEGACY_OPSET, dynamic_axes=axes, **names)
            proto = onnx.load(str(path))
    onnx.helper.set_model_props(proto, dict(props))
    for part in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.initializer):
        part.ClearField("metadata_props")  # stack traces of the exporter, with paths of this machine
    onnx.save(proto, str(path))


def batch_of(network: torch.nn.Module) -> Any:
    """Any number of images, or up to the `largest_batch` of a network that computes larger ones in another way."""
    import torch

    return torch.export.Dim("batch", max=getattr(network, "largest_batch", None))


def to_fp16(path: Path, out: Path) -> None:
    """Convert a float32 file to float16 inside; input and outputs stay float32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with exporters_quiet():
        onnx.save(convert_float_to_float16(onnx.load(str(path)), keep_io_types=True), str(out))


def to_int8(path: Path, out: Path, batches: Iterable[Float32]) -> None:
    """Quantise a float32 file to int8 (weights by channel, activations by the ranges that these images cause).

    The images are normal, so their negatives are used as well: the ranges of normal images alone cut off what anomalies
    cause, and with it the scores that are to be high.
    Weights use 7 of the 8 bits (`reduce_range`), since processors without VNNI instructions overflow otherwise."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    ranged = (each for batch in batches for each in (batch, 1 - batch))

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # a class of an untyped package
        def get_next(self) -> dict[str, Float32] | None:
            batch = next(ranged, None)
            return None if batch is None else {INPUT: batch}

    with TemporaryDirectory() as folder, exporters_quiet():
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )


def runner(path: Path, threads: int | None = None) -> Runner:
    """The file as a function of images (B, 3, S, S) float32, executed by ONNX Runtime on the CPU.

    `threads`: of one operator; None: ONNX Runtime's default."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    return lambda images: tuple(session.run(None, {INPUT: images}))


@contextmanager
def exporters_quiet() -> Iterator[None]:
    """Silence the exporters' warnings of deprecation and of Python branches; the written file is checked instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
