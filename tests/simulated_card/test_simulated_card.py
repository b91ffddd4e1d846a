"""Every method on a simulated CUDA device: nothing mixed, nothing left behind, no needless copy, no needless wait."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from afrad_bench.methods.frozen import STEPS_AHEAD
from tests.simulated_card import card, methods

ROOT = Path(__file__).parents[2]
Lines = dict[tuple[str, str], dict[str, Any]]

READS_THE_LOSS_ONLY = (
    "TestAnoddpmContract",
    "TestContract",
    "TestDestsegContract",
    "TestDraemContract",
    "TestEfficientAdContract",
    "TestFcddContract",
    "TestHvqTransContract",
    "TestMkdContract",
    "TestPandaContract",
    "TestRd4adContract",
    "TestSimpleNetContract",
    "TestUniadContract",
    "TestUsContract",
)
"""Methods whose host waits for the card once an epoch: to read the loss."""
CACHED = ("TestContract", "TestUniadContract", "TestRd4adContract", "TestSimpleNetContract")
"""Methods that train on the features of a frozen backbone alone: these stay on the card."""

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("g++") is None, reason="the simulated card is compiled by g++ on Linux"
)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, **card.build(tmp_path_factory.mktemp("simulated_card")), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def lines(environment: dict[str, str]) -> Lines:
    """What each method did on each card."""
    command = [sys.executable, "-m", "tests.simulated_card.methods"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {(line["name"], line.get("device", "")): line for line in found}


def test_it_refuses_what_cuda_refuses(environment: dict[str, str]) -> None:
    """Else nothing that passes here would say anything."""
    script = """
import torch
from tests.simulated_card import card
card.prepare()

def made_aside(waited=True, told=True):
    aside = torch.cuda.Stream("cuda:0")
    with torch.cuda.stream(aside):
        made = here.to("cuda:0")
    if waited:
        torch.cuda.current_stream("cuda:0").wait_stream(aside)
    if told:
        made.record_stream(torch.cuda.current_stream("cuda:0"))
    return made

with card.simulated(2**34):
    here, there, other = torch.ones(3), torch.ones(3, device="cuda:0"), torch.ones(3, device="cuda:1")
    for mixed in (
        lambda: here + there,
        lambda: there + other,
        lambda: here[there.long()],
        lambda: torch.randn(3, device="cuda:0", generator=torch.Generator()),
        lambda: 2 * made_aside(waited=False),
        lambda: 2 * made_aside(told=False),
    ):
        try:
            mixed()
        except (card.Refused, RuntimeError):
            continue
        raise SystemExit("not refused")
    2 * made_aside()
    with card.counted() as counts:
        product = (there * 2).sum()
        float(product)
        here.to("cuda:0")
        here.pin_memory().to("cuda:0", non_blocking=True)
    print(counts.launches, len(counts.waits), len(counts.to_card), len(counts.pinned))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4", "1", "1", "1"]


def test_the_doctor_moves_methods_to_a_card(environment: dict[str, str]) -> None:
    script = """
from afrad_bench import registry
from afrad_bench.running.parity import compared
from tests.simulated_card import card
card.prepare()
with card.simulated(2**34):
    for line in compared([registry.find("method", name) for name in ("simplenet", "patchcore")], "cuda:1"):
        print(line.method, line.state, line.score_difference, line.detail)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=3) for line in done.stdout.splitlines()]
    assert [line[:2] for line in lines] == [["simplenet", "ok"], ["patchcore", "ok"]]
    assert [len(line) for line in lines] == [3, 3], "their states were moved, and nothing was fitted there"


def test_every_method_computes_the_same_on_every_card(lines: Lines) -> None:
    errors = {name: line["error"] for (name, _), line in lines.items() if "error" in line}
    assert not errors
    cases = {*methods.contracts(), methods.CROWDED, methods.UNCACHED}
    assert {name for name, _ in lines} == cases
    assert Counter(device for _, device in lines) == {f"cuda:{i}": len(cases) for i in range(card.CARDS)}
    apart = {
        key: (line["score"], line["map"], line.get("restored"))
        for key, line in lines.items()
        if any(value is not None and value > 1e-3 for value in (line["score"], line["map"], line.get("restored")))
    }
    assert not apart


def test_everything_that_scores_is_on_the_card_and_waits_for_nothing(lines: Lines) -> None:
    """So that a network can be captured as a CUDA graph."""
    for key, line in lines.items():
        if "network" in line:
            assert line["left"] == [], key
            for what in ("waits", "to_card", "to_host"):
                assert line["network"][what] == [], key


@pytest.mark.parametrize("name", READS_THE_LOSS_ONLY)
def test_training_waits_once_an_epoch(lines: Lines, name: str) -> None:
    line = lines[name, "cuda:0"]
    waits = Counter(place for place in line["fit"]["waits"] if not place.startswith("backbone/"))
    assert line["epochs"] >= 2
    assert sum(waits.values()) <= line["epochs"], waits
    copies = Counter(line["fit"]["to_card"])  # for each of them the host waits, too
    assert all(count == 1 for count in copies.values()), copies  # none in a step


@pytest.mark.parametrize("name", CACHED)
def test_features_are_copied_to_the_card_once(lines: Lines, name: str) -> None:
    line = lines[name, "cuda:0"]
    copies = Counter(place for place in line["fit"]["to_card"] if not place.startswith("backbone/"))
    assert all(count == 1 for count in copies.values()), copies  # none in a step
    assert len(line["fit"]["pinned"]) <= line["epochs"] + 4  # the order of each epoch; each kept map


@pytest.mark.parametrize("name", CACHED)
def test_features_of_images_in_memory_stay_on_the_card(lines: Lines, name: str) -> None:
    predict = lines[name, "cuda:0"]["predict"]
    assert predict["to_card"] == []
    assert not [place for place in predict["to_host"] if place.startswith("backbone/")]
    assert all(place.startswith("backbone/") for place in predict["pinned"])  # the images


def test_features_that_do_not_fit_come_from_pinned_memory(lines: Lines) -> None:
    """One copy for each step, for which the host does not wait."""
    line = lines[methods.CROWDED, "cuda:0"]
    of_steps = [place for place in line["fit"]["pinned"] if place.startswith("backbone/")]
    assert len(of_steps) >= 2 * line["epochs"]
    assert [place for place in line["fit"]["aside"] if place in of_steps] == of_steps
    assert line["fit"]["ahead"] == STEPS_AHEAD + 1 < len(of_steps), "else a whole epoch could be in memory"
    waits = Counter(line["fit"]["waits"])
    assert sum(count for place, count in waits.items() if not place.startswith("backbone/")) == line["epochs"]
    of_cache = [place for place in line["fit"]["waits"] if place.startswith("backbone/")]
    assert len(of_cache) <= 2  # before and after it is filled


def test_features_that_nothing_keeps_never_leave_the_card(lines: Lines) -> None:
    line = lines[methods.UNCACHED, "cuda:0"]
    assert line["fit"]["to_card"] == line["fit"]["to_host"] == []
    assert all(place.startswith("backbone/") for place in line["fit"]["pinned"])  # the images
    assert line["fit"]["for_all"] == [], "the backbone's time is not that of a step beside it"
