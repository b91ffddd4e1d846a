"""How a suite file becomes rows: sweeps, shared parameters, methods of the paper, and what `--set` may change."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from afrad_bench import published, registry
from afrad_bench.errors import UserError
from afrad_bench.suite import suite
from afrad_bench.suite.selection import Selection
from tests.conftest import ROOT
from tests.plugin import install

SWEEP = """\
suite: example
title: An example
measures: [accuracy]
compare_to: default
methods:
  - method: afrad
    label: default
    sweep:
      topology: {mfpn.topology: [cascade, parallel]}
      FRM: {frm.depth: [1, 2], frm.expansion: [1.0, 2.0]}
      fusion:
        - {ngib: false, fusion: sum}
        - {ngib: false, fusion: concat}
      clipping: {training.clip: [0.1, null]}
profiles:
  demo:
    datasets: [demo]
    params:
      afrad: {mfpn: {topology: cascade}, frm: {depth: 1, expansion: 2.0}, training: {clip: 0.1}}
"""

TWO = """\
suite: example
title: An example
measures: [accuracy]
methods:
  - method: afrad
    variants:
      - {label: full}
      - {label: short, params: {training: {epochs: 3}}}
profiles:
  demo: {datasets: [demo]}
"""

SHARED = """\
suite: example
title: An example
measures: [{latency: {repeats: 17}}]
methods:
  - method: afrad
  - method: padim
    params: {sigma: 2.0}
profiles:
  demo:
    datasets: [demo, {name: elpv, params: {limit_train: 9}}]
    shared:
      backbone: {name: resnet18, weights: random}
      training: {epochs: 3}
    params:
      padim: {backbone: {name: resnet34}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def chosen(folder: Path, text: str, *overrides: str) -> Selection:
    return suite.load(write(folder, text)).select("demo", overrides)


def refusal(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        chosen(folder, text, *overrides)
    return str(caught.value).replace(str(folder / "suite.yaml"), "F")


def configuration(selection: Selection, label: str) -> dict[str, object]:
    (found,) = (json.loads(row.params) for row in selection.rows if row.label == label)
    return found


# -------------------------------------------------------------------------------------------------------------- sweeps


def test_a_sweep_changes_one_axis_at_a_time_around_the_default(tmp_path: Path) -> None:
    selection = chosen(tmp_path, SWEEP)
    assert [(row.axis, row.label) for row in selection.rows] == [
        ("", "default"),
        ("topology", "mfpn.topology=parallel"),
        ("FRM", "frm.depth=2"),
        ("FRM", "frm.expansion=1.0"),
        ("fusion", "ngib=false, fusion=sum"),
        ("fusion", "ngib=false, fusion=concat"),
        ("clipping", "training.clip=null"),
    ]
    default = configuration(selection, "default")
    for label, changes in {
        "mfpn.topology=parallel": {"mfpn": {**default["mfpn"], "topology": "parallel"}},
        "frm.depth=2": {"frm": {**default["frm"], "depth": 2}},
        "ngib=false, fusion=concat": {"ngib": False, "fusion": "concat"},
        "training.clip=null": {"training": {**default["training"], "clip": None}},
    }.items():
        assert configuration(selection, label) == {**default, **changes}


def test_the_default_is_found_whatever_it_is(tmp_path: Path) -> None:
    """A reading that the profile has already makes no second row of the same cells; the others do."""
    selection = chosen(tmp_path, SWEEP.replace("topology: cascade}", "topology: parallel}"))
    assert [row.label for row in selection.rows if row.axis == "topology"] == ["mfpn.topology=cascade"]
    same = chosen(tmp_path, SWEEP, "afrad.mfpn.topology=parallel")
    assert [row.label for row in same.rows if row.axis == "topology"] == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[cascade, parallel]",
            "[cascade]",
            "F:9: every reading of the axis 'topology' equals the unchanged method",
        ),
        ("mfpn.topology: [", "mfpn.topolgy: [", "F:9: afrad (mfpn.topolgy=cascade): unknown field of mfpn 'topolgy'"),
        ("parallel]", "sideways]", "F:9: afrad (mfpn.topology=sideways): mfpn.topology"),
        ("[0.1, null]", "[]", "F:14: methods.0.sweep.clipping.training.clip: list should have at least 1 item"),
        ("{training.clip: [0.1, null]}", "{training.clip: 0.1}", "clip: input should be a valid list"),
        ("{training.clip: [0.1, null]}", "[]", "F:14: methods.0.sweep.clipping: "),
        ("fusion: concat}", "fusion: sum}", "two rows are called 'ngib=false, fusion=sum'"),
        ("compare_to: default", "compare_to: defualt", "F:4: unknown row 'defualt' (did you mean 'default'?)"),
        ("    sweep:", "    grid: {width: [8]}\n    sweep:", "F:9: give grid or sweep, not both"),
    ],
)
def test_mistakes_in_a_sweep_have_a_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert SWEEP.count(old) == 1
    assert message in refusal(tmp_path, SWEEP.replace(old, new))


