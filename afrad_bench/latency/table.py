"""Output of sessions: a report with one table, records for JSON, and CSV."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import compress
from typing import Any

from afrad_bench import published
from afrad_bench.latency.figure import latency_figure
from afrad_bench.latency.samples import Session, Timed
from afrad_bench.latency.statistics import Ratio, images_per_second, paired_ratio
from afrad_bench.report.basis import order
from afrad_bench.report.basis.answer import extremes
from afrad_bench.report.model import Caution, Entry, Heading, Line, Report, Section, Table, Term

PAPER = "table4"
STEADY = (
    "Unreliable: fewer than ten rounds, the medians of the first and last third of the rounds differ by more than "
    "10 %, the 95th percentile exceeds 1.2 times the median, or other processes used the cores meanwhile."
)
MEANING = (
    "After a warm-up, every row was called once per round, in turn. Ratio: median over the rounds of the ratio to the "
    "first row of the same batch and session, with a 95 % interval by bootstrap over the rounds. "
    f"Images/s: batch divided by the median. {STEADY}"
)

BUSY = (
    "Kernels: milliseconds of a call in which the card computes or copies, recorded by torch's profiler after the last "
    "round. Busy: the same as a share of the median; the rest of the time the card waits for the host."
)


def records(sessions: Sequence[Session]) -> list[dict[str, Any]]:
    """One mapping per session: its terms, and a mapping per row with its numbers, warnings and error."""
    return [
        {
            "session": one.id,
            "started_at": one.started_at.isoformat(),
            "device": one.device,
            "device_name": one.device_name,
            "threads": one.threads,
            "image_size": one.image_size,
            **one.terms,
            "lines": list(_lines(one)),
        }
        for one in sessions
    ]


def _lines(session: Session) -> Iterator[dict[str, Any]]:
    from afrad_bench.instruments.timing import Timing

    paper = {figure.row: figure.value for figure in published.figures(PAPER)}
    first = next((paper[row] for one in session.timed if (row := one.facts.get("published"))), None)
    quoted: set[str] = set()
    for one in session.timed:
        known = {"label": one.label, "method": one.method, "mode": one.mode, "batch": one.batch}
        row = one.facts.get("published")
        if row and one.batch == 1 and row not in quoted and first:
            quoted.add(row)
            known |= {"published_ms": paper[row], "published_ratio": paper[row] / first}
        if one.error:
            yield {**known, "error": one.error, "facts": one.facts}
            continue
        timing = Timing(one.times_ms, 0, session.doubts)
        median = timing.percentile(50)
        ratio = _ratio(one, session)
        yield {
            **known,
            "rounds": len(one.times_ms),
            "median_ms": median,
            "p5_ms": timing.percentile(5),
            "p95_ms": timing.percentile(95),
            "images_per_second": images_per_second(one.batch, median),
            "kernels_ms": (kernels := one.facts.get("kernels_ms")),
            "busy_percent": None if kernels is None else 100 * kernels / median,
            "ratio": ratio and ratio.value,
            "ratio_low": ratio and ratio.low,
            "ratio_high": ratio and ratio.high,
            "unreliable": list(timing.doubts),
            "facts": one.facts,
        }


def _ratio(one: Timed, session: Session) -> Ratio | None:
    """Ratio to the first row of its batch; None if that one failed."""
    reference = next(each for each in session.timed if each.batch == one.batch)
    return paired_ratio(one.times_ms, reference.times_ms) if reference.times_ms else None


CSV_COLUMNS = (
    "session",
    "label",
    "method",
    "mode",
    "batch",
    "rounds",
    "median_ms",
    "p5_ms",
    "p95_ms",
    "images_per_second",
    "kernels_ms",
    "busy_percent",
    "ratio",
    "ratio_low",
    "ratio_high",
    "published_ms",
    "published_ratio",
    "unreliable",
    "error",
)


def to_csv(sessions: Sequence[Session]) -> str:
    """One row per method, mode and batch; empty fields where there is no number."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow((*CSV_COLUMNS, "facts"))
    for session in records(sessions):
        for line in session["lines"]:
            values = {**line, "session": session["session"], "unreliable": "; ".join(line.get("unreliable", ()))}
            facts = "; ".join(_details(line["facts"]))
            out.writerow((*("" if values.get(name) is None else values.get(name) for name in CSV_COLUMNS), facts))
    return text.getvalue()


