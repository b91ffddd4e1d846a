"""Kept models: an operating point for them, decisions by them, and their export for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from afrad_bench.cli.options import JsonOption
from afrad_bench.errors import fail

ModelArgument = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A file from `run --keep-models` or `AFRAD.save`.")
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]


def calibrate(
    model: ModelArgument,
    normal: Annotated[list[Path], typer.Option("--normal", help="Normal images or folders of them; repeatable.")],
    anomalous: Annotated[
        list[Path] | None, typer.Option("--anomalous", help="Anomalous ones, for --best-f1; repeatable.")
    ] = None,
    false_alarms: Annotated[
        float | None,
        typer.Option("--false-alarms", min=0.0001, max=0.9, help="Accepted rate of false alarms; default: 0.01."),
    ] = None,
    best_f1: Annotated[bool, typer.Option("--best-f1", help="The threshold of the best F1 instead.")] = False,
    split: Annotated[
        Literal["held_out", "train", "test"],
        typer.Option("--split", help="What the images are to the model; kept and shown with every decision."),
    ] = "held_out",
    device: DeviceOption = "auto",
) -> None:
    """Choose the threshold of a kept model on images, and write it into the model file."""
    from afrad_bench.cli.screen import console, models
    from afrad_bench.deploy.deciding import calibrate as choose

    if best_f1 and false_alarms is not None:
        raise fail("two rules for one threshold", "--best-f1, --false-alarms", "give one of them")
    if best_f1 != bool(anomalous):
        raise fail(
            "the best F1 needs anomalous images, a rate of false alarms uses none",
            "--anomalous",
            "give --best-f1 and --anomalous together, or neither",
        )
    rate = None if best_f1 else 0.01 if false_alarms is None else false_alarms
    data = ", ".join(path.name for path in (*normal, *(anomalous or ())))
    models.show_point(console.make(), choose(model, normal, anomalous or [], rate, split, data, device))


def predict(
    model: ModelArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")],
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Say of each image whether it is anomalous, at the operating point of the model."""
    from afrad_bench.cli.screen import console, models
    from afrad_bench.deploy.deciding import decide

    found = decide(model, images, device)
    if as_json:
        console.show_json(models.decision_rows(found))
    else:
        models.show_decisions(console.make(), found)


def export(
    model: ModelArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: NAME.onnx, NAME.pt2 or NAME.pt.")],
    form: Annotated[
        Literal["onnx", "torchscript", "pt2"] | None,
        typer.Option("--format", help="Default: by the suffix of OUT. pt2 is from torch.export."),
    ] = None,
    precision: Annotated[
        Literal["fp32", "fp16", "int8"], typer.Option("--precision", help="Of an ONNX file, by ONNX Runtime's tools.")
    ] = "fp32",
    images: Annotated[
        list[Path] | None, typer.Option("--images", help="Normal images by which int8 is scaled; repeatable.")
    ] = None,
) -> None:
    """Export a model to one file for other runtimes (images in, maps and scores out), and check its outputs."""
    from afrad_bench.cli.screen import console, models
    from afrad_bench.deploy.export import export as write_export

    models.show_export(console.make(), write_export(model, out, form, precision, images or []))