def test_a_mistake_in_many_rows_is_told_once(tmp_path: Path) -> None:
    path = suite_file(tmp_path)
    with pytest.raises(UserError) as caught:
        suite.load(path).select("demo", ["afrad.training.epochs=-1"])
    (problem,) = caught.value.problems
    assert problem.what.startswith("afrad (full): training.epochs: ")
    assert problem.what.endswith("2 rows: full; short")


def test_rows_that_are_not_run_may_be_equal(tmp_path: Path) -> None:
    loaded = suite.load(suite_file(tmp_path))
    with pytest.raises(UserError, match="are the same configuration"):
        loaded.select("demo", ["afrad.training.epochs=1"])
    (row,) = loaded.select("demo", ["afrad.training.epochs=1", "rows=[short]"]).rows
    assert row.label == "short"


def suite_file(folder: Path) -> Path:
    """Two rows that differ in their epochs alone."""
    path = folder / "s.yaml"
    path.write_text(TWO, encoding="utf-8")
    return path


def test_a_profile_may_add_axes_to_a_sweep(tmp_path: Path) -> None:
    selection = chosen(tmp_path, SWEEP + "    sweep: {afrad: {width: {width: [128, 96]}}}\n")
    assert [(row.label, row.axis) for row in selection.rows][-1] == ("width=96", "width")
    assert [row.axis for row in chosen(tmp_path, SWEEP).rows] == [row.axis for row in selection.rows][:-1]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("{afrad: {width: {widht: [64]}}}", "F:20: afrad (widht=64): unknown field 'widht'"),
        ("{afrad: {width: {width: [128]}}}", "F:20: every reading of the axis 'width' equals the unchanged method"),
        ("{afrad: {FRM: {width: [32]}}}", "F:20: the axis 'FRM' is one of the suite's already"),
        ("{padim: {sigma: {sigma: [2.0]}}}", "F:20: unknown method of this suite with a sweep 'padim'"),
    ],
)
def test_mistakes_in_axes_of_a_profile_have_a_line(tmp_path: Path, added: str, message: str) -> None:
    assert message in refusal(tmp_path, f"{SWEEP}    sweep: {added}\n")


def test_two_names_for_one_configuration_are_refused(tmp_path: Path) -> None:
    text = SHARED.replace("  - method: padim", "  - method: afrad\n    label: again\n  - method: padim")
    assert "the rows 'afrad' and 'again' are the same configuration of afrad" in refusal(tmp_path, text)


# ------------------------------------------------------------------------------------------------------------- sharing


def test_shared_parameters_reach_every_method_that_has_the_field(tmp_path: Path) -> None:
    selection = chosen(tmp_path, SHARED)
    afrad, padim = configuration(selection, "afrad"), configuration(selection, "padim")
    assert afrad["backbone"] == {"name": "resnet18", "weights": "random"}
    assert afrad["training"]["epochs"] == 3
    assert padim["backbone"] == {"name": "resnet34", "weights": "random"}  # what is said of one method counts more
    assert padim["sigma"] == 2.0


