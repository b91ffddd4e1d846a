"""A report as large as published comparisons get, for its size and for benchmarks: results without training."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pandas as pd

from afrad_bench.report import MeasureSpec, PlannedCell, Report, ReportInput, RowSpec, build
from afrad_bench.store import COLUMNS
from afrad_bench.types import MEAN, Metric

METRICS = ("image_auroc", "image_ap", "image_f1_max", "pixel_auroc", "pixel_ap", "pixel_f1_max", "pixel_aupro")
ACCURACY = MeasureSpec({name: Metric(name.replace("_", " "), "", True, name, percent=True) for name in METRICS})
START = datetime(2025, 3, 4, tzinfo=timezone.utc)


def large_report(methods: int = 50, categories: int = 27, seeds: int = 5, images: int = 0) -> Report:
    """Every method on every category with seven metrics, for each seed; with scores of so many test images of each
    category, half of them anomalous."""
    names = [f"category_{at:02}" for at in range(categories)]
    rows = tuple(
        RowSpec(
            f"method {at:02}", "afrad", tuple(PlannedCell(f"{at:08x}{seed:08x}", "demo", seed) for seed in range(seeds))
        )
        for at in range(methods)
    )
    cells, measurements, scores = [], [], []
    names_of = [(name, f"{name}/{at:03}", at % 2 == 1) for name in names for at in range(images)]
    for number, (each, cell) in enumerate((one, cell) for one in rows for cell in one.cells):
        run = {
            "run_id": f"{number:032x}",
            "cell_id": cell.id,
            "started_at": START + timedelta(minutes=number),
            "ended_at": START + timedelta(minutes=number + 1),
            "method": each.method,
            "label": each.label,
            "dataset": cell.dataset,
            "setting": "unified",
            "seed": cell.seed,
            "profile": "demo",
            "suite": "large",
            "image_size": 256,
            "status": "ok",
            "measures": json.dumps({"accuracy": {"version": "1", "status": "ok"}}),
        }
        cells.append(run)
        for at, metric in enumerate(METRICS):
            values = [0.7 + (number * 7919 + at * 104729 + k * 1299709) % 2999 / 10000 for k in range(categories)]
            for category, value in (*zip(names, values, strict=True), (MEAN, sum(values) / categories)):
                measured = {"measure": "accuracy", "metric": metric, "category": category, "value": value}
                measurements.append({**run, "measure_version": "1", "unit": "", "note": "", **measured})
        for at, (category, image, anomalous) in enumerate(names_of):
            score = (number * 7919 + at * 104729) % 997 / 997 + 0.4 * anomalous
            scored = {"category": category, "image_id": image, "gt_label": anomalous, "pred_score": score, "defect": ""}
            scores.append({**run, **scored})
    frames = (
        pd.DataFrame(found, columns=list(COLUMNS[name]))
        for name, found in (("cells", cells), ("measurements", measurements), ("scores", scores))
    )
    spec = ReportInput("large", "A large comparison", "demo", rows, {"accuracy": ACCURACY}, "afrad-bench run large")
    return build(replace(spec, compare_to=rows[0].label), *frames)
