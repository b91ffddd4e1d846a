"""One run of one cell: build, fit, measure. A failure becomes a row of the store, not a crash."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from afrad_bench import registry
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.deploy import model_file
from afrad_bench.errors import UserError
from afrad_bench.hashing import canonical, digest
from afrad_bench.images.depth import white_of
from afrad_bench.images.sets import held_out_images, test_images, train_images
from afrad_bench.machine import lock
from afrad_bench.machine.arithmetic import refused
from afrad_bench.machine.load import LoadWatch
from afrad_bench.machine.peak_memory import PeakMemory, allocated
from afrad_bench.methods.recipes import Undeclared, differences
from afrad_bench.running import kept_maps, kept_models
from afrad_bench.running.build import build
from afrad_bench.running.paths import shortened
from afrad_bench.running.plan import Plan, PlannedCell
from afrad_bench.running.rows import Rows, environment_row, no_rows, outcome_of, rows_of, training_rows
from afrad_bench.running.stopwatch import Stopwatch
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store, new_run_id
from afrad_bench.suite.selection import ChosenMeasure
from afrad_bench.types import (
    HasState,
    Method,
    OperatingPoint,
    Result,
    Stopped,
    Subject,
    TrainingRecord,
    Watch,
    unwatched,
)
from afrad_bench.writing import DiskFull


def _unheard(planned: PlannedCell) -> None:
    """Nobody wants to know that a cell begins."""


@dataclass(frozen=True)
class RunOptions:
    """Options of a run: extra files to keep, and callbacks. Results do not depend on them, unless `should_continue`
    ends a training early."""

    force: bool = False
    """Measure again what is already done."""
    keep_models: bool = False
    """Write the fitted method of each complete run to a file, if the method has a state (`HasState`)."""
    keep_maps: bool = False
    """Write the anomaly maps of the test images to a file, for `recompute`."""
    watch: Watch = unwatched
    started: Callable[[PlannedCell], None] = _unheard
    """Called when the run of a cell begins."""
    should_continue: Callable[[Subject], bool] | None = None
    """Called after each epoch with the method as trained so far; False stops the training. Only methods that train with
    `fitting.train_epochs` call it."""
    wait: bool = False
    """Wait for cells that another process measures, instead of leaving them to it."""
    shared: bool = False
    """Other workers are at work beside this one: measures that must be taken alone (`ALONE` in their module) are left,
    and the fitted method is held for them in a file of the cache."""
    startup: Mapping[str, float] = field(default_factory=dict)
    """Seconds that the process spent before the run, by phase; they count for the first cell."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of a method or a measure, as stored in the results."""

    text: str
    """The type of the error and its first line; all lines of a `UserError`, since they say what to do."""
    trace: str

    @classmethod
    def of(cls, error: Exception) -> Fault:
        """Must be called while the error is handled: the traceback is that of the current exception."""
        error = refused(error) or error
        said = str(error) if isinstance(error, UserError) else "".join(str(error).splitlines()[:1])
        text = f"{type(error).__name__}: {said}".rstrip(": ")
        return cls(shortened(text), shortened(traceback.format_exc()))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run as rows of the store."""

    cell: dict[str, Any]
    """The row of the table `cells`."""
    rows: Rows


def is_alone(measure: ChosenMeasure) -> bool:
    """Whether a measure is not to be taken while other workers are at work."""
    return bool(getattr(registry.find("measure", measure.name).load(), "ALONE", False))


class CellRun:
    """One run of one cell. `clock` may already hold seconds that count for this cell.

    `rest`: only these measures, on the method that was fitted and held before."""

    def __init__(
        self,
        plan: Plan,
        planned: PlannedCell,
        workspace: Workspace,
        features: FeatureCache,
        options: RunOptions,
        clock: Stopwatch,
        rest: tuple[ChosenMeasure, ...] = (),
    ) -> None:
        self.plan, self.planned, self.cell = plan, planned, planned.cell
        self.environment, self.features, self.options, self.clock = plan.environment, features, options, clock
        self.measures = rest or (planned.measures if options.force else planned.open)
        self.may_use_kept = bool(rest) or (not options.force and options.should_continue is None)
        identity = digest(canonical(dict(planned.terms)))[:8]
        cache = workspace.cache
        self.checkpoint = None if cache is None else cache / "checkpoints" / f"{self.cell.id}-{identity}.pt"
        self.store = Store(workspace.store)
        self.held = None if self.checkpoint is None else self.checkpoint.with_suffix(model_file.SUFFIX)
        """Where the fitted method is held until all measures are taken."""
        self.left: tuple[ChosenMeasure, ...] = ()
        """Measures that are still to be taken, alone."""
        self.kept: kept_models.KeptModel | None = None
        """The model of an earlier run that stands for a fit; None if the method was fitted."""
        self.maps = kept_maps.place_of(workspace.store, self.cell) if options.keep_maps else None
        self.subject: Subject | None = None
        """The fitted method; None until the fit succeeds."""
        self.bytes_before = 0
        """Bytes on a CUDA device that earlier work of the process has left."""
        self.point: OperatingPoint | None = None
        """The operating point that a measure chose; None if none did."""

    def alone(self, *, wait: bool) -> AbstractContextManager[None]:
        """Held while this process measures the cell. If another one does: wait for its end, or raise `Busy`."""
        return nullcontext() if self.checkpoint is None else lock.alone(self.checkpoint.with_suffix(".lock"), wait=wait)

    def run(self) -> Recorded:
        """Run the cell. Errors of the method and of measures are recorded; interrupts and a full disk are raised."""
        self.options.started(self.planned)
        began, ticks, booked = datetime.now(timezone.utc), time.perf_counter(), self.clock.total
        self.features.notes.clear()
        stopped: Stopped | None = None
        fault: Fault | None = None
        try:
            self.subject = self._restored() or self._fitted()
        except Stopped as stop:
            stopped = stop
        except DiskFull:
            raise
        except Exception as error:  # noqa: BLE001 - a method may fail in any way; the row holds the error
            fault = Fault.of(error)
        if self.options.shared and self.subject is not None:
            self.left = tuple(measure for measure in self.measures if is_alone(measure))
        record = stopped.record if stopped else self.subject.record if self.subject else None
        of_fit = None if self.kept else record  # the losses of a kept model are in the run that fitted it
        outcomes, rows = {}, training_rows(of_fit) if of_fit else no_rows()
        for measure in () if stopped else [one for one in self.measures if one not in self.left]:
            found, own = self._measured(measure, fault)
            self.point = next((one for one in found if isinstance(one, OperatingPoint)), self.point)
            outcomes[measure.name] = outcome_of(self.planned, measure, self.environment, own.text if own else "")
            for table, more in rows_of(found, measure.name).items():
                rows[table] += more
            if own is not None and fault is None:
                fault = Fault(f"{measure.name}: {own.text}", own.trace) if self.subject else own
        if fault is not None:
            for measure in self.left:
                outcomes[measure.name] = outcome_of(self.planned, measure, self.environment, f"not taken: {fault.text}")
            self.left = ()
        self.clock.add("overhead", time.perf_counter() - ticks - (self.clock.total - booked))
        if stopped is not None:
            return Recorded(self._row(began, record, {}, "stopped", Fault(str(stopped), "")), rows)
        return Recorded(self._row(began, record, outcomes, "failed" if fault else "ok", fault), rows)

    def lost(self, error: str) -> Recorded:
        """The run of a cell whose processes have died: all its measures have failed."""
        outcomes = {one.name: outcome_of(self.planned, one, self.environment, error) for one in self.measures}
        fault = Fault(error, "")
        return Recorded(self._row(datetime.now(timezone.utc), None, outcomes, "failed", fault), no_rows())

    def keep(self, path: Path) -> Path | None:
        """Write the fitted method to a file; None if it has no state. A model that was kept already stays there."""
        if self.kept is not None and self.kept.path != self.held:
            return self.kept.path
        if self.subject is None or not isinstance(self.subject.method, HasState):
            return None
        cell, dataset = self.cell, self.planned.dataset
        name = f"{cell.dataset}/{cell.category}" if cell.category else cell.dataset
        record, white = self.subject.record, white_of(dataset.train)
        about = model_file.trained_on(name, dataset.fingerprint, len(dataset.train), cell.seed, record, white)
        config = registry.find("method", cell.method).load().Config.model_validate_json(cell.params)
        card = model_file.card_of(cell.method, config, cell.image_size, self.planned.weights, about, self.point)
        return model_file.write(path, self.subject.method, card)

    def waits(self) -> bool:
        """Whether all measures must be taken alone, on a method that is fitted already."""
        return all(map(is_alone, self.measures)) and self._kept() is not None

    def forget_checkpoint(self) -> None:
        """Remove the checkpoint of a finished cell, and partly written checkpoint files of killed runs."""
        if self.checkpoint is None:
            return
        self.checkpoint.unlink(missing_ok=True)
        if self.held is not None and not self.left:
            self.held.unlink(missing_ok=True)
        for scratch in self.checkpoint.parent.glob(f".{self.checkpoint.name}.*"):
            scratch.unlink(missing_ok=True)

    # ------------------------------------------------------------------------------------------------ inside

    def _restored(self) -> Subject | None:
        """The method that an earlier run fitted and kept; None without one, or if a measure needs a fit in this run."""
        kept = self._kept()
        if kept is None:
            return None
        self._prepare()
        try:
            with self._phase("restore"):
                method = model_file.load(kept.path, self.environment.device).method
        except UserError as error:
            self.features.notes.append(kept_models.unusable(kept, error))
            return None
        self.kept = kept
        return self._subject(method, replace(kept.record, notes=(*kept.record.notes, kept.note)))

    def _kept(self) -> kept_models.KeptModel | None:
        """A model that stands for a fit. The one that is held is of the latest."""
        if not self.may_use_kept or kept_models.needs_fit(self.measures):
            return None
        places = [*([self.held] if self.held else []), model_file.place_of(self.store.root, self.cell)]
        return kept_models.find(self.planned, places, self.store)

    def _prepare(self) -> None:
        """Set the threads, and free what earlier cells left on the device."""
        import torch

        from afrad_bench.machine.free_memory import give_back

        torch.set_num_threads(self.environment.threads)
        if self.environment.device.startswith("cuda"):  # so that free and peak memory do not depend on the cells before
            self.features.release()
            give_back(self.environment.device)
        self.bytes_before = allocated(self.environment.device)

    def _subject(self, method: Method, record: TrainingRecord) -> Subject:
        """A fitted method, and the data on which it is measured."""
        side = self.cell.image_size
        return Subject(
            cell=self.cell,
            method=method,
            dataset=self.planned.dataset,
            test=test_images(self.planned.dataset, side),
            train=train_images(self.planned.dataset, side),
            record=record,
            fit_seconds=self.clock.seconds.get("fit", 0.0),
            fit_peak_bytes=None,
            bytes_before=self.bytes_before,
            device=self.environment.device,
            threads=self.environment.threads,
            watch=self.options.watch,
            held_out=held_out_images(self.planned.dataset, side) if self.planned.dataset.held_out else None,
        )

    def _fitted(self) -> Subject:
        """The method, fitted now."""
        from afrad_bench.instruments.clock import clock_for

        device, machine = self.environment.device, LoadWatch()
        callback = self.options.should_continue

        def should_continue(so_far: TrainingRecord) -> bool:
            assert callback is not None
            with self.clock.phase("validation"):  # not part of the fit's time
                return callback(self._subject(method, so_far))

        self._prepare()
        with self._phase("build"):
            method = build(
                self.cell,
                device,
                self.features,
                self.checkpoint,
                self.options.watch,
                None if callback is None else should_continue,
            )
        computed, found = self.features.seconds, self.features.found
        machine.mark()
        with (
            self.clock.phase("peak memory"),
            PeakMemory(device, baseline=self.bytes_before) as peak,
            self._phase("fit"),
        ):
            record = method.fit(train_images(self.planned.dataset, self.cell.image_size))
            clock_for(device).synchronise()  # what a card has still to compute belongs to the fit
        with self.clock.phase("peak memory"):
            load = machine.load(wait=any(measure.name == "cost" for measure in self.measures))
        return replace(
            self._subject(method, record),
            fit_peak_bytes=peak.bytes,
            fit_doubts=load.doubts,
            feature_seconds=self.features.seconds - computed,
            features_found=self.features.found > found,
        )

    def _measured(self, measure: ChosenMeasure, before: Fault | None) -> tuple[list[Result], Fault | None]:
        """The results of a measure, or its error (or the earlier error of the method)."""
        if self.subject is None:
            return [], before
        try:
            return self._taken(measure, self.subject), None
        except DiskFull:
            raise
        except Exception as error:  # noqa: BLE001 - a measure may fail in any way; the row holds the error
            return [], Fault.of(error)

    def _taken(self, measure: ChosenMeasure, subject: Subject) -> list[Result]:
        module = registry.find("measure", measure.name).load()
        config = module.Config.model_validate_json(measure.options)
        with self._phase(measure.name):
            if self.maps is None or measure.name != "accuracy":
                return list(module.measure(subject, config))
            with kept_maps.Keeping(subject.method, self.maps, self.planned.terms) as keeping:
                return list(module.measure(replace(subject, method=keeping), config))

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        """A phase; time for backbone features, which cells share, counts separately as "features"."""
        already = self.features.seconds
        self.options.watch(0, 0, name)
        with self.clock.phase(name):
            yield
            if self.features.seconds > already:
                self.clock.add("features", self.features.seconds - already)

    def _differences(self) -> list[str]:
        """A note on what differs from the published configuration."""
        cell, table = self.cell, self.plan.selection.reproduces
        beside = None if table is None else (table, self.planned.row.published or "")
        module = registry.find("method", cell.method).load()
        try:
            found = differences(module, cell.config, cell.dataset, cell.image_size, beside)
        except Undeclared:
            return []
        return [str(found)] if found.changes else []

    def _row(
        self,
        began: datetime,
        record: TrainingRecord | None,
        outcomes: Mapping[str, Mapping[str, Any]],
        status: str,
        fault: Fault | None,
    ) -> dict[str, Any]:
        planned, cell, weights = self.planned, self.cell, self.planned.weights
        backbone = cell.config.get("backbone") or {}
        notes = [*planned.notes, *planned.dataset.notes, *(record.notes if record else ()), *self.features.notes]
        notes += self._differences()
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
            "data_root": planned.chosen.root and shortened(planned.chosen.root),
            "image_size": cell.image_size,
            "status": status,
            "error": (fault and fault.text) or None,
            "traceback": (fault and fault.trace) or None,
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
