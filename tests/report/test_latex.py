"""Tables as LaTeX: they compile, nothing is lost, and the paper's tables have the paper's layout."""

from __future__ import annotations

import doctest
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from afrad_bench.latency import latency_report
from afrad_bench.report import Report, to_latex, write
from afrad_bench.report.basis.comparison import EMPTY
from afrad_bench.report.formats import latex, tex
from afrad_bench.report.formats.signs import ASCII
from afrad_bench.report.model import Entry, Heading, Line, Section, Table
from tests.latency.test_sessions import session
from tests.report.test_report import HOSTILE, LATENCY, Bookkeeper, row, suite

DECODERS = ("no_fld", "no_cd", "no_sad", "no_ngib", "full")
HOSTILE_TEX = r"\input{/etc/passwd} 100 % $x_1^2$ #1 & ~ ``q'' -- {unbalanced \end{tabular} 中 é Ångström ⚠ ✗"


def ablation(book: Bookkeeper, extra: str = "AFRAD, tuned") -> Report:
    rows = [row(f"row {key}", (0, 1), published_row=key) for key in DECODERS]
    spec = suite(*rows, row(extra, (0, 1)), reproduces="table5", compare_to="row full")
    for number, each in enumerate(spec.rows):
        for cell in each.cells:
            values = {"image_auroc": 0.9 + number / 100, "pixel_aupro": 0.8 - number / 100 + cell.seed / 50}
            found = {(name, category): value for name, value in values.items() for category in ("mean", "bottle")}
            book.run(cell, {"accuracy": found}, label=each.label)
    return book.report(spec)


def tables(text: str) -> list[str]:
    return re.findall(r"\\begin\{table\}.*?\\end\{table\}", text, re.DOTALL)


def lines(table: str) -> list[list[str]]:
    """The places of each line of the outer tabular; nested ones and spanning headings are unfolded."""
    body = table.split(r"\toprule", 1)[1].split(r"\bottomrule")[0]
    body = re.sub(
        r"\\begin\{tabular\}\[.\]\{@\{\}.@\{\}\}(.*?)\\end\{tabular\}", lambda m: m[1].replace(r" \\ ", " ; "), body
    )
    body = re.sub(r"\\multicolumn\{(\d+)\}\{c\}", lambda m: "& " * (int(m[1]) - 1), body)
    return [re.split(r"(?<!\\)&", one) for one in body.split("\\\\\n") if "&" in one]


@pytest.fixture
def book() -> Bookkeeper:
    return Bookkeeper(None)