def test_a_shared_field_that_nobody_has_is_a_mistake(tmp_path: Path) -> None:
    text = refusal(tmp_path, SHARED.replace("epochs: 3", "epoch: 3"))
    assert "F:13: unknown shared field (no method of this suite has it) 'training.epoch'" in text
    assert "did you mean 'training.epochs'" in text
    assert "afrad: training.epochs" in refusal(tmp_path, SHARED.replace("epochs: 3", "epochs: -3"))


def test_shared_features_are_the_stages_of_every_method_that_reads_some(tmp_path: Path) -> None:
    selection = chosen(tmp_path, SHARED.replace("epochs: 3}", "epochs: 3}\n      features: [8, 16, 32]"))
    assert configuration(selection, "afrad")["features"]["reductions"] == [8, 16, 32]  # type: ignore[index]
    assert configuration(selection, "padim")["reductions"] == [8, 16, 32]
    later = chosen(tmp_path, SHARED, "shared.features=[4, 8]", "padim.reductions=[16]")
    assert configuration(later, "afrad")["features"]["reductions"] == [4, 8]  # type: ignore[index]
    assert configuration(later, "padim")["reductions"] == [16]
    mapping = chosen(tmp_path, SHARED, "shared.features.grid=8")
    assert configuration(mapping, "afrad")["features"]["grid"] == 8  # type: ignore[index]


def test_mistakes_in_shared_features_have_a_line(tmp_path: Path) -> None:
    wrong = SHARED.replace("epochs: 3}", "epochs: 3}\n      features: [8, deep]")
    text = refusal(tmp_path, wrong)
    assert "F:14: afrad: features.reductions.1" in text
    assert "F:14: padim: reductions.1" in text
    alone = SHARED.replace("afrad", "draem").replace("  - method: padim\n    params: {sigma: 2.0}\n", "")
    alone = alone[: alone.index("    shared:")] + "    shared: {features: [8]}\n"
    assert "no method of this suite has it) 'features'" in refusal(tmp_path, alone)


AGAIN = """\
again:
  - label: equal features
    shared: {features: [4, 8, 16, 32]}
profiles:"""


def test_rows_stand_again_with_the_same_for_all_unless_they_are_there(tmp_path: Path) -> None:
    selection = chosen(tmp_path, SHARED.replace("profiles:", AGAIN))
    assert [row.label for row in selection.rows] == ["afrad", "padim", "padim, equal features"]  # AFRAD reads them
    own, equal = configuration(selection, "padim"), configuration(selection, "padim, equal features")
    assert own["reductions"] == [4, 8, 16]
    assert equal == {**own, "reductions": [4, 8, 16, 32]}
    deeper = chosen(tmp_path, SHARED.replace("profiles:", AGAIN), "padim.reductions=[4, 8, 16, 32]")
    assert [row.label for row in deeper.rows] == ["afrad", "padim"]


def test_a_searched_row_that_stands_again_says_so(tmp_path: Path) -> None:
    found = "{label: found, params: {sigma: 3.0}, searched: {by: s, trials: 9, seeds: [7]}}"
    text = SHARED.replace("    params: {sigma: 2.0}\n", f"    variants: [{found}]\n").replace("profiles:", AGAIN)
    rows = chosen(tmp_path, text).rows
    assert [row.title for row in rows][1:] == [
        "found (best of 9 trials)",
        "found, equal features (best of 9 trials)",
    ]
    assert "was chosen by a search on seed 7" in refusal(tmp_path, text, "seeds=[7]")