def latency_report(sessions: Sequence[Session], *, pictured: bool = True) -> Report:
    """Sessions of one device, thread count and image size (see `samples.find`) as a report, with or without a
    figure."""
    known = records(sessions)
    notes: list[str] = []
    several = len(sessions) > 1
    quoted = any("published_ms" in line for session in known for line in session["lines"])
    on_card = any(line.get("kernels_ms") is not None for session in known for line in session["lines"])
    lines = [
        _line(line, notes, session["session"][:8] if several else "") for session in known for line in session["lines"]
    ]
    lines += [_absent(row, known[0]) for row in dict.fromkeys(row for each in known for row in each["absent"])]
    unlike = _unlike_paper(known[0]) if quoted else ""
    refs = (_ref(notes, unlike),) if unlike else ()
    columns = {
        Heading("Method", numeric=False): True,
        Heading("Mode", hint="Changes to eager float32"): True,
        Heading("Batch"): True,
        Heading("median", arrow="↓", unit="ms"): True,
        Heading("p5–p95", unit="ms"): True,
        Heading("images/s", arrow="↑"): True,
        Heading("kernels", unit="ms", hint="Time of a call in which the card computes or copies"): on_card,
        Heading("busy", unit="%", hint="The same as a share of the median"): on_card,
        Heading("ratio", arrow="↓", hint="To the first row of the same batch"): True,
        Heading("95 %"): True,
        Heading("rounds"): True,
        Heading("off eager", unit="% of range", hint="Largest difference of the map from eager"): True,
        Heading("paper", unit="ms", refs=refs): quoted,
        Heading("paper, ratio"): quoted,
    }
    shown = tuple(columns.values())
    table = Table(
        "Latency",
        tuple(compress(columns, shown)),
        tuple(Line(tuple(compress(each.entries, shown))) for each in lines),
        tuple(notes),
        keys=3,
    )
    details = Table(
        "What was timed",
        (
            Heading("Method", numeric=False),
            Heading("Mode", numeric=False),
            Heading("Batch"),
            Heading("Facts", numeric=False),
        ),
        tuple(
            Line(
                (
                    Entry(line["label"]),
                    Entry(line["mode"]),
                    _counted(line["batch"]),
                    Entry("; ".join(_details(line["facts"]))),
                )
            )
            for session in known
            for line in session["lines"]
        ),
        folded=True,
        keys=3,
    )
    intro = (MEANING, *([BUSY] if on_card else []), *([_about_paper()] if quoted else []))
    places = _order(known[0]["lines"])
    paper = order.table_name(PAPER)
    drawn = latency_figure(known) if pictured else None
    sections = [Section("latency", "Latency", (table, details), intro, (drawn,) if drawn else ())]
    if places:
        ranked = order.order_table(places, "time", "ms", 1, paper)
        sections.append(Section("order", ranked.caption, (ranked,), (order.INTRO,)))
    suites = dict.fromkeys(suite for each in known for suite in each["suites"])
    return Report(
        suite=", ".join(suites) or "none",
        title="Latency in turns",
        profile=", ".join(dict.fromkeys(profile for each in known for profile in each["profiles"])),
        reproduces=published.CAPTIONS[PAPER] if quoted else "",
        command="\n".join(shlex.join(each["command"]) for each in known),
        terms=tuple(_terms(known)),
        warnings=tuple(_cautions(known)),
        sections=tuple(sections),
        facts=(),
        answer=(*_answer(known[0]["lines"]), *(order.sentences(places, "time", paper) if places else ())),
    )


