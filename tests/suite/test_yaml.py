"""What cannot be read from YAML, or cannot be meant: a line, a name, what to do, and never a traceback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field

from afrad_bench.comparing.rules import read_rules
from afrad_bench.errors import UserError
from afrad_bench.suite import suite
from afrad_bench.suite.checked import validated
from afrad_bench.suite.yaml import MAX_BYTES, read, read_value
from tests.program import Place

SUITE = """\
suite: example
title: An example
compare_to: small
measures: [accuracy]
seeds: [0, 1]
methods:
  - {method: padim, label: small, params: {channels: 10}}
  - {method: padim, label: large, params: {channels: 20}}
profiles:
  demo:
    datasets: [demo]
    image_size: 64
"""


def said(tmp_path: Path, text: str | bytes, *overrides: str) -> str:
    """The errors of a suite file, with F for its path."""
    path = tmp_path / "suite.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    with pytest.raises(UserError) as caught:
        suite.load(path).select("demo", overrides)
    return str(caught.value).replace(str(path), "F")


def changed(old: str, new: str) -> str:
    assert old in SUITE
    return SUITE.replace(old, new, 1)


# -------------------------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("compare_to", "compare-to", "F:3: unknown field 'compare-to' (did you mean 'compare_to'?)"),
        ("compare_to", "'compare[to]'", "F:3: unknown field 'compare[to]' (did you mean 'compare_to'?)"),
        ("compare_to", "str", "F:3: unknown field 'str'"),
        ("compare_to", "'[key]'", "F:3: unknown field '[key]'"),
        ("image_size", "image-size", "F:12: unknown field of profiles.demo 'image-size' (did you mean 'image_size'?)"),
        ("image_size", "(image)", "F:12: unknown field of profiles.demo '(image)'"),
        ("channels", "chan-nels", "F:7: padim (small): unknown field 'chan-nels' (did you mean 'channels'?)"),
        ("datasets: [demo]", "datasets: [{na-me: demo}]", "F:11: unknown field of profiles.demo.datasets.0 'na-me'"),
        ("[accuracy]", "[{name: accuracy, op-tions: {}}]", "F:4: unknown field of measures.0 'op-tions'"),
        ("params: {channels: 10}", "sweep: {a: [1]}", "F:7: methods.0.sweep.a.0: input should be a mapping"),
        ("params: {channels: 10}", "sweep: {a: {'[points]': []}}", "F:7: methods.0.sweep.a.[points]: list should have"),
        ("compare_to: small", "1: x", "F:3: unknown field '1'"),
        ("compare_to: small", "? [a]\n: b", "F:3: a key must be text, not a list"),
        ("compare_to: small", "{a: b}: c", "F:3: a key must be text"),
        ("compare_to: small", "'': c", "F:3: a key is empty"),
        ("compare_to: small", "title: again", "F:3: not valid YAML: found duplicate key 'title', first in line 2"),
        ("params: {channels: 10}", "params: {<<: 5}", "F:7: methods.0.params.<<: only mappings can be merged"),
        ("params: {channels: 10}", "params: {<<: [{a: 1}, 2]}", "methods.0.params.<<: only mappings can be merged"),
        ("params: {channels: 10}", "params: {<<: {}, <<: {}}", "F:7: not valid YAML: found duplicate key '<<'"),
        ("params: {channels: 10}", "params: {<<: {chanels: 1}}", "F:7: padim (small): unknown field 'chanels'"),
    ],
)
def test_keys(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in said(tmp_path, changed(old, new))


def test_keys_that_are_merged_have_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("base: &a\n  x: 1\n  y: 2\nown:\n  <<: *a\n  y: 3\n")
    document = read(path)
    assert document.data["own"] == {"y": 3, "x": 1}
    assert [document.where(("own", name)) for name in ("x", "y", "z")] == [f"{path}:2", f"{path}:6", f"{path}:4"]


class Small(BaseModel):
    model_config = ConfigDict(extra="forbid")
    int: Literal["fine", "coarse"] = "fine"
    size: float = 1.0


class Nested(BaseModel):
    model_config = ConfigDict(extra="forbid")
    either: Small | list[Small] | None = None
    parts: dict[str, Small | float] = Field(default_factory=dict)
    pair: tuple[int, Small] | None = None


@pytest.mark.parametrize(
    ("data", "place", "message"),
    [
        ({"either": {"int": "corse"}}, ["either", "int"], "either.int: input should be 'fine' or 'coarse'"),
        (
            {"either": [{"si-ze": 1}]},
            ["either", 0, "si-ze"],
            "unknown field of either.0 'si-ze' (did you mean 'size'?)",
        ),
        ({"parts": {"Small": {"x[y]": 1}}}, ["parts", "Small", "x[y]"], "unknown field of parts.Small 'x[y]'"),
        ({"parts": {"float": {"size": "x"}}}, ["parts", "float", "size"], "parts.float.size: input should be a valid"),
        ({"pair": [1, {"a-b": 1}]}, ["pair", 1, "a-b"], "unknown field of pair.1 'a-b'"),
        ({"pair": [True, {}]}, ["pair", 0], "pair.0: input should be a number, but got true"),
        ({"parts": {"a": {"size": "inf"}}}, ["parts", "a", "size"], "size: input should be a finite number, but got"),
    ],
)
def test_branches_of_unions_are_not_mistaken_for_keys(data: object, place: list[object], message: str) -> None:
    found = validated(Nested, data, lambda at: ".".join(map(str, at)))
    assert isinstance(found, list)
    wanted = ".".join(map(str, place))
    assert [one for one in found if one.where == wanted and message in one.what], found


# ------------------------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (".inf", ".inf is not a finite number"),
        ("-.INF", "-.INF is not a finite number"),
        ("1e400", "1e400 is not a finite number"),
        (".nan", ".nan is not a finite number"),
        ("inf", "sigma: input should be a finite number, but got 'inf'"),
        ('"inf"', "sigma: input should be a finite number, but got 'inf'"),
        ("9223372036854775808", "9223372036854775808 does not fit into 64 bits"),
        ("9" * 5000, "(5000 characters) does not fit into 64 bits"),
        ("9" * 400 + ".0", "is not a finite number"),
        ("0x" + "f" * 17, "does not fit into 64 bits"),
        ("true", "sigma: input should be a number, but got true"),
        ('"2"', "sigma: input should be a number, but got the text '2' (leave out the quotes)"),
        ("2024-01-31", "2024-01-31 is a date"),
        ("2024-02-31", "2024-02-31 is a date"),
        ("2024-13-45T99:99:99Z", "is a date"),
        ('"\\0"', "the character U+0000 is not allowed"),
        ('"\\e[2J"', "the character U+001B is not allowed"),
        ('"\\ud800"', "the character U+D800 is not allowed"),
        ('"\\U00110000"', "syntax error"),
        ("!foo 1", "the tag !foo is not known"),
        ("!!python/object:os.system x", "is not known"),
        ("!!int x", "'x' is no int"),
        ("*nope", "there is no anchor &nope above"),
        ("&a [*a]", "the alias *a stands inside its own value"),
        ("&a {x: {y: *a}}", "the alias *a stands inside its own value"),
        ("[" * 300 + "]" * 300, "more than 50 levels of nesting"),
        ("{a: " * 300 + "1" + "}" * 300, "more than 50 levels of nesting"),
        ("-_", "sigma: input should be a valid number"),
        ("0x", "sigma: input should be a valid number"),
    ],
)
def test_values(tmp_path: Path, value: str, message: str) -> None:
    found = said(tmp_path, changed("channels: 10", f"sigma: {value}"))
    assert message in found
    assert found.startswith("F:7: ")
    found = said(tmp_path, SUITE, f"padim.sigma={value}")
    assert message in found
    assert found.startswith("--set padim.sigma=")
    assert len(found) < 1000


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("[9223372036854775808]", "does not fit into 64 bits"),
        ("[-9223372036854775809]", "does not fit into 64 bits"),
        ("[1e30]", "seeds.0"),
        ("[true]", "seeds.0: input should be a number, but got true"),
        ('["2"]', "seeds.0: input should be a number, but got the text '2'"),
        ("[1.5]", "seeds.0: input should be a valid integer"),
        ("[null]", "seeds.0: input should be a valid integer, but got null"),
        ("[[1]]", "seeds.0: input should be a valid integer"),
        ("3", "seeds: input should be a valid list, but got 3"),
        ("[]", "seeds: list should have at least 1 item"),
    ],
)
def test_seeds(tmp_path: Path, value: str, message: str) -> None:
    for found in (said(tmp_path, changed("[0, 1]", value)), said(tmp_path, SUITE, f"seeds={value}")):
        assert message in found
        assert len(found.splitlines()) <= 2, "one problem"


def test_the_largest_seeds_are_seeds(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(changed("[0, 1]", "[9223372036854775807, -9223372036854775808]"))
    assert suite.load(path).select().seeds == (2**63 - 1, -(2**63))


@pytest.mark.parametrize("value", ["", " ", "# nothing"])
@pytest.mark.parametrize("field", ["seeds", "image_size", "methods", "padim.sigma", "shared.sigma"])
def test_an_override_has_a_value(tmp_path: Path, field: str, value: str) -> None:
    assert f"--set {field}={value}: no value is given" in said(tmp_path, SUITE, f"{field}={value}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("methods=[[padim]]", "unknown method of this suite"),
        ("padim." + "a." * 2000 + "b=1", "names a field within more than 50 others"),
        ("padim.\udcff=1", "the character U+DCFF is not allowed"),
        ("seeds=[1]\n---\n[2]", "a second document begins here"),
        ("threads=999999999", "threads: input should be less than or equal to 4096"),
        ("measures=[{accuracy: 0}]", "measures.0.options: input should be a mapping"),
    ],
)
def test_overrides(tmp_path: Path, override: str, message: str) -> None:
    found = said(tmp_path, SUITE, override)
    assert message in found
    assert found.startswith("--set")


def test_an_options_value_is_never_dropped(tmp_path: Path) -> None:
    for nothing in ("0", "false", "[]", "''"):
        found = said(tmp_path, changed("[accuracy]", f"[{{accuracy: {nothing}}}]"))
        assert "F:4: measures.0.options: input should be a mapping" in found


# ------------------------------------------------------------------------------------------------- size and expansion


def test_aliases_do_not_explode(tmp_path: Path) -> None:
    lists = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
    maps = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{x: *a{i - 1}, y: *a{i - 1}}}\n" for i in range(1, 60))
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: *a{i - 1}, y{i}: *a{i - 1}}}\n" for i in range(1, 60))
    deep = "a0: &a0 " + "[" * 40 + "]" * 40 + "\n" + "".join(f"a{i}: &a{i} [[*a{i - 1}]]\n" for i in range(1, 60))
    for text in (lists, maps, merged):
        assert "more than 100000 values" in said(tmp_path, text + SUITE)
    assert "more than 50 levels of nesting" in said(tmp_path, deep + SUITE)


def test_aliases_may_be_used(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(
        SUITE.replace("params: {channels: 10}", "params: &p {channels: 10}").replace("{channels: 20}", "*p")
    )
    with pytest.raises(UserError, match="are the same configuration"):
        suite.load(path)


def test_grids_do_not_explode(tmp_path: Path) -> None:
    hundred = ", ".join(map(str, range(1, 101)))
    grid = f"grid: {{channels: [{hundred}], sigma: [{hundred}], epsilon: [{hundred}]}}"
    assert "F:7: methods.0: the grid has 1000000 points" in said(tmp_path, changed("params: {channels: 10}", grid))
    assert "F:7: methods.0.grid.sigma: list" in said(tmp_path, changed("params: {channels: 10}", "grid: {sigma: []}"))


@pytest.mark.parametrize(
    "space",
    ["{real: [0, 1e308], step: 1e-300}", "{real: [-1.7e308, 1.7e308]}", "{integer: [0, 9223372036854775807]}"],
)
def test_spaces_do_not_explode(tmp_path: Path, space: str) -> None:
    search = f"search: {{space: {{sigma: {space}}}, objectives: [image_auroc: maximize], validation: {{planted: 0.5}}, "
    found = said(tmp_path, SUITE + search + "trials: 1, sampler: grid}\n")
    assert found.startswith("F:13: search")
    assert "is too wide" in found or "the grid has 9223372036854775808 points" in found


def test_files(tmp_path: Path) -> None:
    assert said(tmp_path, changed("An example", "An\0example")).startswith("F:2: the character U+0000 is not allowed")
    assert "the character U+FEFF is not allowed" in said(tmp_path, changed("An example", "An\ufeffexample"))
    assert "F:1: is not UTF-8 text (byte 0)\n  it looks like UTF-16" in said(tmp_path, SUITE.encode("utf-16"))
    assert "F:2: is not UTF-8 text" in said(tmp_path, changed("An example", "é").encode("latin-1"))
    assert "F:7: not valid YAML: found character" in said(tmp_path, changed("  - {method", "\t- {method"))
    assert "F:13: not valid YAML: a second document" in said(tmp_path, f"{SUITE}---\n{SUITE}")
    assert "F:2: not valid YAML: its version must be 1.2" in said(tmp_path, f"%YAML 1.1\n---\n{SUITE}")
    assert "F:1: not valid YAML" in said(tmp_path, f"%YAML 1.{'9' * 30}\n---\n{SUITE}")
    assert "holds more than 1 MiB" in said(tmp_path, SUITE + "#" * MAX_BYTES)
    for text in (f"\ufeff{SUITE}", SUITE.replace("\n", "\r\n"), f"%YAML 1.2\n---\n{SUITE}"):
        (tmp_path / "suite.yaml").write_bytes(text.encode())
        assert suite.load(tmp_path / "suite.yaml").name == "example"


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder, not a file"):
        read(tmp_path)
    with pytest.raises(UserError, match="is a folder, not a suite file"):
        suite.find(str(tmp_path), [])
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="cannot be read: "):
        read(tmp_path / ("x" * 300))
    if sys.platform != "win32":
        os.mkfifo(tmp_path / "pipe.yaml")
        with pytest.raises(UserError, match="is not a regular file"):
            read(tmp_path / "pipe.yaml")
        with pytest.raises(UserError, match="is not a regular file"):
            read(Path(os.devnull))


def test_a_folder_does_not_hide_a_suite_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "methods.yaml").write_text(SUITE)
    (tmp_path / "methods").mkdir()
    monkeypatch.chdir(tmp_path)
    assert suite.find("methods", [tmp_path / "shipped"]) == tmp_path / "shipped" / "methods.yaml"


# ------------------------------------------------------------------------------------------------ what profits, too


def test_rules_profit(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    for text, message in {
        "rules: [{met-ric: gmacs}]": "unknown field of rules.0 'met-ric' (did you mean 'metric'?)",
        "confidence: .inf\nrules: [{metric: gmacs}]": "confidence: .inf is not a finite number",
        "rules: [{metric: gmacs, seeds: true}]": "rules.0.seeds: input should be a number, but got true",
        "rules: &a [*a]": "the alias",
    }.items():
        path.write_text(text)
        with pytest.raises(UserError) as caught:
            read_rules(path)
        assert message in str(caught.value)
        assert f"{path}:" in str(caught.value)


def test_plain_values_are_those_of_yaml_1_2() -> None:
    texts = "1_000 0x1F 0o17 0b11 010 +7 -0 1e-3 .5 -.5e+3 1. 12e03 True Null ~ on 1:20 = .e3 ''"
    found = [read_value(text, "here") for text in texts.split()]
    assert found == [
        1000,
        31,
        15,
        3,
        10,
        7,
        0,
        0.001,
        0.5,
        -500.0,
        1.0,
        12000.0,
        True,
        None,
        None,
        *texts.split()[15:19],
        "",
    ]
    for text in ("2024-01-31 in Kyoto", "2024-1-31", "v2024-01-31", "2024-01-31T10"):
        assert read_value(text, "here") == text
    assert read_value("!!str 5", "here") == "5"
    assert read_value("!!float 5", "here") == 5
    assert read_value(">\n  a\n  b\n", "here") == "a b\n"


def test_the_command_line_exits_with_2(tmp_path: Path, cache_folder: Path) -> None:
    place = Place(tmp_path, cache_folder)
    bad = place.write(changed("compare_to", "compare-to"), "bad.yaml")
    good = place.write(SUITE, "good.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for arguments, message in {
        ("check", bad): "unknown field 'compare-to'",
        ("run", good, "--set", "seeds="): "--set seeds=: no value is given",
        ("plan", good, "--set", "seeds=[9223372036854775808]"): "does not fit into 64 bits",
        ("check", tmp_path): "is a folder, not a suite file",
        ("check", good, "--profile", ""): "unknown profile ''",
        ("check", good, "--set", "datasets=[demo]", "--set", "demo.train=1e9"): "less than or equal to 10000",
        ("check", tmp_path / "folder.yaml"): "is a folder, not a file",
        ("check", good, "--set", b"padim.sigma=\xff".decode("utf-8", "surrogateescape")): "U+DCFF is not allowed",
    }.items():
        assert message in place.call(*arguments, expect=2)
