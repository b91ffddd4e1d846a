"""`--on` and `--only`: other data and some rows, without YAML on the command line."""

from __future__ import annotations

import pytest

from afrad_bench.cli.options import ProfileChoice
from afrad_bench.errors import UserError
from afrad_bench.suite.options import as_options


def test_data_and_rows_become_overrides() -> None:
    choice = ProfileChoice(on=["folder:C:/images", "demo"], only=["AFRAD", "with, comma"], override=["seeds=[0]"])
    assert choice.overrides == (
        "seeds=[0]",
        'datasets=[{"name": "folder", "root": "C:/images"}, {"name": "demo"}]',
        'rows=["AFRAD", "with, comma"]',
    )
    assert ProfileChoice().overrides == ()


@pytest.mark.parametrize(
    "words",
    [
        ["--on", "folder:C:/images", "--on", "demo"],
        ["--only", "AFRAD", "--only", "with, comma"],
        ["--deterministic"],
        ["--set", "seeds=[0]"],
        ["--set", "datasets=[demo]"],
        ["--set", 'datasets=[{"name": "folder", "params": {"bits": 12}}]'],
        ["--set", "rows=[1]"],
        ["--set", 'datasets={"name": 3}'],
        ["--set", "afrad.reading=printed"],
    ],
)
def test_overrides_are_repeated_by_the_shortest_options_that_give_them(words: list[str]) -> None:
    given: dict[str, list[str]] = {}
    for option, value in zip(words[::2], words[1::2], strict=False):
        given.setdefault({"--set": "override"}.get(option, option[2:]), []).append(value)
    choice = ProfileChoice(**given, deterministic=words == ["--deterministic"])  # type: ignore[arg-type]
    assert [word for override in choice.overrides for word in as_options(override)] == words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on": ["demo"], "override": ["datasets=[demo]"]}, "--on and --set datasets=... say the same"),
        ({"only": ["AFRAD"], "override": ["rows=[AFRAD]"]}, "--only and --set rows=... say the same"),
    ],
)
def test_two_options_for_one_field_are_refused(options: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("...", r"\.\.\.")):
        ProfileChoice(**options).overrides  # noqa: B018 - the property raises