def _answer(lines: Sequence[dict[str, Any]]) -> Iterator[str]:
    """The fastest, the slowest and AFRAD's place in the first mode and batch size; unreliable times are left out."""
    first = [line for line in lines if (line["mode"], line["batch"]) == (lines[0]["mode"], lines[0]["batch"])]
    timed = [line for line in first if "error" not in line]
    steady = sorted((line for line in timed if not line["unreliable"]), key=lambda line: line["median_ms"])
    if steady:
        values = [(line["label"], line["median_ms"], line["method"]) for line in steady]
        several = len(first) < len(lines)
        of = f"With batch {lines[0]['batch']} in mode {lines[0]['mode']}, " if several else ""
        yield of + extremes(values, "time", "ms", ".4g")
    else:
        yield "No time is reliable."
    for count, what in ((len(timed) - len(steady), "unreliable"), (len(first) - len(timed), "failed")):
        if count and steady:
            yield f"{count} of {len(first)} rows {'is' if count == 1 else 'are'} left out: {what}."


def _order(lines: Sequence[dict[str, Any]]) -> order.Order | None:
    """The methods that have a time here, in eager mode, and one in the paper."""
    return order.order(
        [
            order.Both(line["label"], line["median_ms"], line["published_ms"], bool(line["unreliable"]))
            for line in lines
            if "published_ms" in line and "median_ms" in line
        ],
        higher_is_better=False,
    )


def _line(line: dict[str, Any], notes: list[str], session: str) -> Line:
    label = f"{line['label']} ({session})" if session else line["label"]
    flag = "random weights" if line["facts"].get("random_weights") else ""
    entries = [Entry(label, flag=flag), Entry(line["mode"]), _counted(line["batch"])]
    if "error" in line:
        entries += [Entry("failed", "failed", refs=(_ref(notes, line["error"]),)), *[Entry("–", "missing")] * 8]
    else:
        doubts = line["unreliable"]
        refs = (_ref(notes, f"unreliable: {', '.join(doubts)}"),) if doubts else ()
        off = line["facts"].get("map_difference_relative")
        low, high = (None, None) if line["ratio"] is None else (line["ratio_low"], line["ratio_high"])
        entries += [
            replace(_number(line["median_ms"], _ms), state="value", refs=refs, flag="unreliable" if doubts else ""),
            _range(line["p5_ms"], line["p95_ms"], _ms),
            _number(line["images_per_second"], "{:.4g}".format),
            _number(line["kernels_ms"], _ms),
            _number(line["busy_percent"], "{:.3g}".format),
            _number(line["ratio"], "{:.3f}".format),
            _range(low, high, "{:.3f}".format),
            _counted(line["rounds"]),
            _number(None if off is None else 100 * off, "{:.2g}".format),
        ]
    entries += [
        _number(line.get("published_ms"), "{:g}".format),
        _number(line.get("published_ratio"), "{:.2f}".format),
    ]
    return Line(tuple(entries))


def _counted(count: int) -> Entry:
    return Entry(str(count), number=count)


def _number(value: float | None, shown: Callable[[float], str]) -> Entry:
    return Entry("–") if value is None else Entry(shown(value), number=value)


def _range(low: float | None, high: float | None, shown: Callable[[float], str]) -> Entry:
    """Sorted by its lower end."""
    return Entry("–") if low is None or high is None else Entry(f"{shown(low)}–{shown(high)}", number=low)


def _ref(notes: list[str], text: str) -> int:
    """Number of the footnote with this text, from 1; adds the footnote if it is new."""
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def _absent(row: str, session: dict[str, Any]) -> Line:
    """A row of the paper for which no method is installed."""
    paper = {figure.row: figure.value for figure in published.figures(PAPER)}
    first = next((paper[name] for line in session["lines"] if (name := line["facts"].get("published"))), None)
    dashes = [Entry("–", "missing")] * 11
    quoted = _number(paper[row], "{:g}".format), _number(paper[row] / first if first else None, "{:.2f}".format)
    return Line((Entry(f"{published.printed(row)} (no adapter)"), *dashes, *quoted))


