"""Writes, runs and compares the exported files of a fitted method."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from afrad_bench.deploy import onnx_file
from afrad_bench.deploy.export import OUTPUTS, TURNS
from afrad_bench.errors import first_line
from afrad_bench.instruments.clock import clock_for, pinned_threads
from afrad_bench.instruments.metrics import Undefined, auroc
from afrad_bench.instruments.operating import is_anomalous
from afrad_bench.instruments.timing import Limits, timed, watched
from afrad_bench.measures._subject.deciding import labels_of, point_of, test_scores
from afrad_bench.measures.exported.config import CHECKPOINT, METRICS, TITLES, Config
from afrad_bench.types import HasLoop, HasNetwork, Measurement, OperatingPoint, Subject

if TYPE_CHECKING:
    from afrad_bench.deploy.onnx_file import Runner
    from afrad_bench.types import FloatArray

BATCH = 8
"""Images per call while scores are compared."""
MEBI = 2**20


def evaluate(subject: Subject, config: Config) -> Iterator[Measurement]:
    """See `exported.measure`."""
    onnx_file.must_be_installed("exported")
    method = subject.method
    if refusal := _refusal(subject):
        yield from (_empty(name, refusal) for name in METRICS if name.startswith((CHECKPOINT, *config.files)))
        return
    assert isinstance(method, HasNetwork)
    network = _on_the_cpu(method.network(), subject.device)
    with TemporaryDirectory() as folder:
        yield from _Comparison(subject, config, network, Path(folder)).measurements()


def _refusal(subject: Subject) -> str:
    """Why the method cannot be exported; empty if it can."""
    method = subject.method
    if not isinstance(method, HasNetwork):
        return "the method offers no network that could be exported"
    turns = method.loop().turns if isinstance(method, HasLoop) else 1
    return f"its network repeats a loop {turns} times, of {TURNS} at most in a file" if turns > TURNS else ""


def _on_the_cpu(network: torch.nn.Module, device: str) -> torch.nn.Module:
    """The network in eval mode; a copy if it lies elsewhere, since the measured method must stay as it is."""
    return (network if device == "cpu" else deepcopy(network).to("cpu")).eval()


@dataclass(frozen=True, eq=False)
class _Comparison:
    """The fitted method and its files, on the same test images."""

    subject: Subject
    config: Config
    network: torch.nn.Module
    folder: Path

    def measurements(self) -> Iterator[Measurement]:
        subject = self.subject
        scores, labels = test_scores(subject), labels_of(subject)
        try:
            point: OperatingPoint | str = point_of(subject, self.config, scores)
        except Undefined as undefined:
            point = undefined.reason
        with pinned_threads(subject.threads):
            yield from self._of(CHECKPOINT, self._by_torch, scores, labels)
            plain = self.folder / "onnx_fp32.onnx"
            onnx_file.write(self.network, torch.from_numpy(self._pair()), OUTPUTS, {}, plain)
            for name in self.config.files:
                try:
                    path = self._made(name, plain)
                    run = onnx_file.runner(path, subject.threads)
                    found, map_gap = self._compared(run, TITLES[name])
                except Exception as error:  # noqa: BLE001 - a runtime may refuse a file in any way; the row says so
                    why = f"this file cannot be used: {type(error).__name__}: {first_line(str(error))}"
                    yield from (_empty(metric, why) for metric in METRICS if metric.startswith(f"{name}_"))
                    continue
                yield from self._of(name, run, found, labels)
                yield _measured(name, "size", path.stat().st_size / MEBI, "")
                note = f"over {len(scores)} test images"
                score_gap = float(np.abs(found - scores).max() / np.abs(scores).max())
                yield _measured(name, "score_difference", score_gap, note)
                yield _measured(name, "map_difference", map_gap, note)
                yield self._flips(name, found, scores, point)

    def _of(self, name: str, run: Runner, scores: FloatArray, labels: Any) -> Iterator[Measurement]:
        """I-AUROC and latency."""
        subject, of = self.subject, [sample.category for sample in self.subject.dataset.test]
        values, note = [], ""
        for category in subject.dataset.categories:
            mine = [i for i, other in enumerate(of) if other == category]
            try:
                values.append(auroc(scores[mine], labels[mine]))
            except Undefined as undefined:
                note = f"without {category}: {undefined.reason}"
        yield _measured(name, "image_auroc", float(np.mean(values)) if values else None, note)
        config, image = self.config, subject.test.subset([0]).array()
        limits = Limits(config.warmup, config.warmup_seconds, config.repeats, config.max_seconds)
        timing = watched(lambda: timed(lambda: run(image), clock_for("cpu"), limits))
        doubt = f"unreliable: {', '.join(timing.doubts)}; " if timing.doubts else ""
        runtime = "torch" if name == CHECKPOINT else "ONNX Runtime"
        threads = f"{subject.threads} thread{'s' if subject.threads != 1 else ''}"
        where = f"{runtime} on the CPU, image in memory -> map and score, in memory; {threads}"
        yield _measured(name, "latency", timing.percentile(50), f"{doubt}{where}; n={len(timing.times_ms)}")

    def _by_torch(self, images: Any) -> tuple[Any, ...]:
        with torch.inference_mode():
            return tuple(each.numpy() for each in self.network(torch.from_numpy(images)))

    def _pair(self) -> Any:
        return np.concatenate([self.subject.test.subset([0]).array()] * 2)

    def _made(self, name: str, plain: Path) -> Path:
        if name == "onnx_fp32":
            return plain
        out = self.folder / f"{name}.onnx"
        if name == "onnx_fp16":
            onnx_file.to_fp16(plain, out)
        else:
            train = self.subject.train
            count = min(self.config.calibration_images, len(train))
            spread = train.subset([i * len(train) // count for i in range(count)])
            onnx_file.to_int8(plain, out, (batch.array() for batch in spread.batches(1)))
        return out

    def _compared(self, run: Runner, title: str) -> tuple[FloatArray, float]:
        """The file's scores of all test images, and the largest relative difference of its maps from torch's."""
        scores, gap, largest, done = [], 0.0, 0.0, 0
        for batch in self.subject.test.batches(BATCH):
            images = batch.array()
            (maps, score), (wanted, _) = run(images)[:2], self._by_torch(images)
            scores.append(score)
            gap, largest = max(gap, float(np.abs(maps - wanted).max())), max(largest, float(np.abs(wanted).max()))
            done += len(batch)
            self.subject.watch(done, len(self.subject.test), f"comparing {title}")
        found = np.concatenate(scores)
        if bad := int(np.count_nonzero(~np.isfinite(found))):
            raise ValueError(f"{bad} of {len(found)} image scores are not finite")
        return found, gap / largest

    def _flips(self, name: str, found: FloatArray, scores: FloatArray, point: OperatingPoint | str) -> Measurement:
        if isinstance(point, str):
            return _measured(name, "flips", None, point)
        flips = int((is_anomalous(found, point) != is_anomalous(scores, point)).sum())
        note = f"of {len(scores)} test images, at the threshold for {point}"
        return _measured(name, "flips", float(flips), note)


def _measured(name: str, what: str, value: float | None, note: str) -> Measurement:
    metric = f"{name}_{what}"
    return Measurement(metric, value, METRICS[metric].unit, note=note)


def _empty(metric: str, why: str) -> Measurement:
    return Measurement(metric, None, METRICS[metric].unit, note=why)
