"""Times of sessions as a figure: an interval for each method, mode and batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from afrad_bench.report.drawing.shapes import Figure
from afrad_bench.report.sections.latencies import KEY, TITLE, span_of, spans_figure


def latency_figure(known: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The figure of these sessions (`table.records`), in ms per image; None if fewer than two rows have a time.

    A mode, a batch size and a session are named where there are several."""
    timed = [(session, line) for session in known for line in session["lines"] if "median_ms" in line]
    if len(timed) < 2:
        return None
    several = {name: len({line[name] for _, line in timed}) > 1 for name in ("mode", "batch")}
    spans = []
    for session, line in timed:
        more = [line["mode"]] if several["mode"] else []
        more += [f"batch {line['batch']}"] if several["batch"] else []
        more += [session["session"][:8]] if len(known) > 1 else []
        name = f"{line['label']} ({', '.join(more)})" if more else line["label"]
        name += " ⚠ random weights" if line["facts"].get("random_weights") else ""
        median, low, high = (line[of] / line["batch"] for of in ("median_ms", "p5_ms", "p95_ms"))
        spans.append(span_of(name, median, low, high, bool(line["unreliable"])))
    first = known[0]
    batches = sorted({line["batch"] for _, line in timed})
    stamp = (
        f"device {first['device_name']} ({first['device']}) · threads {first['threads']}",
        f"image size {first['image_size']} px · batch {', '.join(map(str, batches))}",
    )
    caption = ("The time of a call divided by its batch.",) if batches != [1] else ()
    return spans_figure(spans, KEY, TITLE, caption, (" · ".join(stamp),))
