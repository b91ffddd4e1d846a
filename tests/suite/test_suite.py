"""A suite file: what it expands into, and what it says to somebody who made a mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from afrad_bench.errors import UserError
from afrad_bench.suite import suite
from afrad_bench.suite.yaml import read
from tests.conftest import ROOT

GOOD = """\
suite: example
title: An example
measures: [accuracy, {latency: {repeats: 17}}]
seeds: [3, 4]
methods:
  - method: afrad
    params:
      mfpn: {widths: [8, 8, 8, 8], topology: parallel}
    variants:
      - label: full
      - label: no NGIB
        params: {ngib: false, mfpn: {topology: cascade}}
  - method: padim
    label: PaDiM
    grid: {channels: [10, 20], sigma: [2.0, 4.0]}
    exclude: [{channels: 10, sigma: 4.0}]
    include: [{channels: 30}]
profiles:
  small:
    datasets: [demo, "folder:some/place"]
    image_size: 64
    params:
      afrad: {training: {epochs: 3, lr: 1e-3}}
  other:
    datasets: [{name: elpv}]
    seeds: [9]
    setting: one_class
    measures: [accuracy]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "suite.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(UserError) as caught:
        suite.load(written(tmp_path, text))
    return [str(problem).replace(str(tmp_path / "suite.yaml"), "F") for problem in caught.value.problems]


def test_rows_are_whole_configurations(tmp_path: Path) -> None:
    chosen = suite.load(written(tmp_path, GOOD)).select("small")
    assert [row.label for row in chosen.rows] == [
        "full",
        "no NGIB",
        "PaDiM channels=10, sigma=2.0",
        "PaDiM channels=20, sigma=2.0",
        "PaDiM channels=20, sigma=4.0",
        "PaDiM channels=30",
    ]
    full, without = (json.loads(row.params) for row in chosen.rows[:2])
    assert full["mfpn"]["topology"] == "parallel"
    assert without["mfpn"] == {**full["mfpn"], "topology": "cascade"}
    assert (full["ngib"], without["ngib"]) == (True, False)
    assert full["training"]["lr"] == 1e-3  # a number, though PyYAML would have read text
    assert full["training"]["epochs"] == without["training"]["epochs"] == 3
    assert full["training"]["weight_decay"] == 1e-4  # defaults are part of the configuration
    assert chosen.seeds == (3, 4)
    assert chosen.image_size == 64
    assert [one.root for one in chosen.datasets] == [None, "some/place"]
    assert chosen.threads is None
    assert json.loads(chosen.measures[1].options)["repeats"] == 17


def test_a_profile_overrides_the_suite(tmp_path: Path) -> None:
    chosen = suite.load(written(tmp_path, GOOD)).select("other")
    assert (chosen.seeds, chosen.setting, len(chosen.measures)) == ((9,), "one_class", 1)


def test_the_profile_is_chosen_in_the_open(tmp_path: Path) -> None:
    loaded = suite.load(written(tmp_path, GOOD))
    with pytest.raises(UserError, match=r"small, other.*\n.*--profile"):
        loaded.select()
    with pytest.raises(UserError, match="did you mean 'small'"):
        loaded.select("smal")
    declared = suite.load(written(tmp_path, GOOD + "default_profile: other\n"))
    assert declared.select().profile == "other"


def test_overrides_are_validated_and_named(tmp_path: Path) -> None:
    loaded = suite.load(written(tmp_path, GOOD))
    texts = ["afrad.training.epochs=1", "seeds=[7]", "image_size=32"]
    chosen = loaded.select("small", texts)
    assert {json.loads(row.params)["training"]["epochs"] for row in chosen.rows if row.method == "afrad"} == {1}
    assert (chosen.seeds, chosen.image_size, chosen.overrides) == ((7,), 32, tuple(texts))
    for text, message in {
        "afrad.training.epoch=1": "unknown field of training 'epoch' .did you mean 'epochs'",
        "afrad.training.epochs=many": "--set afrad.training.epochs=many: .*valid integer",
        "afard.training.epochs=1": "unknown field 'afard.training.epochs'",
        "image_size=tiny": "--set image_size: .*valid integer",
        "image_size": "expected field=value",
        "seeds=[": r"--set seeds=\[: not a YAML value",
        "afrad.training.epochs={a": "not a YAML value",
        "seeds=[]": "--set seeds: .*at least 1 item",
        "measures=[]": "--set measures: .*at least 1 item",
        "measures=[acuracy]": "--set measures: unknown measure 'acuracy' .did you mean 'accuracy'",
        "datasets=[{name: demo, params: {lmit_train: 3}}]": "--set datasets: demo: unknown field 'lmit_train'",
    }.items():
        with pytest.raises(UserError, match=message):
            loaded.select("small", [text])


