"""Fitted methods that earlier runs kept, so that a measure that is missing does not cost the whole fit again.

A kept model stands for a fit if it was fitted under the terms of the cell, and if the store has the run that fitted it:
that run says how long the fit was and what is to be known of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afrad_bench import registry
from afrad_bench.deploy import model_file
from afrad_bench.errors import UserError, first_line
from afrad_bench.running.plan import PlannedCell
from afrad_bench.store import Store
from afrad_bench.suite.selection import ChosenMeasure
from afrad_bench.types import TrainingRecord


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model file and the run that fitted it."""

    path: Path
    run: str
    record: TrainingRecord
    """What the run recorded of the fit; `loss` holds the last epoch only, `notes` are all notes of the run."""

    @property
    def note(self) -> str:
        """For readers of what is measured on it."""
        return f"measured on the model that run {self.run} kept, without another fit"


def needs_fit(measures: Iterable[ChosenMeasure]) -> bool:
    """Whether one of the measures reports what only a fit in the same run can tell."""
    return any(getattr(registry.find("measure", one.name).load(), "OF_THE_FIT", False) for one in measures)


def find(planned: PlannedCell, places: Iterable[Path], store: Store) -> KeptModel | None:
    """The first of these files that can stand for a fit of the cell."""
    for path in places:
        if not path.is_file() or not model_file.is_current(path, planned.terms):
            continue
        fitted = model_file.read_card(path).trained_on
        for run in reversed(store.read("cells", [planned.cell.id]).to_dict("records")):
            if _fitted(run, planned.terms) and (run["epochs"], _number(run["final_loss"])) == (
                fitted.epochs,
                fitted.final_loss,
            ):
                return KeptModel(path, str(run["run_id"]), _record(run))
    return None


def unusable(kept: KeptModel, error: UserError) -> str:
    """A note that a model file was found, but the method had to be fitted again."""
    return f"fitted again, since the kept model cannot be used: {first_line(str(error))}"


def _fitted(run: Mapping[str, Any], terms: Mapping[str, str]) -> bool:
    """Whether this run, a row of `cells`, fitted the method under these terms."""
    return "fit" in json.loads(run["timings"] or "{}") and json.loads(run["terms"] or "{}") == dict(terms)


def _record(run: Mapping[str, Any]) -> TrainingRecord:
    loss = _number(run["final_loss"])
    return TrainingRecord(
        images_seen=int(run["images_seen"]),
        epochs=int(run["epochs"]),
        loss=() if loss is None else (loss,),
        resumed_at=int(run["resumed_at"]),
        notes=tuple(json.loads(run["notes"] or "[]")),
    )


def _number(value: Any) -> float | None:
    """A number of the store, where a missing one may be read as NaN."""
    return None if value is None or math.isnan(value) else float(value)
