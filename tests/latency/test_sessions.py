"""Latency in turns: the order of the calls, intervals that cover, modes that are refused or fail alone, the store."""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.backbone.memory_format import Arranged
from afrad_bench.backbone.weights import Weights
from afrad_bench.comparing.place import locate
from afrad_bench.errors import UserError
from afrad_bench.instruments.clock import WallClock
from afrad_bench.instruments.kernels import Kernels, NotRecorded
from afrad_bench.latency import calls as _calls
from afrad_bench.latency import machine
from afrad_bench.latency import session as _session
from afrad_bench.latency.entrants import EntrantOptions, entrants
from afrad_bench.latency.modes import Mode, parse_modes
from afrad_bench.latency.rounds import Length, take_turns
from afrad_bench.latency.samples import Session, Timed, find, rows, stored
from afrad_bench.latency.session import measure
from afrad_bench.latency.statistics import images_per_second, paired_ratio
from afrad_bench.latency.table import latency_report, records, to_csv
from afrad_bench.machine.environment import current
from afrad_bench.report import to_markdown
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from tests.busy import busy
from tests.program import Place

PIXELS = torch.linspace(0, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)

# -------------------------------------------------------------------------------------------------------------- rounds


class FakeTime:
    """A clock that the calls themselves move on."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.log: list[str] = []

    def call(self, name: str, seconds: float, fails_at: int = -1):
        count = itertools.count()

        def one() -> None:
            if next(count) == fails_at:
                raise RuntimeError(f"{name} broke\nsecond line")
            self.log.append(name)
            self.seconds += seconds

        return one

    def turns(self, calls, length, before=lambda done: None):
        clock = WallClock("fake", lambda: None, lambda: self.seconds)
        return take_turns(calls, clock, length, before, lambda: self.seconds)


def test_every_method_is_warmed_up_and_then_called_once_a_round():
    time = FakeTime()
    calls = {"a": time.call("a", 0.1), "b": time.call("b", 0.3), "c": time.call("c", 0.2)}
    marks = lambda done: time.log.append(f"|{done}")  # noqa: E731
    turns = time.turns(calls, Length(rounds=3, warmup=2, warmup_seconds=0.35, seconds=100), marks)
    assert time.log == [*"aaaa", *"bb", *"cc", "|0", *"abc", "|1", *"abc", "|2", *"abc"]
    assert turns.warmups == {"a": 4, "b": 2, "c": 2}
    assert turns.times == {name: pytest.approx([ms] * 3) for name, ms in (("a", 100), ("b", 300), ("c", 200))}


def test_a_call_that_breaks_leaves_the_others_alone():
    time = FakeTime()
    calls = {"a": time.call("a", 0.1), "b": time.call("b", 0.1, fails_at=2), "c": time.call("c", 0.1, fails_at=0)}
    turns = time.turns(calls, Length(rounds=3, warmup=1, warmup_seconds=0, seconds=100))
    assert list(turns.times) == ["a"]
    assert len(turns.times["a"]) == 3
    assert {key: str(error).splitlines()[0] for key, error in turns.failed.items()} == {"b": "b broke", "c": "c broke"}


def test_no_round_begins_after_the_time_but_one_is_made():
    time = FakeTime()
    turns = time.turns({"a": time.call("a", 4.0)}, Length(rounds=9, warmup=1, warmup_seconds=0, seconds=10))
    assert len(turns.times["a"]) == 3
    assert len(time.turns({"a": time.call("a", 99.0)}, Length(9, 1, 0, 10)).times["a"]) == 1


# ---------------------------------------------------------------------------------------------------------- statistics


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    """Independent noise of each call and a drift that both share; the truth is 1.3."""
    draws = np.random.default_rng(0)
    covered = 0
    for i in range(200):
        drift = np.exp(np.cumsum(draws.normal(0, 0.05, 40)))
        one, other = (drift * base * np.exp(draws.normal(0, 0.1, 40)) for base in (1.3, 1.0))
        ratio = paired_ratio(list(one), list(other), seed=i)
        covered += ratio.low <= 1.3 <= ratio.high
        assert ratio.low <= ratio.value <= ratio.high
    assert 0.91 <= covered / 200 <= 0.98


def test_ratios_are_paired_and_of_oneself_exactly_one():
    times = [1.0, 10.0, 100.0]
    assert paired_ratio(times, times).value == paired_ratio(times, times).high == 1.0
    doubled = paired_ratio([2.0, 20.0, 200.0], times)
    assert (doubled.low, doubled.value, doubled.high) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="2 and 3 times do not form rounds"):
        paired_ratio([1.0, 2.0], times)
    assert images_per_second(8, 20.0) == pytest.approx(400.0)


# --------------------------------------------------------------------------------------------------------------- modes


def test_modes_have_one_name_each():
    modes = parse_modes(["eager", "compile+bf16", "bf16+compile", "channels_last"], "cuda:0")
    assert [mode.name for mode in modes] == ["eager", "bf16+compile", "channels_last"]


@pytest.mark.parametrize(
    ("text", "device", "told"),
    [
        ("cuda_graphs", "cpu", "CUDA graphs need a CUDA device, this is cpu"),
        ("bf16+cuda_graphs", "mps", "CUDA graphs need a CUDA device, this is mps"),
        ("compiled", "cpu", "unknown mode 'compiled' (did you mean 'compile'?)"),
        ("eager+amp", "cpu", "eager means that nothing is changed"),
        ("channels_last+contiguous", "cpu", "a network has one memory format"),
    ],
)
def test_modes_that_a_device_does_not_have_are_refused(text, device, told):
    with pytest.raises(UserError) as caught:
        parse_modes([text], device)
    assert told in str(caught.value)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.register_buffer("bank", torch.zeros(256, 1024))

    def forward(self, images):
        maps = self.conv(images).square().sum(dim=1)
        return maps, maps.amax((1, 2))


class Method:
    def __init__(self, net=None):
        torch.manual_seed(0)
        self.net = (net or Net()).eval()

    def network(self):
        return self.net


class NoNetwork:
    def predict(self, images):
        return len(images)


def test_amp_and_channels_last_are_held_against_eager():
    eager = _calls.prepared(Method(), PIXELS, "cpu", Mode())
    assert eager.facts["buffers_mib"] == 1.0
    assert "map_difference" not in eager.facts
    last = _calls.prepared(Method(), PIXELS, "cpu", Mode(frozenset({"channels_last"})))
    assert last.facts["map_difference_relative"] < 1e-5
    amp = _calls.prepared(Method(), PIXELS, "cpu", Mode(frozenset({"bf16"})))
    assert 1e-5 < amp.facts["map_difference_relative"] < 0.1
    assert amp.facts["precision"] == "autocast to bfloat16"
    assert amp.call()[0].shape == (2, 8, 8)


def test_a_memory_format_reaches_weights_and_maps_and_leaves_the_method_alone():
    seen = []

    class Last(Net, Arranged):
        def forward(self, images):
            return super().forward(self.arranged(images))

    method = Method(Last())
    method.net.conv.register_forward_pre_hook(
        lambda part, given: seen.append((given[0].stride(), part.weight.stride()))
    )
    found = _calls.prepared(method, PIXELS, "cpu", Mode(frozenset({"contiguous"})))
    assert found.facts["map_difference_relative"] < 1e-5
    assert found.facts["precision"] == "float32"
    found.call()
    _calls.prepared(method, PIXELS, "cpu", Mode()).call()
    _calls.prepared(method, PIXELS, "cpu", Mode(frozenset({"channels_last"}))).call()
    innermost, within = (192, 1, 24, 3), (192, 64, 8, 1)
    assert [maps for maps, _ in seen] == [innermost, *[within] * 3, *[innermost] * 6]
    assert [weights[1] == 1 for _, weights in seen[1:4]] == [False] * 3
    assert [weights[1] == 1 for _, weights in seen[-2:]] == [True] * 2


def test_a_method_without_network_is_timed_by_predict_in_eager_only():
    assert _calls.prepared(NoNetwork(), PIXELS, "cpu", Mode()).call() == 2
    with pytest.raises(ValueError, match=r"no network\(\), which the mode bf16 needs"):
        _calls.prepared(NoNetwork(), PIXELS, "cpu", Mode(frozenset({"bf16"})))


def test_outputs_that_are_not_finite_are_an_error():
    method = Method()
    method.net.conv.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match="the map is not finite"):
        _calls.prepared(method, PIXELS, "cpu", Mode())


def test_compiling_is_timed_apart_and_eager_cannot_pass_for_it(monkeypatch):
    """Dynamo without Inductor, which needs a C++ compiler."""
    monkeypatch.setattr("torch._dynamo.lookup_backend", lambda name: lambda graph, inputs: graph.forward)
    mode = Mode(frozenset({"compile"}))
    found = _calls.prepared(Method(), PIXELS, "cpu", mode)
    assert found.facts["compiled_graphs"] == 1
    assert found.facts["compile_seconds"] > 0
    assert found.facts["map_difference"] == 0
    for _ in range(9):  # more programs of one function than torch keeps by default before it falls back to eager
        assert _calls.prepared(Method(), PIXELS, "cpu", mode).facts["compiled_graphs"] == 1
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    with pytest.raises(ValueError, match="compiled nothing"):
        _calls.prepared(Method(), PIXELS, "cpu", mode)


class Cards:
    """Two cards: a capture records what runs in a stream of its own card, and nothing else."""

    def __init__(self, monkeypatch):
        self.current = 0
        self.log: list[str] = []
        self.recorded: list | None = None
        for name in ("device", "Stream", "stream", "current_stream", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    @contextmanager
    def device(self, device):
        before, self.current = self.current, int(device.rpartition(":")[2])
        yield
        self.current = before

    def Stream(self, device=None):
        card = self.current if device is None else int(device.rpartition(":")[2])
        return SimpleNamespace(card=card, wait_stream=lambda other: self.log.append("waits"))

    current_stream = Stream

    @contextmanager
    def stream(self, stream):
        self.log.append("aside")
        yield

    def CUDAGraph(self):
        return SimpleNamespace(steps=[], replay=lambda: [step() for step in self.recorded or ()])

    @contextmanager
    def graph(self, graph, stream=None):
        self.capturing = stream or self.Stream()
        self.recorded = graph.steps
        self.log.append("capture")
        yield
        self.capturing = None

    def network(self, card):
        """Doubles what it gets into one and the same output, like the static memory of a graph."""
        output = torch.zeros(2)
        self.capturing = None

        def run(images):
            self.log.append("run")
            if self.capturing is not None and self.capturing.card == card:
                self.recorded.append(lambda: torch.mul(images, 2, out=output))
            return torch.mul(images, 2, out=output)

        return run


@pytest.mark.parametrize("card", [0, 1])
def test_a_cuda_graph_of_any_card_computes_what_it_is_given(monkeypatch, card):
    cards = Cards(monkeypatch)
    run = _calls._graphed(cards.network(card), torch.ones(2), f"cuda:{card}")
    assert cards.log == ["waits", "aside", "run", "run", "run", "waits", "capture", "run"]
    assert torch.equal(run(torch.full((2,), 3.0)), torch.full((2,), 6.0))
    assert cards.log[-1] == "run"  # at the capture: a replay calls no Python
    assert cards.current == 0


def test_a_mode_that_gives_the_results_of_its_preparation_again_is_found_out(monkeypatch):
    """A graph of an empty stream leaves the output that was computed at its capture."""

    def stale(run, images, device):
        output = run(images)
        return lambda fresh: output

    monkeypatch.setattr(_calls, "_graphed", stale)
    facts = _calls.prepared(Method(), PIXELS, "cpu", Mode(frozenset({"cuda_graphs"}))).facts
    assert facts["map_difference"] > 0


# ------------------------------------------------------------------------------------------------------------- machine


def test_readings_are_ranges_or_reasons():
    values = iter([1500.0, 1980.0, 1410.0])

    def broken() -> float:
        raise RuntimeError("the driver refuses")

    readings = machine.Readings({"clock": (lambda: next(values), "MHz"), "power": (broken, "W")})
    for _ in range(3):
        readings.read()
    assert readings.summary() == {"clock": "1410–1980 MHz", "power": "not readable: the driver refuses"}


def test_a_card_is_read_by_nvml_where_it_is_installed(monkeypatch):
    def missing(device):
        raise ModuleNotFoundError("pynvml does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "clock_rate", lambda device: 1410)
    monkeypatch.setattr(torch.cuda, "power_draw", lambda device: 250_000)
    monkeypatch.setattr(torch.cuda, "temperature", missing)
    readings = machine.Readings(machine.gauges_for("cuda:0"))
    readings.read()
    told = readings.summary()
    assert told["GPU clock"] == "1410 MHz"
    assert told["GPU power"] == "250 W"
    assert told["GPU temperature"] == "not readable: the package nvidia-ml-py is not installed"
    assert {"TF32 convolutions", "TF32 matrix products", "cudnn.benchmark"} <= set(machine.settings("cuda:0"))


def test_governors_are_read_where_there_are_some(tmp_path):
    assert machine.governor(tmp_path) == "not readable"
    for cpu, name in ((0, "performance"), (1, "powersave")):
        place = tmp_path / f"cpu{cpu}" / "cpufreq"
        place.mkdir(parents=True)
        (place / "scaling_governor").write_text(name + "\n")
    assert machine.governor(tmp_path) == "performance, powersave"


# ------------------------------------------------------------------------------------------------- sessions and tables


def session(**changes) -> Session:
    facts = {"fitted_on": "2 images", "backbone": "resnet18", "weights": "random", "random_weights": True}
    steady = [10.0 + 0.1 * (i % 3) for i in range(30)]
    slower = tuple(4 * each for each in steady)
    timed = (
        Timed("AFRAD", "afrad", "eager", 1, tuple(steady), {**facts, "published": "afrad"}),
        Timed("PatchCore", "patchcore", "eager", 1, slower, {**facts, "published": "patchcore"}),
        Timed("PatchCore", "patchcore", "compile", 1, (), facts, "RuntimeError: no compiler"),
        Timed("drifting", "padim", "eager", 1, (*[10.0] * 15, *[15.0] * 15), facts),
    )
    timed = tuple(replace(one, cell={"cell_id": "c0ffee"}) for one in timed)
    terms = {"clock": "CPU wall clock", "settings": {"torch": "2"}, "readings": {"CPU clock": "1 MHz"}, "rounds": 30}
    terms |= {
        "command": ["afrad-bench", "latency"],
        "suites": ["table4_latency"],
        "profiles": ["demo"],
        "absent": ["ddad"],
    }
    terms |= {"git_revision": "abc", "code_version": "1"}
    made = {"id": "5e55" * 8, "device": "cpu", "device_name": "Old CPU", "threads": 1, "image_size": 64, **changes}
    return Session(started_at=datetime(2026, 1, 1, tzinfo=timezone.utc), terms=terms, timed=timed, **made)


def test_a_session_comes_back_from_the_store_as_it_was(tmp_path: Path):
    Store(tmp_path).append_latency(rows(session()))
    (again,) = stored(Store(tmp_path).read("latency"))
    assert again == session()
    frame = Store(tmp_path).read("latency")
    assert len(frame) == 90  # what failed has no rows, so no round and no time is ever empty
    assert not frame[["session", "mode", "batch", "round", "ms", "device", "device_name", "threads"]].isna().any().any()


def test_a_side_of_one_revision_of_the_code_holds_its_sessions(tmp_path: Path):
    first = session()
    for one in (first, replace(session(id="beef" * 8), terms=first.terms | {"git_revision": "def"})):
        Store(tmp_path).append_latency(rows(one))
    for revision, wanted in (("abc", first.id), ("de", "beef" * 8)):
        side = locate(f"rev:{revision}", tmp_path)
        assert side.rows
        assert {timed.session for row in side.rows.values() for timed in row.timed} == {wanted}
    with pytest.raises(UserError, match="unknown revision"):
        locate("rev:xyz", tmp_path)


def test_figures_doubts_and_failures_of_a_session():
    (one,) = records([session()])
    afrad, patchcore, failed, drifting = one["lines"]
    assert afrad["median_ms"] == pytest.approx(10.1)
    assert afrad["ratio"] == 1.0
    assert afrad["images_per_second"] == pytest.approx(1000 / 10.1)
    assert (patchcore["ratio_low"], patchcore["ratio"], patchcore["ratio_high"]) == pytest.approx((4.0, 4.0, 4.0))
    assert (patchcore["published_ms"], patchcore["published_ratio"]) == (148.0, pytest.approx(148.0 / 24.5))
    assert afrad["unreliable"] == []
    assert "drifts" in drifting["unreliable"][0]
    assert failed["error"] == "RuntimeError: no compiler"
    assert len(to_csv([session()]).splitlines()) == 5


def test_a_session_begins_with_the_fastest_and_the_slowest():
    assert latency_report([session()]).answer == (
        "With batch 1 in mode eager, AFRAD is the fastest with 10.1 ms, PatchCore the slowest with 40.4.",
        "1 of 3 rows is left out: unreliable.",
    )
    assert latency_report([replace(session(), timed=session().timed[3:])]).answer == ("No time is reliable.",)


def test_a_session_is_drawn_in_ms_per_image_fastest_first_with_what_is_unreliable():
    batched = replace(session().timed[0], batch=4)
    report = latency_report([replace(session(), timed=(*session().timed, batched))])
    (figure,) = report.figures
    assert [(span.label, round(span.value, 3), span.doubted) for span in figure.drawing.spans] == [
        ("AFRAD (batch 4) ⚠ random weights", 2.525, False),
        ("AFRAD (batch 1) ⚠ random weights", 10.1, False),
        ("drifting (batch 1) ⚠ random weights ⚠ unreliable", 12.5, True),
        ("PatchCore (batch 1) ⚠ random weights", 40.4, False),
    ]
    assert figure.stamp == ("device Old CPU (cpu) · threads 1 · image size 64 px · batch 1, 4",)
    assert latency_report([session()], pictured=False).figures == ()
    assert latency_report([replace(session(), timed=session().timed[:1])]).figures == ()


def test_a_load_during_a_session_is_in_doubt_of_every_row_but_of_no_ratio():
    loaded = "other processes used 1.9 of 2 cores while this was timed"
    quiet = session()
    one = replace(quiet, terms={**quiet.terms, "doubts": [loaded]})
    lines = [line for line in records([one])[0]["lines"] if "error" not in line]
    assert [line["unreliable"][-1] for line in lines] == [loaded] * 3
    of_quiet = [line for line in records([quiet])[0]["lines"] if "error" not in line]
    assert [line["ratio"] for line in lines] == [line["ratio"] for line in of_quiet]
    text = to_markdown(latency_report([one]))
    assert f"unreliable: {loaded}" in text
    assert "Unreliable, measure again on an idle machine: AFRAD eager batch 1, PatchCore eager batch 1" in text


def test_a_session_notices_what_else_runs(cache_folder):
    padim = alone("padim:channels=4", cache=cache_folder, backbone="resnet18", weights="random", train=2)
    steps = []
    with busy():
        made = measure(
            padim,
            parse_modes(["eager"], "cpu"),
            [1],
            current("cpu", 1),
            FeatureCache(cache_folder),
            Length(rounds=10, warmup=1, warmup_seconds=0.3),
            {"suites": [], "profiles": [], "absent": [], "command": []},
            lambda what: None,
            lambda done, total, what, loss=None: steps.append(what),
        )
    assert "Gaussian statistics" in steps  # a long fit is not silent
    (doubt,) = made.doubts
    assert doubt.startswith("other processes used ")
    assert doubt in records([made])[0]["lines"][0]["unreliable"]


def test_kernels_are_recorded_after_the_last_round_and_fail_no_time(cache_folder, monkeypatch):
    """torch's profiler slows down what is timed after it."""
    asked = []

    def recorded(call, device, calls):
        asked.append(calls)
        call()
        if len(asked) == 1:
            raise NotRecorded("no right to")
        if len(asked) == 2:
            raise RuntimeError("CUPTI broke\nat line 3")
        return Kernels(0.125, 77)

    rounds = []
    monkeypatch.setattr(_session, "device_type", lambda device: "cuda")
    monkeypatch.setattr(_session, "recorded", lambda *asked: (rounds.append("recorded"), recorded(*asked))[1])
    take = _session.take_turns
    monkeypatch.setattr(_session, "take_turns", lambda *given: (take(*given), rounds.append("timed"))[0])
    made = measure(
        alone("padim:channels=4", cache=cache_folder, backbone="resnet18", weights="random", train=2),
        parse_modes(["eager"], "cpu"),
        [1, 2, 3],
        current("cpu", 1),
        FeatureCache(cache_folder),
        Length(rounds=2, warmup=1, warmup_seconds=0),
        {"suites": [], "profiles": [], "absent": [], "command": []},
        lambda what: None,
    )
    assert rounds == ["timed", *["recorded"] * 3]
    assert asked == [5, 5, 5]
    refused, broken, good = records([made])[0]["lines"]
    assert refused["facts"]["kernels_missing"] == "no right to"
    assert broken["facts"]["kernels_missing"] == "RuntimeError: CUPTI broke"
    assert (refused["kernels_ms"], refused["busy_percent"]) == (None, None)
    assert (good["kernels_ms"], good["facts"]["kernels"]) == (0.125, 77)
    assert good["busy_percent"] == pytest.approx(12.5 / good["median_ms"])
    assert {line["rounds"] for line in (refused, broken, good)} == {2}


