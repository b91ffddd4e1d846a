"""Search: the declaration and its mistakes, data divided for it, storages, kills, pruning, workers, and the report."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from afrad_bench import registry, search
from afrad_bench.cli.again import run_command
from afrad_bench.cli.options import Place as Places
from afrad_bench.errors import UserError
from afrad_bench.hashing import canonical
from afrad_bench.running.search_split import part_of
from afrad_bench.search import report, space, study
from afrad_bench.search.best import best_trials
from afrad_bench.suite import suite
from afrad_bench.suite.file import Parameter, Split
from afrad_bench.suite.selection.layers import dotted_names
from tests.conftest import ROOT, drawn_dataset
from tests.program import Place

SUITE = """\
suite: tiny_search
title: Tiny search
measures: [accuracy, complexity]
seeds: [0]
methods:
  - method: afrad
    params:
      backbone: {name: resnet18, weights: random}
      mfpn: {widths: [8, 8, 8, 8]}
      width: 8
      training: {epochs: 4, lr: 1e-3}
search:
  space:
    training.lr: {real: [1e-4, 1e-2], log: true}
    mfpn.widths: [[8, 8, 8, 8], [4, 4, 4, 4]]
    ngib: [true, false]
    fusion: {choices: [sum, concat], when: {ngib: false}}
  objectives:
    - image_auroc: maximize
  validation: {planted: 0.5}
  trials: 4
  sampler: random
  finalists: {best: 1, seeds: [11, 12]}
profiles:
  demo:
    datasets: [folder]
    image_size: 64
"""
OF_PATCHCORE = """\
suite: bank
title: A bank
measures: [accuracy]
methods:
  - {method: patchcore, params: {backbone: {name: resnet18, weights: random}}}
search:
  space: {batch_norm: [official, pretrained], neighbours: [1, 3]}
  objectives: [image_auroc: maximize]
  validation: {planted: 0.5}
  trials: 4
profiles:
  demo: {datasets: [folder], image_size: 64}
