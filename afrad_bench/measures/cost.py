"""Cost: time, images and epochs of the fit, and peak memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from afrad_bench.machine.environment import device_type
from afrad_bench.machine.peak_memory import MEASURED, PeakMemory
from afrad_bench.types import Measurement, Metric, Subject

VERSION = "2"
OF_THE_FIT = True
"""It reports the fit itself, which a kept model cannot tell."""
TERMS: tuple[str, ...] = ("device", "device_name", "threads")
METRICS: Mapping[str, Metric] = {
    "fit_seconds": Metric("Fit (s)", "s", False, "wall time of the fit, without that of backbone features", decimals=1),
    "fit_feature_seconds": Metric(
        "features (s)",
        "s",
        False,
        "wall time of the backbone features that the fit computed",
        decimals=1,
        headline=False,
    ),
    "fit_images": Metric(
        "images seen", "images", False, "training images processed, with repetition", decimals=0, headline=False
    ),
    "fit_epochs": Metric(
        "epochs", "epochs", False, "passes that changed parameters; 0 for a closed form", decimals=0, headline=False
    ),
    "fit_peak_memory": Metric(
        "Fit, peak (MiB)", "MiB", False, "peak memory of the fit; what it is depends on the device", decimals=0
    ),
    "predict_peak_memory": Metric(
        "predict, peak (MiB)",
        "MiB",
        False,
        "peak memory that torch allocated on a CUDA device while one image was scored, the model included",
        decimals=0,
        headline=False,
    ),
}
MEBI = 1024**2


class Config(BaseModel):
    """No options: the harness records time and memory during the fit."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def measure(subject: Subject, config: Config) -> Iterator[Measurement]:
    """Report what the harness recorded during the fit, and on CUDA the memory of one prediction."""
    record = subject.record
    note = "; ".join(record.notes)
    resumed = f"resumed at epoch {record.resumed_at}: of the last run only" if record.resumed_at else ""
    doubts = f"unreliable: {', '.join(subject.fit_doubts)}" if subject.fit_doubts else ""
    fit_note = "; ".join(filter(None, [doubts, resumed, _where(subject), _features(subject), note]))
    yield _row("fit_seconds", subject.fit_seconds, fit_note)
    if subject.feature_seconds or subject.features_found:
        told = "; ".join(filter(None, [doubts, _features(subject)]))
        yield _row("fit_feature_seconds", subject.feature_seconds, told)
    else:
        yield _row("fit_feature_seconds", None, "the fit read no features from the shared cache")
    yield _row("fit_images", float(record.images_seen), note)
    yield _row("fit_epochs", float(record.epochs), note)
    if subject.fit_peak_bytes is None:
        yield _row("fit_peak_memory", None, "not measured during this fit")
    else:
        meaning = MEASURED[device_type(subject.device)]
        peak = subject.fit_peak_bytes / MEBI
        yield _row("fit_peak_memory", peak, "; ".join(filter(None, [resumed, meaning, _features(subject)])))
    yield _predict_peak(subject)


def _predict_peak(subject: Subject) -> Measurement:
    if device_type(subject.device) != "cuda":
        return _row(
            "predict_peak_memory",
            None,
            f"not measured on {subject.device}: after a fit, memory kept for reuse hides what one prediction needs",
        )
    from afrad_bench.measures._subject.scoring import scoring

    call = scoring(subject).call
    call()  # what only the first call allocates does not belong to a prediction
    with PeakMemory(subject.device, baseline=subject.bytes_before) as peak:
        call()
    return _row("predict_peak_memory", peak.bytes / MEBI, f"{MEASURED['cuda']}, batch 1, after one warm-up call")


def _features(subject: Subject) -> str:
    """Whether the backbone ran during the fit; empty for a fit that reads no shared features."""
    if subject.feature_seconds:
        return f"the backbone ran during the fit, for {subject.feature_seconds:.1f} s"
    return "backbone features were found in the cache" if subject.features_found else ""


def _where(subject: Subject) -> str:
    return f"{subject.device}, {subject.threads} thread{'s' if subject.threads != 1 else ''}"


def _row(metric: str, value: float | None, note: str) -> Measurement:
    return Measurement(metric, value, METRICS[metric].unit, note=note)
