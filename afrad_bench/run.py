"""Running cells: build, fit, measure, append. One cell in, one run out; what fails becomes a row, not a crash."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from afrad_bench import kept_maps, model_file, registry
from afrad_bench.environment import Environment
from afrad_bench.features import FeatureCache
from afrad_bench.images import test_images, train_images
from afrad_bench.peak_memory import PeakMemory
from afrad_bench.plan import Plan, PlannedCell, environment_row
from afrad_bench.selection import ChosenMeasure
from afrad_bench.store import Store, new_run_id
from afrad_bench.types import (
    Bench,
    Cell,
    Curve,
    Example,
    HasState,
    Measurement,
    Method,
    Result,
    Score,
    Seeds,
    Stopped,
    Subject,
    TrainingRecord,
    Watch,
    canonical,
    digest,
    seed_for,
    unwatched,
)

TABLES: Mapping[type[Result], str] = {
    Measurement: "measurements",
    Score: "scores",
    Curve: "curves",
    Example: "examples",
}
"""Where the store keeps what measures yield."""

Judge = Callable[[Subject], bool]
"""Looks at a method in the middle of its training, and says whether that goes on."""


@dataclass
class Stopwatch:
    """Seconds by phase. A phase inside another counts for itself only; what no phase claims is overhead."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began, before = time.perf_counter(), self.total
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began - (self.total - before))

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Done:
    """What became of a cell."""

    planned: PlannedCell
    status: str
    """"ok", "failed", or "stopped" by a judge."""
    error: str
    seconds: float
    model: Path | None = None
    """The file in which the fitted method was kept."""


def run_suite(
    plan: Plan,
    cells: Sequence[PlannedCell],
    store: Store,
    cache: Path | None,
    cache_limit: int,
    force: bool = False,
    watch: Watch = unwatched,
    startup: Mapping[str, float] | None = None,
    keep_models: bool = False,
    judge: Judge | None = None,
    keep_maps: bool = False,
) -> Iterator[Done]:
    """Run these cells one after the other and append each run as it ends. `force` measures what is done again;
    `keep_models` writes the fitted method of each complete run to a file, if the method offers its state; `keep_maps`
    what it says of the test images, for `recompute`.

    `judge` is asked after each epoch of a method that trains (`fitting.train_epochs`) whether it goes on.
    `startup`: seconds that the process spent before, by phase; they are booked on the first cell."""
    features = FeatureCache(cache, cache_limit, watch)
    before = dict(startup or {})
    for planned in cells:
        measures = planned.measures if force else planned.open
        maps = kept_maps.place_of(store.root, planned.cell) if keep_maps else None
        runner = _CellRun(plan, planned, measures, features, cache, watch, before, judge, maps)
        row, found = runner.run()
        stored = Stopwatch()
        with stored.phase("store"):
            store.append(row, **found)
        if row["status"] != "failed" and runner.checkpoint is not None:
            _forget(runner.checkpoint)
        model = None
        if keep_models and row["status"] == "ok":
            with stored.phase("store"):
                model = runner.keep(model_file.place_of(store.root, planned.cell))
        before = stored.seconds  # an append is over only after its row is written: it is booked on the next cell
        yield Done(planned, row["status"], row["error"] or "", runner.clock.total, model)