"""
SLOWER = SUITE.replace("epochs: 4", "epochs: 12").replace("seeds: [11, 12]", "seeds: [11]")
"""Slow enough to be killed in a trial."""


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    return Place(tmp_path, cache_folder)


def loaded(folder: Path, text: str = SUITE, overrides: tuple[str, ...] = ()) -> search.Declared:
    path = folder / "search.yaml"
    path.write_text(text, encoding="utf-8")
    read = suite.load(path)
    return search.declared(read, read.select(None, overrides))


def complaint(folder: Path, old: str, new: str, overrides: tuple[str, ...] = ()) -> str:
    assert old in SUITE
    with pytest.raises(UserError) as caught:
        loaded(folder, SUITE.replace(old, new), overrides)
    return str(caught.value)


# --------------------------------------------------------------------------------------------------------- declaration


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("training.lr: {", "training.lrr: {", 14, "unknown field 'training.lrr' (did you mean 'training.lr'?)"),
        ("real: [1e-4, 1e-2], log", "real: [1e-4, 1e-2], lg", 14, "'lg' (did you mean 'log'?)"),
        ("real: [1e-4, 1e-2], log: true", "real: [1e-2, 1e-4]", 14, "the low end 0.01 must be below the high end"),
        ("real: [1e-4, 1e-2], log", "real: [0, 1e-2], log", 14, "a logarithmic range must begin above 0"),
        ("real: [1e-4, 1e-2], log: true", "real: [-1, 1e-2]", 14, "search.space.training.lr: training.lr: input"),
        ("real: [1e-4, 1e-2], log: true", "log: true", 14, "give one of real: [low, high]"),
        ("choices: [sum, concat]", "choices: [sum, consat]", 17, "did you mean 'concat'?"),
        ("[4, 4, 4, 4]]", "[4, 4, 4]]", 15, "search.space.mfpn.widths"),
        ("when: {ngib: false}", "when: {ngibb: false}", 17, "did you mean 'ngib'?"),
        ("when: {ngib: false}", "when: {ngib: 3}", 17, "ngib is never 3"),
        ("ngib: [true, false]", "ngib: [true, true]", 16, "a choice is given twice"),
        ("image_auroc: maximize", "image_auro: maximize", 19, "did you mean 'image_auroc'?"),
        ("image_auroc: maximize", "image_auroc: minimize", 19, "higher image_auroc is better: maximize it"),
        ("image_auroc: maximize", "oracle_test_auroc: maximize", 19, "which a search must not see"),
        ("{planted: 0.5}", "{planted: 0.5, labelled: 0.5}", 20, "give either planted or labelled"),
        ("sampler: random", "sampler: tqe", 22, "did you mean 'tpe'?"),
        ("sampler: random", "sampler: {tpe: {n_startup_trial: 3}}", 22, "did you mean 'n_startup_trials'?"),
        ("sampler: random", "pruner: {median: {n_startup_trials: -1}}", 22, "median: "),
        ("sampler: random", "sampler: grid", 12, "a grid needs choices or steps"),
        ("seeds: [11, 12]", "seeds: [0, 12]", 23, "finalists need seeds that no trial used"),
        ("datasets: [folder]", "datasets: [{name: folder, split: {planted: 0.5, part: search}}]", 1, "not by split"),
        ("  sampler: random", "  sampler: random\n  workers: 2\n  storage: memory", 12, "a storage that they share"),
        ("trials: 4", "trials: 4\n  constraints: {gmac: 3}", 22, "did you mean 'gmacs'?"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, told: str) -> None:
    text = complaint(tmp_path, old, new)
    assert told in text
    assert f"search.yaml:{line}: " in text


def test_several_objectives_cannot_be_pruned(tmp_path: Path) -> None:
    several = "- image_auroc: maximize\n    - gmacs: minimize"
    assert "cannot prune a search with several" in complaint(
        tmp_path, "- image_auroc: maximize", several, ("search.pruner=median",)
    )
    assert "CMA-ES supports only one objective" in complaint(
        tmp_path, "- image_auroc: maximize", several, ("search.sampler={random: {}}", "search.sampler=cmaes")
    ) or not has("cmaes")
    made = loaded(tmp_path, SUITE.replace("- image_auroc: maximize", several))
    assert [goal.direction for goal in made.objectives] == ["maximize", "minimize"]


def has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def test_a_profile_and_the_command_line_change_the_search(tmp_path: Path) -> None:
    changed = SUITE + "    search: {trials: 7, sampler: {tpe: {n_startup_trials: 2}}, finalists: {best: 2}}\n"
    made = loaded(tmp_path, changed, ("search.trials=9",)).search
    assert (made.trials, made.sampler.name, made.finalists.best, made.finalists.seeds) == (9, "tpe", 2, (11, 12))


def test_a_suite_without_search_says_so(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(SUITE[: SUITE.index("search:\n")] + SUITE[SUITE.index("profiles:") :], encoding="utf-8")
    read = suite.load(path)
    with pytest.raises(UserError, match="declares no search"):
        search.declared(read, read.select())
    with pytest.raises(UserError, match="declares no search that could be changed"):
        read.select(None, ["search.trials=3"])


def test_the_shipped_search_is_valid_in_all_profiles() -> None:
    read = suite.load(ROOT / "suites" / "search_afrad.yaml")
    for profile in read.file.profiles:
        assert search.declared(read, read.select(profile)).axes


def test_a_searched_row_needs_fresh_seeds(tmp_path: Path) -> None:
    text = SUITE[: SUITE.index("search:\n")] + SUITE[SUITE.index("profiles:") :]
    row = "    variants:\n      - {label: best, searched: {by: tiny, trials: 4, seeds: [0]}}\n"
    path = tmp_path / "best.yaml"
    path.write_text(text.replace("profiles:", row + "profiles:"), encoding="utf-8")
    with pytest.raises(UserError, match="'best' was chosen by a search on seed 0"):
        suite.load(path)
    path.write_text(path.read_text("utf-8").replace("\nseeds: [0]", "\nseeds: [5]"), encoding="utf-8")
    assert suite.load(path).select().rows[0].title == "best (best of 4 trials)"


# --------------------------------------------------------------------------------------------------------------- space


def test_conditional_parameters_exist_only_where_they_should(tmp_path: Path) -> None:
    axes = loaded(tmp_path).axes
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        values = space.suggested(made.ask(), axes)
        assert ("fusion" in values) == (values["ngib"] is False)
        assert values["mfpn.widths"] in ([8, 8, 8, 8], [4, 4, 4, 4])
        assert 1e-4 <= values["training.lr"] <= 1e-2


def test_the_configuration_as_it_was_is_a_point_of_the_space(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    params = made.own
    assert space.standing(made.axes, params) == {"training.lr": 1e-3, "mfpn.widths": "[8,8,8,8]", "ngib": True}
    params["training"]["lr"] = 1.0
    assert space.standing(made.axes, params) is None


@pytest.mark.parametrize("method", sorted(registry.entries("method")))
def test_a_complete_configuration_has_every_field(method: str) -> None:
    """Those too that are stored only where they differ from the default, which a search may vary as any other."""
    model = registry.find("method", method).load().Config
    stored = canonical(model().model_dump(mode="json"))
    found = space.complete(model, stored)
    for name in dotted_names(model):
        value = found
        for step in name.split("."):
            value = value[step]
    assert model.model_validate(found) == model()


def test_a_field_that_is_stored_only_if_it_differs_can_be_searched(tmp_path: Path) -> None:
    """The default is a point of the space; the sampler proposes it first, and no trial equal to it is the best."""
    made = loaded(tmp_path, OF_PATCHCORE)
    assert "batch_norm" not in json.loads(made.row.params)
    default = {"batch_norm": "official", "neighbours": 1}
    assert space.standing(made.axes, made.own) == default
    found = study.opened(made, tmp_path / "store")
    (waiting,) = found.get_trials(states=(TrialState.WAITING,))
    assert waiting.system_attrs["fixed_params"] == default
    trials = [
        create_trial(params=params, values=[value], distributions=_distributions(made))
        for params, value in ((default, 0.9), ({**default, "neighbours": 3}, 0.8))
    ]
    found.add_trials(trials)
    assert [trial.params for trial in best_trials(found, made, 2)] == [{**default, "neighbours": 3}]


def _distributions(made: search.Declared) -> dict[str, optuna.distributions.BaseDistribution]:
    return {axis.name: optuna.distributions.CategoricalDistribution(axis.parameter.choices or ()) for axis in made.axes}


def test_a_grid_lists_every_value() -> None:
    axis = space.Axis("x", Parameter(integer=(2, 9), step=3), ())
    assert axis.grid() == [2, 5, 8]
    assert space.Axis("x", Parameter(real=(0, 1)), ()).grid() is None
    assert [axis.allows(value) for value in (2, 3, 8, 9, 11, True, "2")] == [
        True,
        False,
        True,
        False,
        False,
        False,
        False,
    ]


# ---------------------------------------------------------------------------------------------------------------- data


@settings(max_examples=25, deadline=None)
@given(
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 5),
    train=st.integers(6, 15),
    way=st.sampled_from(["planted", "labelled"]),
    categories=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
)
def test_no_image_of_the_report_is_searched_on(
    share: float, seed: int, train: int, way: str, categories: tuple[str, ...]
) -> None:
    whole = drawn_dataset(train=train, normal=4, anomalous=5, categories=categories)
    searching, reporting = (
        part_of(whole, Split(**{way: share}, seed=seed, part=part)) for part in ("search", "report")
    )
    used = {sample.id for sample in (*searching.train, *searching.test)}
    assert not used & {sample.id for sample in reporting.test}
    assert not {sample.id for sample in searching.train} & {sample.id for sample in searching.test}
    assert searching.fingerprint != whole.fingerprint
    assert searching.notes != whole.notes
    for category in categories:
        assert {s.gt_label for s in searching.test if s.category == category} == {False, True}
        assert {s.gt_label for s in reporting.test if s.category == category} == {False, True}
    if way == "planted":
        assert reporting is whole
        contents = {sample.image.fingerprint() for sample in whole.test}
        assert not contents & {sample.image.fingerprint() for sample in (*searching.train, *searching.test)}
        assert not used & {sample.id for sample in whole.test}
    else:
        assert reporting.fingerprint not in (whole.fingerprint, searching.fingerprint)
        assert len(searching.test) + len(reporting.test) == len(whole.test)


def test_a_planted_defect_changes_its_mask_and_nothing_else() -> None:
    whole = drawn_dataset(train=12)
    clean = {sample.id: sample.image.read() for sample in whole.train}
    planted = [s for s in part_of(whole, Split(planted=0.8, part="search")).test if s.gt_label]
    assert {sample.defect for sample in planted} >= {"crack", "hole", "patch", "scratch"}
    for sample in planted:
        image, mask = sample.image.read(), sample.mask.read()
        changed = (image != clean[sample.id.partition("/planted/")[0]]).any(axis=2)
        assert mask.any()
        assert np.array_equal(changed, mask)
        assert image.dtype == np.uint8


def test_too_few_images_to_hold_out_are_refused() -> None:
    with pytest.raises(UserError, match="too few to hold out 2"):
        part_of(drawn_dataset(train=2), Split(planted=0.5, part="search"))


# -------------------------------------------------------------------------------------------------------------- studies


@pytest.mark.parametrize("storage", ["memory", "journal", "journal:{folder}/own.journal", "sqlite:///{folder}/s.db"])
def test_every_storage_opens_and_refuses_another_search(tmp_path: Path, storage: str) -> None:
    named = storage.format(folder=tmp_path)
    made = loaded(tmp_path, overrides=(f"search.storage={named}",))
    opened = study.opened(made, tmp_path)
    assert [trial.state for trial in opened.trials] == [TrialState.WAITING]  # the configuration as it was comes first
    assert len(study.opened(made, tmp_path).trials) == 1
    other = loaded(tmp_path, SUITE.replace("1e-2], log", "2e-2], log"), (f"search.storage={named}",))
    if named != "memory":
        with pytest.raises(UserError, match="belongs to another search"):
            study.opened(other, tmp_path)


def test_a_storage_that_cannot_be_is_refused(tmp_path: Path) -> None:
    for storage, told in (("jurnal", "no such storage"), ("sqlite:////no/such/folder/x.db", "unable to open")):
        with pytest.raises(UserError, match=told):
            study.opened(loaded(tmp_path, overrides=(f"search.storage={storage}",)), tmp_path)


def test_a_lost_trial_is_queued_again_and_a_living_one_left_alone(tmp_path: Path) -> None:
    made = loaded(tmp_path)
    opened = study.opened(made, tmp_path)
    lost, living = opened.ask(), opened.ask()
    for trial in (lost, living):
        space.suggested(trial, made.axes)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lost.set_user_attr(study.WORKER, {**study.this_process(), "pid": dead.pid})
    living.set_user_attr(study.WORKER, study.this_process())
    assert search.recover(opened) == 1
    states = [trial.state.name for trial in opened.trials]
    assert states == ["FAIL", "RUNNING", "WAITING"]
    again = opened.ask()
    assert space.suggested(again, made.axes)
    assert again.params == lost.params
    assert again.user_attrs[study.RETRY_OF] == lost.number
    assert search.remaining(opened, 10) == 8  # the repetition counts, the lost one does not
    assert search.recover(opened) == 0


def test_the_best_keep_the_limits_and_are_not_the_default(tmp_path: Path) -> None:
    made = loaded(tmp_path, SUITE.replace("trials: 4", "trials: 4\n  constraints: {gmacs: 1}"))
    opened = study.opened(replace(made, search=made.search.model_copy(update={"storage": "memory"})), tmp_path)
    spread = {"training.lr": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)}
    for rate, value, excess in (
        (1e-3, 0.9, -0.1),
        (2e-3, 0.95, 0.2),
        (3e-3, 0.8, -0.1),
        (3e-3, 0.8, -0.1),
        (4e-3, 0.7, 0.0),
    ):
        opened.add_trial(
            create_trial(
                params={"training.lr": rate},
                distributions=spread,
                value=value,
                user_attrs={"excess": {"gmacs": excess}},
            )
        )
    best = search.best_trials(opened, made, 5)
    assert [trial.params["training.lr"] for trial in best] == [3e-3, 4e-3]
    text = search.best_suite(opened, made)
    assert text is not None
    (tmp_path / "best.yaml").write_text(text, encoding="utf-8")
    found = suite.load(tmp_path / "best.yaml").select()
    assert [row.label for row in found.rows] == ["default", f"trial {best[0].number}"]
    assert found.rows[1].searched is not None
    assert found.seeds == (11, 12)


# --------------------------------------------------------------------------------------------------------- command line


def studied(place: Place, name: str = "tiny_search-demo") -> optuna.Study:
    backend = optuna.storages.journal.JournalFileBackend(str(place.folder / f"results/studies/{name}.journal"))
    return optuna.load_study(study_name=name, storage=optuna.storages.JournalStorage(backend))


def call(place: Place, *arguments: object, expect: int = 0) -> str:
    return place.call("search", *arguments, "--data", f"folder={place.data}", "--threads", 1, expect=expect)


def test_a_search_runs_from_trials_to_its_report(place: Place) -> None:
    path = place.write(SUITE)
    assert "ok" in place.call("check", path, "--data", f"folder={place.data}")
    out = call(place, path)
    made = studied(place)
    assert [trial.state for trial in made.trials] == [TrialState.COMPLETE] * 4
    cells = place.table("cells")
    trials = cells[cells["suite"] == "tiny_search"]
    assert set(trials["label"]) <= {f"trial {number}" for number in range(4)}
    assert all("search split" in params for params in trials["dataset_params"])
    assert all("of the search tiny_search-demo" in notes for notes in trials["notes"])
    assert all("no test image is used" in notes for notes in trials["notes"])
    scored = place.table("scores").merge(trials[["run_id"]], on="run_id")
    assert not scored["image_id"].str.contains("/test/").any()
    finals = cells[cells["suite"] == "tiny_search_best"]
    assert set(finals["seed"]) == {11, 12}
    assert len(finals) == 4
    assert "(best of 4 trials)" in out
    folder = place.folder / "reports" / "tiny_search" / "demo"
    page = (folder / "search.md").read_text("utf-8")
    assert "## Search" in page
    assert "4 complete" in page
    assert "0 (default)" in page
    for name in ("history", "slices_1", "parallel"):
        assert (folder / "search_figures" / f"search_{name}.svg").is_file()
        assert (folder / "search_figures" / f"search_{name}.png").is_file()
    assert "<svg" in (folder / "search.html").read_text("utf-8")
    place.call("check", folder / "best.yaml", "--data", f"folder={place.data}")

    again = call(place, path)
    assert len(studied(place).trials) == 4
    assert len(place.table("cells")) == len(cells)
    assert "best.yaml" in again


def test_pruning_ends_the_training_early(place: Place) -> None:
    # The default goes through; every later trial whose score at epoch 2 is not above the best of the others is ended.
    text = SUITE.replace("epochs: 4", "epochs: 6").replace("sampler: random", "sampler: random\n  every: 2")
    pruner = "  pruner: {threshold: {lower: 0.999999}}\n"
    text = text.replace("  trials: 4\n", "  trials: 2\n" + pruner).replace("{planted: 0.5}", "{planted: 0.5}")
    out = call(place, place.write(text), expect=2)
    assert "no other configuration was completed" in out
    made = studied(place)
    assert [trial.state for trial in made.trials] == [TrialState.PRUNED] * 2
    cells = place.table("cells")
    assert list(cells["status"]) == ["stopped"] * 2
    assert list(cells["epochs"]) == [2, 2]
    assert list(cells["images_seen"]) == [2 * 8, 2 * 8]  # 4 of 8 images of each of two categories, twice
    assert list(made.trials[0].intermediate_values) == [2]


def test_several_objectives_give_a_front(place: Place) -> None:
    text = SUITE.replace("- image_auroc: maximize", "- image_auroc: maximize\n    - gmacs: minimize")
    out = call(place, place.write(text), "--set", "search.storage=sqlite:///own.db")
    assert "Pareto front" in out
    (folder,) = (place.folder / "reports" / "tiny_search").iterdir()
    assert (folder / "search_figures" / "search_pareto.svg").is_file()
    assert "optuna-dashboard sqlite:///own.db" in out
    made = optuna.load_study(study_name="tiny_search-demo", storage=f"sqlite:///{place.folder}/own.db")
    assert all(len(trial.values) == 2 for trial in made.trials)


def test_trials_of_several_seeds_are_compared_in_pairs(place: Place) -> None:
    text = (
        SUITE[: SUITE.index("methods:")] + "methods: [{method: nearest_colour}]\n" + SUITE[SUITE.index("search:\n") :]
    )
    space_of = text[text.index("    training.lr") : text.index("  objectives")]
    text = text.replace(space_of, "    power: {real: [0.5, 3.0]}\n").replace("\nseeds: [0]", "\nseeds: [0, 1, 2]")
    call(place, place.write(text.replace("trials: 4", "trials: 3\n  pruner: wilcoxon").replace("complexity", "cost")))
    trials = studied(place).trials
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sorted(trials[0].intermediate_values) == list(range(6))  # three seeds, two categories
    assert trials[0].value == pytest.approx(np.mean(list(trials[0].intermediate_values.values())))


def test_a_killed_search_goes_on_and_loses_no_trial(place: Place) -> None:
    path = place.write(SLOWER.replace("trials: 4", "trials: 2"))
    process = place.start("search", path, "--data", f"folder={place.data}", "--threads", 1)
    journal = place.folder / "results/studies/tiny_search-demo.journal"
    wait_for(lambda: journal.is_file() and b'"training.lr"' in journal.read_bytes() and running(place), process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    lost = studied(place).trials[0]
    assert lost.state == TrialState.RUNNING
    call(place, path)
    trials = studied(place).trials
    assert [trial.state for trial in trials if trial.state == TrialState.RUNNING] == []
    assert trials[0].state == TrialState.FAIL
    repeated = [trial for trial in trials if trial.user_attrs.get(study.RETRY_OF) == 0]
    assert len(repeated) == 1
    assert repeated[0].state == TrialState.COMPLETE
    assert repeated[0].params == lost.params
    assert sum(trial.state == TrialState.COMPLETE for trial in trials) == 2


def test_workers_share_a_study_and_one_that_is_killed_is_replaced(place: Place) -> None:
    path = place.write(SLOWER.replace("trials: 4", "trials: 5\n  workers: 2"))
    process = place.start("search", path, "--data", f"folder={place.data}", "--threads", 1)
    journal = place.folder / "results/studies/tiny_search-demo.journal"
    wait_for(lambda: journal.is_file() and running(place), process)
    victim = running(place)[0]
    os.kill(victim.user_attrs[study.WORKER]["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, (out, err)
    trials = studied(place).trials
    finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(finished) == 5
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    assert len({trial.number for trial in trials}) == len(trials)
    drawn = [json.dumps(trial.params, sort_keys=True) for trial in finished]
    assert len(set(drawn)) == 5
    assert len({trial.user_attrs[study.WORKER]["pid"] for trial in trials}) == 3
    assert any(trial.user_attrs.get(study.RETRY_OF) == victim.number for trial in finished)


def running(place: Place) -> list[optuna.trial.FrozenTrial]:
    try:
        trials = studied(place).trials
    except KeyError:  # the study is not there yet
        return []
    return [trial for trial in trials if trial.state == TrialState.RUNNING and len(trial.params) > 2]


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)


def test_the_dashboard_lists_the_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    made = loaded(tmp_path)
    study.opened(made, tmp_path)
    command = report.dashboard(made, tmp_path).split()
    assert command[0] == "optuna-dashboard"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", *command[1:]]
    server = subprocess.Popen(
        [*start, "--host", "127.0.0.1", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 60
        while True:
            assert server.poll() is None, server.communicate()
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                    listed = json.load(answer)
                break
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.2)
    finally:
        server.terminate()
        server.communicate()
    assert "tiny_search-demo" in json.dumps(listed)


def test_the_command_that_goes_on_names_every_override(tmp_path: Path) -> None:
    made = loaded(tmp_path, overrides=("search.trials=9",))
    command = run_command("a.yaml", made.selection, Places().workspace(), Places(), verb="search")
    assert command == "afrad-bench search a.yaml --profile demo --set search.trials=9"


def test_the_example_of_the_page_is_a_search(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "search.md").read_text("utf-8")
    made = loaded(tmp_path, page.partition("```yaml\n")[2].partition("```")[0])
    assert (made.search.trials, made.search.finalists.best, len(made.axes)) == (20, 2, 6)