def test_a_profile_may_have_its_own_again(tmp_path: Path) -> None:
    text = SHARED.replace("profiles:", AGAIN) + "    again: [{label: on 8, shared: {features: [8]}}]\n"
    assert [row.label for row in chosen(tmp_path, text).rows] == ["afrad", "padim", "afrad, on 8", "padim, on 8"]
    none = SHARED.replace("profiles:", AGAIN) + "    again: []\n"
    assert [row.label for row in chosen(tmp_path, none).rows] == ["afrad", "padim"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("features: [4, 8, 16, 32]", "feature: [4, 8]", "F:10: unknown shared field (no method of this suite has it)"),
        ("[4, 8, 16, 32]", "[4, -8]", "F:10: afrad (afrad, equal features): features.reductions"),
        ("[4, 8, 16, 32]", "[4, -8]", "F:10: padim (padim, equal features): reductions"),
        ("{features: [4, 8, 16, 32]}", "{}", "again.0.shared: dictionary should have at least 1 item"),
    ],
)
def test_mistakes_in_again_have_a_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = SHARED.replace("profiles:", AGAIN)
    assert text.count(old) == 1
    assert message in refusal(tmp_path, text.replace(old, new))


def test_a_sweep_has_no_rows_again(tmp_path: Path) -> None:
    assert "F:17: again cannot repeat the rows of a sweep" in refusal(tmp_path, SWEEP.replace("profiles:", AGAIN))


def test_a_row_may_belong_to_some_profiles(tmp_path: Path) -> None:
    variants = "  - method: padim\n    variants: [{label: a}, {label: b, params: {sigma: 3.0}, profiles: [full]}]\n"
    text = SHARED.replace("  - method: padim\n    params: {sigma: 2.0}\n", variants)
    assert "F:7: unknown profile 'full'" in refusal(tmp_path, text)
    both = text + "  full: {datasets: [demo]}\n"
    path = write(tmp_path, both)
    assert [row.label for row in suite.load(path).select("demo").rows] == ["afrad", "a"]
    assert [row.label for row in suite.load(path).select("full").rows] == ["afrad", "a", "b"]


# ----------------------------------------------------------------------------------------------------------- overrides


def test_any_field_can_be_set(tmp_path: Path) -> None:
    selection = chosen(
        tmp_path,
        SHARED,
        "shared.backbone.weights=file:w.pth",
        "padim.sigma=1.5",
        "elpv.limit_train=4",
        "latency.repeats=30",
        "threads=2",
    )
    for label in ("afrad", "padim"):
        assert configuration(selection, label)["backbone"]["weights"] == "file:w.pth"
    assert configuration(selection, "padim")["sigma"] == 1.5
    assert json.loads(selection.datasets[1].params)["limit_train"] == 4
    assert json.loads(selection.measures[0].options)["repeats"] == 30
    assert selection.threads == 2
    assert len(selection.overrides) == 5


def test_a_suite_can_be_restricted_to_some_methods(tmp_path: Path) -> None:
    text = SHARED + "compare_to: padim\n"
    assert [row.method for row in chosen(tmp_path, text, "methods=[afrad]").rows] == ["afrad"]
    assert chosen(tmp_path, text, "methods=[afrad]").compare_to is None
    assert chosen(tmp_path, text, "methods=padim").compare_to == "padim"
    assert "unknown method of this suite 'pedim' (did you mean 'padim'?)" in refusal(tmp_path, text, "methods=[pedim]")


def test_a_suite_can_be_restricted_to_some_rows(tmp_path: Path) -> None:
    text = SHARED + "compare_to: padim\n"
    assert [row.label for row in chosen(tmp_path, text, "rows=[afrad]").rows] == ["afrad"]
    assert chosen(tmp_path, text, "rows=[afrad]").compare_to is None
    assert chosen(tmp_path, text, "rows=[padim, afrad]").compare_to == "padim"
    assert "unknown row of this suite 'afrd' (did you mean 'afrad'?)" in refusal(tmp_path, text, "rows=[afrd]")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rows=[]", "name at least one row"),
        (
            "elpv.limit_tran=4",
            "--set elpv.limit_tran=4: elpv: unknown field 'limit_tran' (did you mean 'limit_train'?)",
        ),
        ("latency.repeats=none", "--set latency.repeats=none: latency: repeats: input should be a valid integer"),
        (
            "shared.backbone.wieghts=random",
            "(no method of this suite has it) 'backbone.wieghts' (did you mean 'backbone.weights'?)",
        ),
        ("mvtec_ad.limit_train=4", "unknown data set or measure of this profile 'mvtec_ad'"),
        ("methods=[]", "name at least one method"),
        ("threads=0", "--set threads: threads: input should be greater than or equal to 1"),
        ("elvp.limit_train=4", "unknown field 'elvp.limit_train'"),
    ],
)
def test_overrides_are_checked(tmp_path: Path, override: str, message: str) -> None:
    assert message in refusal(tmp_path, SHARED, override)


