"""`--on` and `--only`: other data and some rows, without YAML on the command line."""

from __future__ import annotations

import pytest

from afrad_bench.cli.options import ProfileChoice
from afrad_bench.errors import UserError


def test_data_and_rows_become_overrides() -> None:
    choice = ProfileChoice(on=["folder:C:/images", "demo"], only=["AFRAD", "with, comma"], override=["seeds=[0]"])
    assert choice.overrides == (
        "seeds=[0]",
        'datasets=[{"name": "folder", "root": "C:/images"}, {"name": "demo"}]',
        'rows=["AFRAD", "with, comma"]',
    )
    assert ProfileChoice().overrides == ()


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