def _ms(value: float) -> str:
    """Four significant digits, never with an exponent."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _details(facts: dict[str, Any]) -> Iterator[str]:
    """The facts about a row, as text."""
    yield f"fitted on {facts['fitted_on']}"
    yield from facts.get("notes", ())
    if facts["backbone"]:
        yield f"backbone {facts['backbone']}, weights {facts['weights']}"
    if "inside" in facts:
        yield f"{facts['clock']}; {facts['inside']}; {facts['precision']}; {facts['warmup_calls']} warm-up calls"
    if "buffers_mib" in facts:
        yield f"buffers (memory banks, statistics) {facts['buffers_mib']:.1f} MiB"
    if "kernels" in facts:
        yield f"{facts['kernels']} kernels, copies and fills a call"
    if "kernels_missing" in facts:
        yield f"kernels not recorded: {facts['kernels_missing']}"
    if "folded_norms" in facts:
        yield f"{facts['folded_norms']} batch norms folded"
    if "compile_seconds" in facts:
        yield f"compiled in {facts['compile_seconds']:.1f} s to {facts['compiled_graphs']} graphs, not timed"
    if "map_difference" in facts:
        yield (
            f"largest difference from eager: map {facts['map_difference']:.3g}, score {facts['score_difference']:.3g}"
        )


def _unlike_paper(session: dict[str, Any]) -> str:
    """Why the paper's times are not comparable with those of a session; empty if they are."""
    protocol, size, device = published.PROTOCOL, session["image_size"], session["device_name"]
    differing = [] if size == protocol.image_size else [f"image size {size} px ≠ {protocol.image_size} px"]
    differing += [] if protocol.device_name in device else [f"device {device} ≠ {protocol.device_name}"]
    return f"not comparable: {'; '.join(differing)}" if differing else ""


def _about_paper() -> str:
    protocol = published.PROTOCOL
    return (
        f"Paper: Table 4, batch {protocol.batch}, {protocol.image_size} × {protocol.image_size} px; it names no "
        f"device, precision or mode (the section on training names an {protocol.device_name}). Its times are not "
        "comparable with another device's; its ratios are to its value for the first method here that has one."
    )


def _terms(known: Sequence[dict[str, Any]]) -> Iterator[Term]:
    first = known[0]
    yield Term("Session", ", ".join(each["session"] for each in known))
    size = f"{first['image_size']} × {first['image_size']} px"
    yield Term("Image size", size, brief=size)
    yield Term("Measured", ", ".join(each["started_at"][:16].replace("T", " ") + " UTC" for each in known))
    yield Term(
        "Device",
        f"{first['device']} ({first['device_name']}), {first['clock']}",
        group="where",
        brief=first["device_name"],
    )
    yield Term("Threads", str(first["threads"]), group="where", brief=f"threads: {first['threads']}")
    for part in ("settings", "readings"):
        for name in dict.fromkeys(name for each in known for name in each[part]):
            values = dict.fromkeys(each[part].get(name, "not recorded") for each in known)
            yield Term(name, "; ".join(values), group="where")
    yield Term(
        "Code", ", ".join(dict.fromkeys(e["git_revision"][:12] or e["code_version"] for e in known)), group="where"
    )


def _cautions(known: Sequence[dict[str, Any]]) -> Iterator[Caution]:
    lines = [line for each in known for line in each["lines"]]
    if failed := [f"{line['label']} {line['mode']} batch {line['batch']}" for line in lines if "error" in line]:
        yield Caution(f"Failed: {', '.join(failed)}.", "alarm")
    if doubted := [f"{line['label']} {line['mode']} batch {line['batch']}" for line in lines if line.get("unreliable")]:
        yield Caution(f"Unreliable, measure again on an idle machine: {', '.join(doubted)}.", "alarm")
    if drawn := dict.fromkeys(line["label"] for line in lines if line["facts"].get("random_weights")):
        yield Caution(
            f"Random weights: {', '.join(drawn)}. They do not change the times, but the computed scores mean nothing.",
            "alarm",
        )
    if cut := [
        each for each in known if any(line.get("rounds", each["rounds"]) < each["rounds"] for line in each["lines"])
    ]:
        yield Caution(f"Cut short by --max-seconds: {', '.join(each['session'][:8] for each in cut)}.")
