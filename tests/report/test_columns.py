"""Tables on narrow terminals: blocks one below the other; numbers and names are whole, words are not broken."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text

from afrad_bench.report.formats.columns import Column, laid_out
from afrad_bench.report.formats.signs import shown
from afrad_bench.report.formats.terminal import table_parts
from afrad_bench.report.model import Entry, Heading, Line, Table

NAMES = ("PaDiM with twenty channels", "AFRAD", "PatchCore (best of 40 trials)")
NUMBERS = ("+18.4 [−17.3, +54.2] ●", "3.54", "−0.5 [−3.5, +4.6]")
WORDS = "perhaps better: I-AUROC, P-AUROC; worse: P-AUPRO"


def table(metrics: int = 5, keys: int = 1) -> Table:
    names = [f"Δ Metric{i}" for i in range(metrics)]
    headings = [Heading("Row", numeric=False), *(Heading(name, arrow="↑", unit="points") for name in names)]
    headings.insert(3, Heading("What it does", numeric=False))
    lines = []
    for name, number in zip(NAMES, NUMBERS, strict=True):
        entries = [Entry(name), *(Entry(number) for _ in names)]
        entries.insert(3, Entry(WORDS))
        lines.append(Line(tuple(entries)))
    return Table("Changes", tuple(headings), tuple(lines), ("a footnote",), keys=keys)


def printed(made: Table, width: int, encoding: str = "utf-8") -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in table_parts(made, width, encoding):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def unfolded(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 200])
def test_every_number_and_name_is_whole_at_every_width(width: int) -> None:
    text = printed(table(), width)
    assert max(map(len, text.splitlines())) <= width
    for number in NUMBERS:
        assert text.count(number) == 5
    blocks = re.split(r"─{20,}", text)[1:]
    for block in blocks:
        first = unfolded("\n".join(line[: width // 2] for line in block.splitlines()))
        for name in NAMES:
            for word in name.split():
                assert word in first  # names are folded between words only, and stand in every block
    assert "…" not in text
    assert "a footnote" in text


def test_the_most_important_columns_stand_in_the_first_block() -> None:
    made = table(metrics=6)
    (last,) = (h for h in made.headings if h.text == made.headings[-1].text)
    changed = replace(made, headings=(*made.headings[:-1], replace(last, importance=1)))
    narrow = printed(changed, 60)
    assert narrow.index(last.text) < narrow.index(made.headings[2].text)
    wide = printed(changed, 400)
    assert wide.index(last.text) > wide.index(made.headings[2].text)  # what fits keeps its order


def test_a_table_that_fits_is_one_block() -> None:
    assert printed(table(), 250).count("Row") == 1
    assert printed(table(), 80).count("Row") > 1


@pytest.mark.parametrize("width", [80, 100, 120])
def test_words_are_not_broken(width: int) -> None:
    words = set(printed(table(), width).split())
    assert set(WORDS.split()) <= words
    assert {"PaDiM", "twenty", "channels"} <= words


def test_an_arrow_stays_with_its_metric() -> None:
    assert not re.search(r"^\s*[↑↓]", printed(table(9), 60), re.MULTILINE)


def test_several_columns_may_name_a_line() -> None:
    made = Table(
        "Checks",
        tuple(Heading(name, numeric=name not in ("Row", "Metric")) for name in ("Row", "Metric", *"abcdefgh")),
        tuple(Line((Entry("PaDiM"), Entry(metric), *[Entry("+0.123456")] * 8)) for metric in ("AUROC", "AUPRO")),
        keys=2,
    )
    text = printed(made, 60)
    assert text.count("AUROC") == text.count("AUPRO") == text.count("Metric") > 1
    assert text.count("+0.123456") == 16


def test_an_identifier_is_not_split() -> None:
    keys, notes = ["0123456789abcdef" * 2, "fedcba9876543210" * 2], [WORDS, WORDS]
    columns = [
        Column(Text("key"), list(map(Text, keys)), key=True),
        Column(Text("features"), list(map(Text, notes))),
        Column(Text("MiB"), [Text("1.5")] * 2, numeric=True),
    ]
    console = Console(file=io.StringIO(), width=80, color_system=None)
    for block in laid_out(columns, 80, framed=False):
        console.print(block)
    assert isinstance(console.file, io.StringIO)
    assert all(key in console.file.getvalue() for key in keys)


def test_a_table_without_lines_is_its_headings() -> None:
    made = Table("None", (Heading("Row", numeric=False), Heading("Value")), ())
    assert "Value" in printed(made, 80)


def test_footnotes_never_become_digits_of_a_number() -> None:
    line = Line((Entry("a"), Entry("59.4", "value", spread="6.6", refs=(2,))))
    made = Table("Results", (Heading("Row", numeric=False), Heading("AUROC", arrow="↑", unit="%")), (line,))
    assert "59.4 ± 6.6²" in printed(made, 80)
    text = printed(made, 80, "ascii")
    assert "59.4 +- 6.6[2]" in text
    assert "AUROC ^ (%)" in text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "cp437", "utf-8"])
def test_every_sign_of_ours_can_be_shown(encoding: str) -> None:
    ours = "✓✗≠±×√≤≥−–→↑↓Δ…·•●○⚠°µαΦ⁰¹²³⁴⁵⁶⁷⁸⁹˒"
    text = shown(ours, encoding)
    text.encode(encoding)
    assert "\\" not in text
    assert shown(ours, "utf-8") == ours


def test_what_is_no_sign_of_ours_stays_distinguishable() -> None:
    assert shown("Größe", "ascii") == "Grosse"
    assert shown("猫", "ascii") != shown("犬", "ascii")
    assert shown("a\udcffb", "utf-8") == "a\\udcffb"  # a file name that is not UTF-8
