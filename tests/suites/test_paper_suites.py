"""The suites of the paper: what each profile says, and how they run, from the original layouts of data to verdicts."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from afrad_bench import published, registry
from afrad_bench.cli import app
from afrad_bench.datasets import mvtec_ad, visa
from afrad_bench.datasets._reading import assemble as _assemble
from afrad_bench.methods.recipes import differences
from afrad_bench.report.basis.verdict import NOT_PUBLISHED
from afrad_bench.suite import suite
from afrad_bench.suite.selection import Selection
from tests.conftest import ROOT, mvtec_folder
from tests.layouts import cifar_batches

SUITES = ROOT / "suites"
OF_TABLE = {
    "table1": "table1_mvtec",
    "table2": "table2_visa",
    "table3": "table3_cifar10",
    "table4": "table4_latency",
    "table5": "ablation_decoders",
    "table6": "ablation_stages",
    "table7": "ablation_frm",
}
QUICK = ("afrad.backbone.name=resnet18", "afrad.backbone.weights=random", "afrad.training.epochs=1", "image_size=64")


def selected(name: str, profile: str) -> Selection:
    return suite.load(SUITES / f"{name}.yaml").select(profile)


def configuration(selection: Selection, method: str = "afrad") -> dict[str, object]:
    return next(json.loads(row.params) for row in selection.rows if row.method == method)


# ---------------------------------------------------------------------------------------------------- what is declared


def test_every_table_of_the_paper_has_its_suite() -> None:
    assert set(OF_TABLE) == set(published.tables())
    for table, name in OF_TABLE.items():
        assert selected(name, "paper").reproduces == table


@pytest.mark.parametrize("table", OF_TABLE)
def test_every_row_of_a_table_is_a_row_or_named_as_absent(table: str) -> None:
    for profile in ("paper", "demo"):
        selection = selected(OF_TABLE[table], profile)
        rows = [row.published for row in selection.rows]
        assert sorted([*filter(None, rows), *selection.absent]) == sorted(published.rows(table))
        assert not set(selection.absent) & set(registry.entries("method"))


@pytest.mark.parametrize("table", OF_TABLE)
def test_the_paper_profile_is_the_papers_protocol(table: str) -> None:
    selection, protocol = selected(OF_TABLE[table], "paper"), published.PROTOCOL
    assert (selection.image_size, selection.setting) == (protocol.image_size, protocol.setting)
    data = {figure.dataset for figure in published.figures(table)} - {None} or {"mvtec_ad"}
    assert {one.name for one in selection.datasets} == data
    module = registry.find("method", "afrad").load()
    for row in (row for row in selection.rows if row.method == "afrad" and row.published):
        for name in data:
            found = differences(module, json.loads(row.params), name, selection.image_size, (table, row.published))
            fields = {change.field for change in found.changes}
            assert fields <= ({"training.epochs"} if table == "table4" else set()), row.label  # a time ignores epochs


def test_cifar10_has_its_four_combinations_and_the_papers_image_score() -> None:
    selection = selected("table3_cifar10", "paper")
    combinations = {json.loads(one.params)["normal_classes"] for one in selection.datasets}
    assert combinations == {figure.category for figure in published.figures("table3")} - {"mean"}
    score = configuration(selection)["score"]
    assert (score["pool"], score["reduce"]) == (16, "max")


def test_demo_profiles_need_nothing_but_what_is_installed() -> None:
    for path in sorted(SUITES.glob("*.yaml")):
        selection = selected(path.stem, "demo")
        for one in selection.datasets:
            assert registry.find("dataset", one.name).load().ENVIRONMENT is None, path
        for row in selection.rows:
            backbone = json.loads(row.params).get("backbone")
            assert backbone is None or backbone["weights"] in ("packaged", "random"), (path, row.label)
            if "accuracy" in [one.name for one in selection.measures]:
                assert backbone is None or backbone["weights"] == "packaged", (path, row.label)


def test_the_ablations_differ_only_in_what_they_ablate() -> None:
    """Of Table 6 nothing but the stages, of Table 7 nothing but the FRM, and the complete row is AFRAD, faithful."""
    for table, parts in {"table6": {"fld", "cd", "sad"}, "table7": {"frm"}}.items():
        selection = selected(OF_TABLE[table], "paper")
        rows = {row.label: json.loads(row.params) for row in selection.rows}
        full = rows[selection.compare_to or ""]
        for params in (each for each in rows.values() if each.get("reading") == "faithful"):
            assert {name for name in params if params[name] != full[name]} <= parts
        assert {part: full[part] for part in parts} == {
            part: registry.find("method", "afrad").load().Config(reading="faithful").model_dump(mode="json")[part]
            for part in parts
        }


@pytest.mark.parametrize("table", OF_TABLE)
def test_the_row_with_the_papers_name_is_the_faithful_reading_and_the_others_stand_beside_it(table: str) -> None:
    module = registry.find("method", "afrad").load()
    for profile in ("paper", "demo"):
        rows = [row for row in selected(OF_TABLE[table], profile).rows if row.method == "afrad"]
        readings = {row.label: module.Config.model_validate_json(row.params).reading for row in rows}
        assert {readings[row.label] for row in rows if row.published} == {"faithful"}
        assert sorted(readings[row.label] for row in rows if not row.published) == ["printed", "tuned"]


AXES = {
    "backbone stages": "features.reductions",
    "resolution of F_ori": "features.grid",
    "M-FPN topology": "mfpn.topology",
    "patch embedding, kernels": "mfpn.kernels",
    "patch embedding, strides": "mfpn.strides",
    "FRM": "frm.",
    "repeats N_i": "sad.repeats",
    "MLP of the SAD": "sad.skip",
    "MLP of the NGIB": "ngib_skip",
    "FLD block": "fld.",
    "fusion without NGIB": "fusion",
    "without FRM": "frm.enabled",
    "loss": "training.loss",
    "image score": "score.",
    "scale of the features": "features.scale",
    "feature jitter": "training.jitter",
    "batch size": "training.batch_size",
    "weight decay": "training.weight_decay",
    "schedule": "training.schedule",
    "clipping": "training.clip",
}
"""What the paper leaves open, and the field that decides it."""


@pytest.mark.parametrize("profile", ["paper", "demo", "demo_faithful", "demo_printed"])
def test_every_open_choice_is_an_axis_with_another_reading_than_the_default(profile: str) -> None:
    selection = selected("ambiguity", profile)
    assert (selection.compare_to, len(selection.seeds)) == (selection.rows[0].label, 3)
    assert len({row.params for row in selection.rows}) == len(selection.rows)
    for axis, name in AXES.items():
        readings = [row.label for row in selection.rows if row.axis == axis]
        assert readings, axis
        assert all(name in label for label in readings), (axis, readings)


# --------------------------------------------------------------------------------------------------------------- runs


class Lab:
    """A working folder in which suites are run."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.options = ["--store", str(folder / "results"), "--cache", str(cache), "--device", "cpu", "--threads", "1"]

    def arguments(self, name: str, sets: tuple[str, ...], data: dict[str, Path]) -> list[str]:
        out = ["run", str(SUITES / f"{name}.yaml"), "--profile", "paper", *self.options]
        out += ["--reports", str(self.folder / "reports")]
        out += [text for one in sets for text in ("--set", one)]
        return out + [text for dataset, root in data.items() for text in ("--data", f"{dataset}={root}")]

    def run(self, name: str, *sets: str, **data: Path) -> None:
        """In this process, to spare the start."""
        done = CliRunner().invoke(app, self.arguments(name, sets, data), catch_exceptions=False)
        assert done.exit_code == 0, done.output

    def start(self, name: str, *sets: str, **data: Path) -> subprocess.CompletedProcess[str]:
        """As a command of its own."""
        command = [sys.executable, "-c", "from afrad_bench.cli import main; main()", *self.arguments(name, sets, data)]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(self.folder / "none")}
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def report(self, name: str, suffix: str) -> Path:
        """The only report of the suite; overrides have given it a folder of its own."""
        (found,) = (self.folder / "reports" / name).glob(f"paper*/report.{suffix}")
        return found

    def markdown(self, name: str) -> str:
        return self.report(name, "md").read_text(encoding="utf-8").replace("\\", "")

    def facts(self, name: str) -> list[dict[str, str]]:
        with self.report(name, "csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))


@pytest.fixture
def lab(tmp_path: Path, cache_folder: Path) -> Lab:
    return Lab(tmp_path, cache_folder)


def visa_folder(root: Path, category: str = "candle") -> Path:
    """The converted layout: one kind of defect, `bad`."""
    mvtec_folder(root, (category,), train=2, test=2)
    (root / category / "test" / "square").rename(root / category / "test" / "bad")
    (root / category / "ground_truth" / "square").rename(root / category / "ground_truth" / "bad")
    return root


def test_table_1_runs_with_the_papers_settings_from_a_folder_in_its_layout(lab: Lab) -> None:
    root = mvtec_folder(lab.folder / "mvtec", tuple(mvtec_ad.PUBLISHED), train=1, test=1)
    sets = ("rows=[AFRAD]", "afrad.training.epochs=1")
    refused = lab.start("table1_mvtec", *sets, mvtec_ad=root)
    assert refused.returncode == 2
    assert "timm's cache does not hold the weights of efficientnet_b4" in refused.stderr
    assert "or use random weights, and reports will say so: weights: random" in refused.stderr
    assert "Traceback" not in refused.stderr

    sets = (*sets, "afrad.backbone.weights=random")
    done = lab.start("table1_mvtec", *sets, mvtec_ad=root)
    assert done.returncode == 0, done.stdout + done.stderr
    (cell,) = pd.read_parquet(lab.folder / "results" / "cells").to_dict("records")
    assert (cell["image_size"], cell["backbone"], cell["weights"], cell["epochs"]) == (256, *B4_RANDOM, 1)
    assert json.loads(cell["overrides"]) == list(sets)
    differs = (
        "differs from the published configuration (the paper, faithful): backbone.weights random instead of timm; "
        "training.epochs 1 instead of 1000"
    )
    assert differs in json.loads(cell["notes"])
    params = json.loads(cell["params"])
    assert (params["training"]["lr"], params["training"]["epochs"]) == (1e-4, 1)

    text = lab.markdown("table1_mvtec")
    assert "> **⚠ Random weights: AFRAD." in text
    assert f"> **⚠ Not the suite's own settings: {'; '.join(sets)}.**" in text
    why = (
        "not comparable: other images than were published, by their counts; backbone.weights random ≠ timm; "
        "training.epochs 1 ≠ 1000; random weights"
    )
    assert why in text
    for figure in published.figures("table1"):
        if (figure.metric, figure.category) == ("image_auroc", "mean") and figure.row != "afrad":
            assert f"| {published.printed(figure.row)} | – | – not run<br>(paper {figure.value:.1f}" in text
    page = lab.report("table1_mvtec", "html").read_text(encoding="utf-8")
    assert "random weights" in page


B4_RANDOM = ("efficientnet_b4", "random")


def test_table_2_runs_from_visa(lab: Lab) -> None:
    lab.run(
        "table2_visa",
        *QUICK,
        "rows=[AFRAD]",
        "visa.categories=[candle]",
        "measures=[accuracy]",
        visa=visa_folder(lab.folder / "visa"),
    )
    text = lab.markdown("table2_visa")
    assert "image size 64 px ≠ 256 px" in text
    assert "mean over 1 category, 1 of them among the paper's 12" in text
    assert "(paper 90.6" in text


def test_table_3_runs_from_batches_with_a_cell_for_each_combination(lab: Lab) -> None:
    cifar_batches(lab.folder / "cifar" / "cifar-10-batches-py")
    lab.run("table3_cifar10", *QUICK, "rows=[AFRAD]", "measures=[accuracy]", cifar10=lab.folder / "cifar")
    cells = pd.read_parquet(lab.folder / "results" / "cells")
    assert sorted(json.loads(text)["normal_classes"] for text in cells["dataset_params"]) == [
        *("01234", "02468", "13579", "56789")
    ]
    found = [one for one in lab.facts("table3_cifar10") if (one["row"], one["metric"]) == ("AFRAD", "image_auroc")]
    quoted = {one["category"]: one["published"] for one in found}
    assert quoted == {f.category: f"{f.value:.1f}" for f in published.figures("table3") if f.row == "afrad"}
    values = {one["category"]: float(one["mean"]) for one in found}
    mean = values.pop("mean")
    assert mean == pytest.approx(sum(values.values()) / 4)
    assert {one["verdict"] for one in found} == {"not comparable"}
    assert "other images than were published" in lab.markdown("table3_cifar10")


def test_table_7_runs_on_both_data_sets_and_answers_what_the_frm_is_worth(lab: Lab) -> None:
    data = {
        "mvtec_ad": mvtec_folder(lab.folder / "mvtec", ("bottle",), train=2, test=2),
        "visa": visa_folder(lab.folder / "visa"),
    }
    sets = (*QUICK, "measures=[accuracy, complexity]", "mvtec_ad.categories=[bottle]", "visa.categories=[candle]")
    lab.run("ablation_frm", *sets, "rows=[without FRM, with FRM]", "seeds=[0, 1]", **data)
    text = lab.markdown("ablation_frm")
    assert "## What each row changes" in text
    for dataset, figures in (("mvtec_ad", ("89.0", "98.3")), ("visa", ("79.2", "83.7"))):
        assert f"### What each row changes, {dataset}" in text
        found = [
            one for one in lab.facts("ablation_frm") if (one["dataset"], one["metric"]) == (dataset, "image_auroc")
        ]
        assert tuple(one["published"] for one in found if one["category"] == "mean") == figures
        assert {one["verdict"] for one in found if one["category"] == "mean"} == {"not comparable"}


def test_several_splits_of_one_data_set_are_told_apart_and_averaged(lab: Lab) -> None:
    root = mvtec_folder(lab.folder / "mvtec", ("bottle",), train=4, test=2)
    split = "{{name: mvtec_ad, params: {{categories: [bottle], limit_train: 2, limit_seed: {}}}}}"
    sets = (*QUICK, "rows=[AFRAD]", "measures=[accuracy]")
    lab.run("table1_mvtec", *sets, f"datasets=[{split.format(0)}, {split.format(1)}]", mvtec_ad=root)
    found = [one for one in lab.facts("table1_mvtec") if (one["row"], one["metric"]) == ("AFRAD", "image_auroc")]
    values = {one["category"]: float(one["mean"]) for one in found}
    mean = values.pop("mean")
    assert list(values) == ["bottle (limit_seed=0)", "bottle (limit_seed=1)"]
    assert mean == pytest.approx(sum(values.values()) / 2)
    again = lab.start("table1_mvtec", *sets, f"datasets=[{split.format(0)}, {split.format(0)}]", mvtec_ad=root)
    assert again.returncode == 2
    assert "the data set mvtec_ad is named twice with equal options" in again.stderr


@dataclass(frozen=True)
class Placed:
    category: str
    id: str = "x"
    split: str = "train"
    gt_label: bool = False


def test_the_note_on_other_images_is_the_one_that_verdicts_look_for() -> None:
    for module, name in ((mvtec_ad, "bottle"), (visa, "candle")):
        (note,) = _assemble.count_note([Placed(name)], module.PUBLISHED)
        assert NOT_PUBLISHED in note
