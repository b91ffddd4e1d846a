"""A search that found nothing better says so in the titles of its report and of its suite."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import create_trial
from ruamel.yaml import YAML

from afrad_bench import search
from afrad_bench.report.basis import results
from afrad_bench.search import study, verdict
from tests.program import Place
from tests.search.test_search import SUITE, call, loaded

POWERS = """\
suite: powers
title: Powers
measures: [accuracy]
methods: [{method: nearest_colour}]
search:
  space:
    power: [1.0, 1.0e-30]
  objectives:
    - image_auroc: maximize
  validation: {planted: 0.5}
  trials: 2
  sampler: grid
  finalists: {best: 1, seeds: [11, 12]}
profiles:
  demo:
    datasets: [folder]
    image_size: 64
"""
"""To the power of 1e-30 every distance is 1: nothing is told apart. Only the default can win."""


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    return Place(tmp_path, cache_folder)


def test_a_search_whose_best_is_worse_is_not_titled_as_if_it_were_good(place: Place) -> None:
    call(place, place.write(POWERS))
    title = "Powers: what 2 trials chose is worse than the default"
    ((page,), (best,)) = (list((place.folder / "reports").rglob(name)) for name in ("search.md", "best.yaml"))
    assert page.read_text("utf-8").startswith(f"# {title}\n")
    written = YAML(typ="safe").load(best)
    assert written["title"] == title
    assert written["profiles"]["demo"]["description"].startswith("What 2 trials chose is worse than the default. ")
    lines = page.read_text("utf-8").splitlines()
    (said,) = (line for line in lines if line.startswith("The search found nothing better than the default: "))
    assert (
        "what it chose is worse. “trial 0 (best of 2 trials)” is worse than default by 50.0 points of I-AUROC" in said
    )
    assert "best" not in lines[0]
    assert "| trial " in page.read_text("utf-8")  # the trial itself is shown all the same


def trials(folder: Path, *values: tuple[float, float], text: str = SUITE) -> tuple[optuna.Study, search.Declared]:
    """A study with these learning rates and values; the default's rate is 1e-3."""
    made = loaded(folder, text)
    opened = study.opened(replace(made, search=made.search.model_copy(update={"storage": "memory"})), folder)
    default = {"training.lr": 1e-3, "mfpn.widths": "[8,8,8,8]", "ngib": True}
    kinds: dict[str, Any] = {"training.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)}
    kinds |= {"mfpn.widths": optuna.distributions.CategoricalDistribution(["[8,8,8,8]", "[4,4,4,4]"])}
    kinds |= {"ngib": optuna.distributions.CategoricalDistribution([True, False])}
    for rate, value in values:
        opened.add_trial(create_trial(params={**default, "training.lr": rate}, distributions=kinds, value=value))
    return opened, made


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (((1e-3, 0.9), (2e-3, 0.95)), "better"),
        (((1e-3, 0.9), (2e-3, 0.8)), "not better"),
        (((2e-3, 0.9), (1e-3, 0.9)), "not better"),
        (((2e-3, 0.9), (3e-3, 0.8)), "unknown"),
        (((1e-3, 0.9),), "unknown"),
    ],
)
def test_trials_are_held_against_the_default_among_them(
    tmp_path: Path, values: tuple[tuple[float, float], ...], expected: str
) -> None:
    assert search.of_trials(*trials(tmp_path, *values)) == expected


def test_the_suite_of_trials_that_are_no_better_says_so(tmp_path: Path) -> None:
    opened, made = trials(tmp_path, (1e-3, 0.9), (2e-3, 0.8))
    text = search.best_suite(opened, made, search.IN_WORDS[search.of_trials(opened, made)])
    assert text is not None
    assert "none of 2 trials is better than the default" in " ".join(text.split())


Gains = dict[int, float]


@pytest.mark.parametrize(
    ("finalists", "expected"),
    [
        ([{11: 0.10, 12: 0.11, 13: 0.09}], "better"),
        ([{11: -0.10, 12: -0.11, 13: -0.09}], "worse"),
        ([{11: -0.10, 12: 0.11, 13: -0.09}], "not distinguishable"),
        ([{11: -0.10}], "not distinguishable"),
        ([{11: 0.0, 12: 0.0}], "not distinguishable"),
        ([{11: -0.1, 12: -0.1}], "worse"),  # no noise at all
        ([{}], "unknown"),
        ([{11: -0.10, 12: -0.11, 13: -0.09}, {11: 0.10, 12: 0.11, 13: 0.09}], "worse"),  # the first is the best trial
        ([{11: 0.10, 12: 0.11, 13: 0.09}, {}], "better"),
    ],
)
def test_finalists_are_held_against_the_default_seed_by_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finalists: list[Gains], expected: str
) -> None:
    values = {verdict.DEFAULT: dict.fromkeys((11, 12, 13), 0.8)}
    values |= {f"trial {i}": {seed: 0.8 + gain for seed, gain in gains.items()} for i, gains in enumerate(finalists)}
    monkeypatch.setattr(verdict, "_by_seed", lambda plan, read, label, goal: values[label])
    monkeypatch.setattr(results, "read", lambda *tables: None)
    plan = SimpleNamespace(cells=[], selection=SimpleNamespace(rows=[SimpleNamespace(label=label) for label in values]))
    store = SimpleNamespace(read_all=lambda names, ids: dict.fromkeys(names))
    assert search.of_finalists(loaded(tmp_path), plan, store) == expected  # type: ignore[arg-type]


def test_where_less_is_better_a_gain_is_a_decrease(tmp_path: Path) -> None:
    text = SUITE.replace("image_auroc: maximize", "gmacs: minimize")
    (goal,) = loaded(tmp_path, text).objectives
    assert verdict._gain({0: 1.0, 1: 1.0}, {0: 3.0, 1: 3.0}, goal).mean == 2.0
    assert search.of_trials(*trials(tmp_path, (1e-3, 2.0), (2e-3, 1.0), text=text)) == "better"
