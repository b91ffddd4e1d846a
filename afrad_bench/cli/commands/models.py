"""Export of fitted models for other runtimes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file from `run --keep-models` or `AFRAD.save`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: NAME.onnx, NAME.pt2 or NAME.pt.")],
    form: Annotated[
        Literal["onnx", "torchscript", "pt2"] | None,
        typer.Option("--format", help="Default: by the suffix of OUT. pt2 is from torch.export."),
    ] = None,
) -> None:
    """Export a model to one file for other runtimes (images in, anomaly maps and scores out), and check its outputs."""
    from afrad_bench.cli.screen import console, models
    from afrad_bench.deploy.export import export as write_export

    models.show_export(console.make(), write_export(model, out, form))