class _CellRun:
    """One run of one cell."""

    def __init__(
        self,
        plan: Plan,
        planned: PlannedCell,
        measures: Sequence[ChosenMeasure],
        features: FeatureCache,
        cache: Path | None,
        watch: Watch,
        before: Mapping[str, float],
        judge: Judge | None,
        maps: Path | None,
    ) -> None:
        self.plan = plan
        self.planned = planned
        self.cell = planned.cell
        self.environment: Environment = plan.environment
        self.measures = measures
        self.features = features
        self.watch = watch
        self.judge = judge
        self.clock = Stopwatch(dict(before))
        identity = digest(canonical(dict(planned.terms)))[:8]
        self.checkpoint = None if cache is None else cache / "checkpoints" / f"{self.cell.id}-{identity}.pt"
        self.maps = maps
        self.subject: Subject | None = None
        """The fitted method, once there is one."""

    def run(self) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
        """The row for `cells` and the rows of the other tables, by their names. Interrupts pass; every fault of the
        method or of a measure is recorded."""
        began, ticks = datetime.now(timezone.utc), time.perf_counter()
        booked = self.clock.total
        self.features.notes.clear()
        rows: dict[str, list[dict[str, Any]]] = {table: [] for table in TABLES.values()}
        outcomes: dict[str, dict[str, Any]] = {}
        error, trace = "", ""
        try:
            self.subject = self._subject()
        except Stopped as stop:
            self._account(ticks, booked)
            return self._row(began, stop.record, {}, "stopped", str(stop), ""), rows
        except Exception as fault:  # noqa: BLE001 - a method may fail in any way; the suite goes on, the row says how
            error, trace = _told(fault), traceback.format_exc()
        for measure in self.measures:
            outcome = {
                "version": registry.find("measure", measure.name).load().VERSION,
                "terms": self.planned.measure_terms(measure, self.environment),
                "status": "failed",
                "error": error,
            }
            outcomes[measure.name] = outcome
            if self.subject is None:
                continue
            try:
                found = self._measured(measure, self.subject)
            except Exception as fault:  # noqa: BLE001 - as above; the other measures go on
                outcome["error"] = _told(fault)
                error = error or f"{measure.name}: {outcome['error']}"
                trace = trace or traceback.format_exc()
                continue
            outcome["status"] = "ok"
            source = {"measure": measure.name, "measure_version": outcome["version"]}
            for one in found:
                rows[TABLES[type(one)]].append(columns_of(one) | (source if isinstance(one, Measurement) else {}))
        self._account(ticks, booked)
        record = self.subject.record if self.subject else None
        row = self._row(began, record, outcomes, "failed" if error else "ok", error, trace)
        return row, rows

    def _account(self, ticks: float, booked: float) -> None:
        """Book the time since `ticks` that no phase claimed; `booked` seconds were on the clock then."""
        self.clock.add("overhead", time.perf_counter() - ticks - (self.clock.total - booked))

    def keep(self, path: Path) -> Path | None:
        """Write the fitted method to a file; None if it offers no state."""
        if self.subject is None or not isinstance(self.subject.method, HasState):
            return None
        cell, dataset = self.cell, self.planned.dataset
        name = f"{cell.dataset}/{cell.category}" if cell.category else cell.dataset
        about = model_file.trained_on(name, dataset.fingerprint, len(dataset.train), cell.seed, self.subject.record)
        config = registry.find("method", cell.method).load().Config.model_validate_json(cell.params)
        card = model_file.card_of(cell.method, config, cell.image_size, self.planned.weights, about)
        return model_file.write(path, self.subject.method, card)

    def _subject(self) -> Subject:
        """The fitted method, and what it may be measured on."""
        import torch

        device = self.environment.device
        torch.set_num_threads(self.environment.threads)
        side = self.cell.image_size
        train, test = train_images(self.planned.dataset, side), test_images(self.planned.dataset, side)

        def shown(record: TrainingRecord, peak_bytes: int | None = None) -> Subject:
            return Subject(
                cell=self.cell,
                method=method,
                dataset=self.planned.dataset,
                test=test,
                train=train,
                record=record,
                fit_seconds=self.clock.seconds.get("fit", 0.0),
                fit_peak_bytes=peak_bytes,
                device=device,
                threads=self.environment.threads,
                watch=self.watch,
            )

        with self._phase("build"):
            goes_on = None if self.judge is None else lambda so_far: self._judged(shown(so_far))
            method = build(self.cell, device, self.features, self.checkpoint, self.watch, goes_on)
        computed, found = self.features.seconds, self.features.found
        with self.clock.phase("peak memory"), PeakMemory(device) as peak, self._phase("fit"):
            record = method.fit(train)
        return replace(
            shown(record, peak.bytes),
            feature_seconds=self.features.seconds - computed,
            features_found=self.features.found > found,
        )

    def _judged(self, subject: Subject) -> bool:
        """What the judge says; its time is no time of the fit."""
        assert self.judge is not None
        with self.clock.phase("validation"):
            return self.judge(subject)

    def _measured(self, measure: ChosenMeasure, subject: Subject) -> list[Result]:
        module = registry.find("measure", measure.name).load()
        config = module.Config.model_validate_json(measure.options)
        with self._phase(measure.name):
            if self.maps is None or measure.name != "accuracy":
                return list(module.measure(subject, config))
            with kept_maps.Keeping(subject.method, self.maps, self.planned.terms) as keeping:
                return list(module.measure(replace(subject, method=keeping), config))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """A phase, with the computing of backbone features (shared by cells) booked apart from it."""
        already = self.features.seconds
        with self.clock.phase(name):
            yield
            if self.features.seconds > already:
                self.clock.add("features", self.features.seconds - already)

    def _row(
        self,
        began: datetime,
        record: TrainingRecord | None,
        outcomes: Mapping[str, Mapping[str, Any]],
        status: str,
        error: str,
        trace: str,
    ) -> dict[str, Any]:
        planned, cell, weights = self.planned, self.cell, self.planned.weights
        backbone = cell.config.get("backbone") or {}
        notes = [*planned.notes, *planned.dataset.notes, *(record.notes if record else ()), *self.features.notes]
        if weights is not None and weights.path is None:
            notes.insert(0, "random weights: the backbone was never trained")
        return {
            **environment_row(self.environment),
            "run_id": new_run_id(),
            "cell_id": cell.id,
            "started_at": began,
            "ended_at": datetime.now(timezone.utc),
            "method": cell.method,
            "label": planned.row.label,
            "dataset": cell.dataset,
            "setting": cell.setting,
            "seed": cell.seed,
            "profile": cell.profile,
            "suite": self.plan.selection.suite,
            "category": cell.category,
            "params": cell.params,
            "dataset_params": cell.dataset_params,
            "data_root": planned.chosen.root,
            "image_size": cell.image_size,
            "status": status,
            "error": error or None,
            "traceback": trace or None,
            "measures": canonical(outcomes),
            "terms": canonical(dict(planned.terms)),
            "overrides": canonical(list(self.plan.selection.overrides)),
            "notes": canonical(list(dict.fromkeys(notes))),
            "data_fingerprint": planned.dataset.fingerprint,
            "dataset_version": planned.dataset.version,
            "method_version": planned.terms["method_version"],
            "backbone": backbone.get("name"),
            "weights": weights.label if weights else None,
            "weights_hash": weights.sha256 if weights else None,
            "epochs": record.epochs if record else None,
            "images_seen": record.images_seen if record else None,
            "final_loss": record.loss[-1] if record and record.loss else None,
            "resumed_at": record.resumed_at if record else None,
            "timings": canonical({name: round(value, 4) for name, value in self.clock.seconds.items()}),
        }


