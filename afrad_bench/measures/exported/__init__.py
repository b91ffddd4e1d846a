"""Exported: the ONNX files that a deployment would run, measured beside the fitted method they were made of.

Each file is written from the fitted method, executed by ONNX Runtime, and compared with the method on all test images:
I-AUROC, latency, size, the largest difference of scores and maps, and the labels that flip at the operating point."""

from __future__ import annotations

from collections.abc import Iterator

from afrad_bench.measures._subject.decided_by import check
from afrad_bench.measures.exported.config import METRICS, Config
from afrad_bench.types import Measurement, Subject

__all__ = ["METRICS", "TERMS", "VERSION", "Config", "check", "measure"]

VERSION = "1"
TERMS: tuple[str, ...] = ("device", "device_name", "threads")


def measure(subject: Subject, config: Config) -> Iterator[Measurement]:
    """Write, run and compare each file of the configuration.

    Raises `UserError` if the packages for ONNX are missing. A file that cannot be made has null values, with the
    reason."""
    from afrad_bench.measures.exported.evaluate import evaluate

    yield from evaluate(subject, config)
