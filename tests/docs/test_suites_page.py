"""docs/suites.md: its examples load, its overrides work, and no field of a suite file is missing."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from afrad_bench.suite import suite
from afrad_bench.suite.file import DatasetEntry, MeasureEntry, MethodEntry, Profile, SuiteFile, Variant
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")
EXAMPLES = {re.search(r"suite: (\w+)", text)[1]: text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)}


def example(folder: Path, name: str) -> suite.Suite:
    path = folder / f"{name}.yaml"
    path.write_text(EXAMPLES[name], encoding="utf-8")
    return suite.load(path)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_valid_suites(tmp_path: Path, name: str) -> None:
    loaded = example(tmp_path, name)
    for profile in loaded.file.profiles:
        assert loaded.select(profile).rows


def test_the_examples_make_the_rows_that_the_page_tells_of(tmp_path: Path) -> None:
    labels = {name: [row.label for row in example(tmp_path, name).select("demo").rows] for name in EXAMPLES}
    assert labels["everything"] == ["complete", "without NGIB", "PaDiM"]
    assert labels["grid"] == [
        f"PaDiM channels={channels}, sigma={sigma}"
        for channels, sigma in ((50, 2.0), (100, 2.0), (100, 4.0), (200, 4.0))
    ]
    assert labels["sweep"][0] == "default"
    assert "ngib=false, fusion=concat" in labels["sweep"]


def test_every_override_of_the_page_works(tmp_path: Path) -> None:
    texts = [shlex.split(text)[1] for text in re.findall(r"\| `(--set .*?)` \|", PAGE)]
    assert len(texts) == 9
    for text in texts:
        loaded = example(tmp_path, "find" if "search" in text else "published")
        assert loaded.select("demo", [text]).overrides == (text,)


@pytest.mark.parametrize("model", [SuiteFile, Profile, MethodEntry, Variant, DatasetEntry, MeasureEntry])
def test_every_field_stands_in_an_example(model: type) -> None:
    everything = "\n".join(EXAMPLES.values())
    short = {"options"} if model is MeasureEntry else set()  # written as `latency: {repeats: 30}`
    for name in set(model.model_fields) - short:
        assert re.search(rf"[\s{{]{name}:", everything), name