def build(
    cell: Cell,
    device: str,
    features: FeatureCache,
    checkpoint: Path | None = None,
    watch: Watch = unwatched,
    goes_on: Callable[[TrainingRecord], bool] | None = None,
) -> Method:
    """The method of a cell, not fitted yet."""
    module = registry.find("method", cell.method).load()
    order = seed_for(cell.seed, cell.dataset, cell.setting, cell.category, "order")
    bench = Bench(
        device=device,
        image_size=cell.image_size,
        seeds=Seeds(init=seed_for(cell.seed, cell.method, "init"), order=order),
        features=features,
        checkpoint=checkpoint,
        watch=watch,
        goes_on=goes_on,
    )
    made: Method = module.build(module.Config.model_validate_json(cell.params), bench)
    return made


def _forget(checkpoint: Path) -> None:
    """Remove the checkpoint of a finished cell, and what kills left of it half-written."""
    checkpoint.unlink(missing_ok=True)
    for scratch in checkpoint.parent.glob(f".{checkpoint.name}.*"):
        scratch.unlink(missing_ok=True)


def columns_of(value: Result) -> dict[str, Any]:
    """What a measure yielded as a row of its table."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _told(fault: Exception) -> str:
    """The first line of an error, with its type where the text alone says little."""
    lines = str(fault).splitlines()
    return f"{type(fault).__name__}: {lines[0] if lines else ''}".rstrip(": ")