@pytest.mark.parametrize(("milliseconds", "calls"), [(1, 5), (500, 4), (1000, 2), (1001, 0)])
def test_few_calls_that_are_slow_are_recorded(monkeypatch, milliseconds, calls):
    asked = []
    monkeypatch.setattr(_session, "recorded", lambda *given: (asked.append(given[2]), Kernels(1.0, 1))[1])
    facts = _session._kernels(lambda: None, milliseconds, "cuda:0")
    assert asked == [calls] * bool(calls)
    assert ("kernels_missing" in facts) is not bool(calls)


def test_kernels_have_columns_where_a_card_was_recorded():
    busy, slower, *others = session().timed
    busy = replace(busy, facts=busy.facts | {"kernels_ms": 2.02, "kernels": 597})
    slower = replace(slower, facts=slower.facts | {"kernels_missing": "a call takes more than 1 s"})
    text = to_markdown(latency_report([replace(session(), timed=(busy, slower, *others))]))
    assert "| AFRAD **⚠ random weights** | eager | 1 | 10.1 | 10–10.2 | 99.01 | 2.02 | 20 | 1.000 |" in text
    assert "| PatchCore **⚠ random weights** | eager | 1 | 40.4 | 40–40.8 | 24.75 | – | – | 4.000 |" in text
    assert "597 kernels, copies and fills a call" in text
    assert "kernels not recorded: a call takes more than 1 s" in text
    assert "torch's profiler" in text
    table = [line for line in text.splitlines() if line.startswith("| ") and ("median" in line or "adapter" in line)]
    assert len({line.count("|") for line in table}) == 1
    assert "busy" not in to_markdown(latency_report([session()]))
    header, first, second, *_ = to_csv([replace(session(), timed=(busy, slower, *others))]).splitlines()
    place = header.split(",").index("kernels_ms")
    assert first.split(",")[place : place + 2] == ["2.02", "20.0"]
    assert second.split(",")[place : place + 2] == ["", ""]