def test_every_table_is_there_with_as_many_places_in_each_line(book: Bookkeeper) -> None:
    report = ablation(book)
    found = tables(to_latex(report))
    shown = [*report.paper, *(table for section in report.sections for table in section.tables)]
    assert len(found) == len(shown) + 1  # and the terms
    for table in found:
        assert table.count(r"\begin{") == table.count(r"\end{")
        assert all(rule in table for rule in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{", r"\label{tab:"))
        assert len({len(line) for line in lines(table)}) == 1, table
    labels = re.findall(r"\\label\{(.*?)\}", "".join(found))
    assert len({*labels}) == len(labels)


def test_ranks_deviations_footnotes_and_terms_are_kept(book: Bookkeeper) -> None:
    report = ablation(book)
    (results,) = (table for table in tables(to_latex(report)) if r"\label{tab:results-1}" in table)
    assert r"\textbf{95.0}" in results
    assert r"\underline{94.0}" in results
    assert re.search(r"8\d\.\d\}?\\,\$\\pm\$\\,1\.4", results)
    assert "(paper 91.7" in results
    section = report.section("results")
    assert section is not None
    for number, text in enumerate(section.tables[0].footnotes, 1):
        assert rf"\textsuperscript{{{number}}}\,{tex.escape(text)}" in results
    assert tex.escape(report.brief) in results


def test_the_ablation_is_laid_out_as_in_the_paper(book: Bookkeeper) -> None:
    (table,) = ablation(book).paper
    names = [line.entries[0].text for line in table.lines]
    assert names == [*(f"row {key}" for key in DECODERS), "AFRAD, tuned"]
    signs = ["".join(entry.text for entry in line.entries[1:5]) for line in table.lines]
    assert signs == ["–✓✓✓", "✓–✓✓", "✓✓–✓", "✓✓✓–", "✓✓✓✓", ""]
    text = latex.to_latex(ablation(book))
    assert "row full & $\\checkmark$ & $\\checkmark$ & $\\checkmark$ & $\\checkmark$ & " in text
    assert "(91.7$\\neq$/" in text  # the paper's figures of a group stand in one bracket


def test_methods_are_columns_and_categories_lines_as_in_table_1(book: Bookkeeper) -> None:
    methods = {"afrad": "AFRAD", "uniad": "UniAD", "rd4ad": "RD4AD"}
    rows = [row(label, (0,), "mvtec_ad", method=key, published_row=key) for key, label in methods.items()]
    rows.insert(1, row("AFRAD, tuned", (0,), "mvtec_ad"))
    spec = suite(*rows, reproduces="table1")
    for each in spec.rows:
        named = dict.fromkeys(("wood", "bottle"), 0.9)
        found = {(name, of): 0.9 for name in ("image_auroc", "pixel_aupro") for of in ("mean", *named)}
        for cell in each.cells:
            book.run(cell, {"accuracy": found}, dataset="mvtec_ad")
    (table,) = book.report(spec).paper
    measured = [
        heading.group for heading in table.headings[2::2] if heading.group in (*methods.values(), "AFRAD, tuned")
    ]
    assert measured == ["RD4AD", "UniAD", "AFRAD", "AFRAD, tuned"]
    assert {h.group: h.over for h in table.headings[2:]}["AFRAD, tuned"] == "Reconstruction-based methods"
    assert [[e.text for e in line.entries[:2]] for line in table.lines] == [
        *(["objects", "bottle"], ["textures", "wood"], ["", "mean"])
    ]
    text = latex.to_latex(book.report(spec))
    assert "I-AUROC/P-AUPRO (\\%) on mvtec\\_ad, in the layout of the paper's Table 1, MVTec-AD" in text
    assert r"\textbf{90.0}/\textbf{90.0}" in text  # equal ones share the rank


def test_times_are_ordered_and_what_was_not_measured_comes_last(book: Bookkeeper) -> None:
    rows = [row(key, (0,), method=key, published_row=key) for key in ("afrad", "simplenet")]
    spec = suite(*rows, measures={"latency": LATENCY}, reproduces="table4")
    for each, value in zip(spec.rows, (30.0, 20.0), strict=True):
        book.run(each.cells[0], {"latency": {("latency_median", None): value}})
    (table,) = book.report(spec).paper
    names = [line.entries[0].text for line in table.lines]
    assert names[:3] == ["simplenet", "afrad", "DeSTSeg"]
    assert names[-1] == "AnoDDPM"


def test_a_wide_and_long_table_is_printed_in_parts_with_nothing_lost() -> None:
    headings = (Heading("Row", numeric=False), *(Heading(f"metric {i}", unit="%") for i in range(40)))
    body = tuple(Line((Entry(f"row {r}"), *(Entry(f"{r}.{i:02}") for i in range(40)))) for r in range(90))
    table = Table("Large", headings, body, ("a note",))
    found = list(latex._pieces(table))
    assert len(found) > 4
    texts = [entry.text for piece in found for line in piece.lines for entry in line.entries[1:]]
    assert sorted(texts) == sorted(entry.text for line in body for entry in line.entries[1:])
    assert all(piece.headings[0].text == "Row" for piece in found)


def test_every_sign_of_ours_has_a_command() -> None:
    assert ASCII.keys() - tex.SIGNS.keys() <= {"─", "│", "├", "┤"}  # drawn on terminals only
    assert all(tex.escape(text) for text in EMPTY.values())


def test_files_are_written_on_request_and_kept_up_to_date(book: Bookkeeper, tmp_path: Path) -> None:
    report = ablation(book)
    assert not [path for path in write(report, tmp_path) if path.suffix in (".tex", ".pdf")]
    paths = write(report, tmp_path, also=("latex", "pdf"))
    assert {path.name for path in paths if path.suffix == ".tex"} == {"report.tex", "report_tables.tex"}
    drawn = {path: path.read_bytes() for path in paths if path.suffix == ".pdf"}
    assert {path.stem for path in drawn} == {figure.key for figure in report.figures}
    assert all(content.startswith(b"%PDF-") for content in drawn.values())
    write(replace(report, title="Another title"), tmp_path)
    assert "Another title" in (tmp_path / "report.tex").read_text(encoding="utf-8")
    for path in drawn:
        path.unlink()
    write(report, tmp_path, also=("pdf",))
    assert {path: path.read_bytes() for path in drawn} == drawn  # drawn twice, the same to the byte
    write(replace(report, lead=None, sections=()), tmp_path)
    assert not list(tmp_path.glob("figures/*.pdf"))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (Debian: texlive-latex-base)")
def test_the_document_compiles(book: Bookkeeper, tmp_path: Path) -> None:
    report = ablation(book, HOSTILE_TEX)
    strange = Table(
        HOSTILE_TEX, (Heading(HOSTILE_TEX), Heading(HOSTILE)), (Line((Entry(HOSTILE), Entry(HOSTILE_TEX))),)
    )
    many = tuple(Section(f"s{i}", "More", (strange,)) for i in range(60))
    write(replace(report, title=HOSTILE_TEX, sections=(*report.sections, *many)), tmp_path, also=("latex",))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "report.pdf").stat().st_size > 20_000


def test_a_latency_session_is_printed_with_its_numbers_and_compiles(tmp_path: Path) -> None:
    report = latency_report([session()])
    text = to_latex(report)
    times = "".join(table for table in tables(text) if r"\label{tab:latency-1" in table)  # in parts, since it is wide
    shown = report.sections[0].tables[0]
    for line in shown.lines:
        assert all(tex.escape(entry.text) in times for entry in line.entries)
    assert all(tex.escape(note) in times for note in shown.footnotes)
    write(report, tmp_path, also=("latex",))
    if shutil.which("pdflatex") is not None:
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]


def test_the_examples_in_the_docstrings_run() -> None:
    assert doctest.testmod(tex).failed == 0