# --------------------------------------------------------------------------------------------------- published methods

PAPER = """\
suite: example
title: An example
reproduces: table1
published_methods: true
measures: [accuracy]
methods:
  - {method: afrad, label: AFRAD, published: afrad}
profiles:
  demo: {datasets: [demo]}
"""


def test_a_method_of_the_paper_enters_by_being_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called like a row of the table is all it takes; until then the row is named as absent."""
    monkeypatch.syspath_prepend(str(install(tmp_path / "site")))
    real = {kind: registry.entries(kind) for kind in ("method", "dataset", "measure")}
    methods = {name: entry for name, entry in real["method"].items() if name not in published.rows("table1")}
    methods["afrad"] = real["method"]["afrad"]
    monkeypatch.setattr(registry, "_entries", lambda kind: methods if kind == "method" else real[kind])
    before = chosen(tmp_path, PAPER)
    assert [row.method for row in before.rows] == ["afrad"]
    assert before.absent == tuple(name for name in published.rows("table1") if name != "afrad")

    methods["draem"] = registry.Entry("method", "draem", "somebodys_methods.nearest_colour", "somebodys-methods 0.3")
    after = chosen(tmp_path, PAPER, "draem.power=2.0")
    assert [(row.label, row.method, row.published) for row in after.rows] == [
        ("AFRAD", "afrad", "afrad"),
        ("DRAEM", "draem", "draem"),
    ]
    assert configuration(after, "DRAEM")["power"] == 2.0
    assert set(before.absent) - set(after.absent) == {"draem"}

    own = PAPER.replace("profiles:", "  - {method: draem, label: ours, published: draem}\nprofiles:")
    assert [row.label for row in chosen(tmp_path, own).rows] == ["AFRAD", "ours"]  # an entry of its own counts more


def test_published_methods_need_a_table(tmp_path: Path) -> None:
    assert "F:3: published_methods needs the table" in refusal(tmp_path, PAPER.replace("reproduces: table1\n", ""))


# -------------------------------------------------------------------------------------------------------------- schema


def test_the_schema_takes_what_suites_may_say() -> None:
    """Editors must not mark the short forms that every suite uses."""
    schema = suite.json_schema()
    definitions = schema["$defs"]
    for name, field in (("Profile", "datasets"), ("SuiteFile", "measures")):
        properties = definitions[name]["properties"] if name in definitions else schema["properties"]
        assert {"type": "string"} in properties[field]["items"]["anyOf"]
    axis = definitions["MethodEntry"]["properties"]["sweep"]["additionalProperties"]
    assert {form["type"] for form in axis["oneOf"]} == {"array", "object"}
    assert "shared" in definitions["Profile"]["properties"]
    assert {"published_methods", "compare_to"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("overrides", "table"),
    [
        ((), "table5"),  # what the suite declares stays
        (("seeds=[0]",), "table5"),
        (("datasets=[digits]",), None),
        (("datasets=[digits, mvtec_ad]",), "table5"),
        (("datasets=[digits]", "reproduces=table5"), "table5"),
        (("reproduces=null",), None),
    ],
)
def test_other_data_have_no_published_figures_unless_asked(overrides: tuple[str, ...], table: str | None) -> None:
    assert suite.load(ROOT / "suites" / "ablation_decoders.yaml").select("demo", overrides).reproduces == table


def test_a_published_table_that_is_not_there_is_said() -> None:
    with pytest.raises(UserError, match=r"unknown published table 'tabel5' \(did you mean 'table5'\?\)"):
        suite.load(ROOT / "suites" / "ablation_decoders.yaml").select("demo", ("reproduces=tabel5",))