def test_the_papers_times_stand_beside_times_of_another_device_as_not_comparable():
    text = to_markdown(latency_report([session()]))
    assert "not comparable: image size 64 px ≠ 256 px; device Old CPU ≠ RTX 4090" in text
    like = session(device="cuda:0", device_name="NVIDIA GeForce RTX 4090", image_size=256)
    assert "not comparable:" not in to_markdown(latency_report([like]))


def test_the_report_shows_published_figures_marks_and_what_failed():
    text = to_markdown(latency_report([session()]))
    assert "| AFRAD **⚠ random weights** | eager | 1 | 10.1 |" in text
    assert "| 148 | 6.04 |" in text
    assert "DDAD (no adapter)" in text
    assert "**⚠ unreliable**" in text
    assert "RuntimeError: no compiler" in text
    assert "**⚠ Failed: PatchCore compile batch 1.**" in text
    assert "Old CPU" in text


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"device_name": "New CPU"}, "different devices do not go into one table: 5e555e55 cpu (Old CPU); ffffffff"),
        ({"threads": 2}, "different numbers of threads"),
        ({"image_size": 32}, "different image sizes"),
    ],
)
def test_times_of_different_machines_do_not_go_into_one_table(other, told):
    both = [session(), session(id="f" * 32, **other)]
    with pytest.raises(UserError) as caught:
        find(both, ["5e55", "ffff"], "store")
    assert told in str(caught.value)
    assert find(both, ["last"], "store") == (both[1],)
    alike = [session(), session(id="f" * 32)]
    assert "AFRAD (ffffffff)" in to_markdown(latency_report(find(alike, ["5e55", "f"], "store")))