def test_every_mistake_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    text = (
        GOOD.replace("method: padim", "method: padmi")
        .replace("ngib: false", "ngibb: false")
        .replace("demo,", "dmeo,")
        .replace("repeats: 17", "repeat: 17")
        .replace("epochs: 3", "epochs: -3")
        .replace("measures: [accuracy]", "measures: [acuracy]")
    )
    found = problems(tmp_path, text)
    for start in (
        "F:3: latency: unknown field 'repeat' (did you mean 'repeats'?)",
        "F:12: afrad (no NGIB): unknown field 'ngibb' (did you mean 'ngib'?)",
        "F:13: unknown method 'padmi' (did you mean 'padim'?)",
        "F:20: unknown dataset 'dmeo' (did you mean 'demo'?)",
        "F:23: afrad (full): training.epochs: input should be greater than or equal to 0, but got -3",
        "F:28: unknown measure 'acuracy' (did you mean 'accuracy'?)",
    ):
        assert any(one.startswith(start) for one in found), (start, found)
    assert len(found) == 6  # the wrong epochs count once, whatever the number of rows that have them


def test_structure_is_checked_before_names(tmp_path: Path) -> None:
    text = GOOD.replace("title: An example", "titel: An example").replace("image_size: 64", "image_size: large")
    found = problems(tmp_path, text)
    assert any(one.startswith("F:2: unknown field 'titel' (did you mean 'title'?)") for one in found)
    assert any("title is missing" in one for one in found)
    assert any(one.startswith("F:21: profiles.small.image_size: input should be a valid integer") for one in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("suite: a\nsuite: b\n", "F:2: not valid YAML: found duplicate key"),
        ("suite: [a\n", "not valid YAML"),
        ("- a\n", "input should be a mapping"),
        ("", "input should be a mapping"),
    ],
)
def test_files_that_are_no_suite(tmp_path: Path, text: str, message: str) -> None:
    assert any(message in one for one in problems(tmp_path, text))


def test_published_rows_exist(tmp_path: Path) -> None:
    text = GOOD.replace("title: An example", "title: x\nreproduces: table5").replace(
        "- label: full", "- label: full\n        published: ful"
    )
    assert any("unknown published row 'ful' (did you mean 'full'?)" in one for one in problems(tmp_path, text))


def test_two_rows_need_two_names(tmp_path: Path) -> None:
    text = GOOD.replace("label: no NGIB", "label: full")
    assert any("two rows are called 'full'" in one for one in problems(tmp_path, text))


def test_yaml_says_what_it_means(tmp_path: Path) -> None:
    data = read(written(tmp_path, "a: on\nb: 010\nc: 1e-3\nd: 10:30\ne: null\nf: [true, 1.5]\n")).data
    assert data == {"a": "on", "b": 10, "c": 0.001, "d": "10:30", "e": None, "f": [True, 1.5]}


def test_every_suite_that_we_ship_is_valid() -> None:
    shipped = sorted((ROOT / "suites").glob("*.yaml"))
    assert shipped
    for path in shipped:
        loaded = suite.load(path)
        assert loaded.name == path.stem
        assert set(loaded.file.profiles) >= {"paper", "demo"}


def test_the_schema_knows_the_fields_of_methods() -> None:
    schema = suite.json_schema()
    assert schema["$defs"]["method:afrad"]["properties"]["ngib"]["type"] == "boolean"
    assert "padim" in schema["$defs"]["MethodEntry"]["properties"]["method"]["enum"]
    text = json.dumps(schema)
    for reference in {part.split('"')[0] for part in text.split('"$ref": "#/$defs/')[1:]}:
        assert reference in schema["$defs"], reference