def test_sessions_that_are_not_there_or_not_one():
    with pytest.raises(UserError, match="no latency sessions"):
        find([], ["last"], "store")
    with pytest.raises(UserError, match="unknown latency session"):
        find([session()], ["abc"], "store")
    with pytest.raises(UserError, match="several sessions begin with"):
        find([session(id="ab"), session(id="ac")], ["a"], "store")


# ------------------------------------------------------------------------------------------------------------ entrants


def alone(*texts: str, cache: Path, **asked):
    workspace = Workspace(cache / "store", cache, 2**30, "cpu", 1)
    options = EntrantOptions(64, **asked)
    return entrants(texts, lambda suite: pytest.fail("no suite"), ["methods"], options, workspace)[0]


def test_methods_with_fields_are_fitted_on_noise_for_one_epoch(cache_folder):
    text = "afrad:mfpn.widths=[8, 8, 8, 8],width=8,backbone.name=resnet18"
    padim, afrad = alone("padim", text, cache=cache_folder, backbone="resnet34", weights="random", train=3)
    assert padim.cell.config["backbone"] == {"name": "resnet34", "weights": "random"}
    assert padim.fitted_on == "3 images of noise"
    assert afrad.cell.config["backbone"] == {"name": "resnet18", "weights": "random"}  # its own field goes first
    assert afrad.cell.config["mfpn"]["widths"] == [8, 8, 8, 8]
    assert afrad.fitted_on == "3 images of noise, 1 epoch"
    assert afrad.weights == Weights("random", None, "random")
    train, test = afrad.images()
    assert (len(train), len(test), train.size) == (3, 1, (64, 64))


def test_everything_wrong_with_the_methods_is_told_at_once(cache_folder):
    with pytest.raises(UserError) as caught:
        alone("pathcore", "padim:chanels=3", "padim:channels", "methdos", cache=cache_folder, weights="random")
    told = str(caught.value)
    for part in (
        "did you mean 'patchcore'",
        "did you mean 'channels'",
        "expected field=value",
        "did you mean 'methods'",
    ):
        assert part in told
    with pytest.raises(UserError, match="is given twice"):
        alone("padim", "padim", cache=cache_folder, weights="random", backbone="resnet18")


# ---------------------------------------------------------------------------------------------------------------- CLI


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Place:
    return Place(tmp_path_factory.mktemp("latency"), cache_folder)


QUICK = ("--image-size", 32, "--rounds", 10, "--warmup", 1, "--warmup-seconds", 0, "--threads", 1, "--device", "cpu")


def test_the_command_line_times_in_turns_stores_and_shows_again(place: Place) -> None:
    methods = ("nearest_colour", "nearest_colour:power=2", "nearest_colour:fault=fit")
    out = place.call("latency", *methods, *QUICK, "--batch", 1, "--batch", 3, "--mode", "eager", "--json", expect=3)
    (found,) = json.loads(out)
    lines = {(line["label"], line["batch"]): line for line in found["lines"]}
    assert lines["nearest_colour:power=2", 3]["rounds"] == 10
    assert lines["nearest_colour:fault=fit", 1]["error"] == "RuntimeError: the fit went wrong"
    frame = place.table("latency")
    assert len(frame) == 40
    assert frame.groupby("round").size().eq(4).all()
    assert set(frame["session"]) == {found["session"]}
    shown = place.call("latency", "--show", "last", "--out", "again")
    assert "the fit went wrong" in shown
    assert sorted(path.name for path in (place.folder / "again").iterdir()) == [
        "figures",
        "report.csv",
        "report.html",
        "report.json",
        "report.md",
    ]
    assert json.loads((place.folder / "again" / "report.json").read_text())[0]["lines"] == found["lines"]


def test_a_suite_takes_part_with_all_its_rows(place: Place) -> None:
    path = place.write(
        "suite: pair\ntitle: Pair\nmeasures: [latency]\nmethods:\n  - method: nearest_colour\n    variants:\n"
        "      - {label: plain}\n      - {label: squared, params: {power: 2.0}}\n"
        "profiles:\n  demo:\n    datasets: [folder]\n    image_size: 32\n"
    )
    place.call("latency", path, *QUICK, "--mode", "eager", "--data", f"folder={place.data}")
    (path,) = (place.folder / "reports" / "pair").glob("latency*/report.json")
    (made,) = json.loads(path.read_text())
    assert [line["label"] for line in made["lines"]] == ["plain", "squared"]
    assert made["lines"][0]["facts"]["fitted_on"] == "16 training images of folder:data"
    assert (made["suites"], made["profiles"]) == (["pair"], ["demo"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name methods to time, or sessions to --show"),
        (("nearest_colour", "--mode", "cuda_graphs", "--device", "cpu"), "CUDA graphs need a CUDA device"),
    ],
)
def test_mistakes_are_told_without_measuring(place: Place, arguments, told) -> None:
    assert told in place.call("latency", *arguments, expect=2)
