"""Sites: what may stand in one table, that every link leads somewhere, and errors on stores that hold nothing."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from typer.testing import CliRunner

from afrad_bench.cli.program import app
from afrad_bench.comparing import record
from afrad_bench.errors import UserError
from afrad_bench.report import PlannedCell, to_html, to_markdown
from afrad_bench.report.drawing.shapes import Timeline
from afrad_bench.report.model import Entry, Table
from afrad_bench.site import stored, write, write_site
from afrad_bench.site.history import history
from afrad_bench.site.layout import Shown
from afrad_bench.site.pages import leaderboard, report_of, rows
from afrad_bench.types import MEAN
from tests.report.test_report import HOSTILE, Bookkeeper, Page

OLD, NEW = "a" * 40, "b" * 40


class Links(HTMLParser):
    """The links and the ids of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a":
            self.links.append(given["href"] or "")
        if given.get("id"):
            self.ids.add(given["id"] or "")


def run(book: Bookkeeper, label: str, auroc: float, seed: int = 0, dataset: str = "demo", **terms: object) -> None:
    options = repr(sorted(terms.items())) if "params" in terms or "dataset_params" in terms else ""
    name = re.sub(r"\W", "", f"{label}{dataset}{options}")
    cell = PlannedCell(f"{name}{terms.get('image_size', '')}{seed}", dataset, seed)
    book.run(cell, {"accuracy": {("image_auroc", MEAN): auroc, ("image_auroc", "a"): auroc}}, label=label, **terms)


def a_store(folder: Path) -> Path:
    """Two rows with two seeds; one of them was measured with two revisions."""
    book = Bookkeeper(folder)
    for seed in (0, 1):
        run(book, "one", 0.90 + seed / 100, seed, git_revision=OLD, suite="decoders")
        run(book, "two", 0.80 + seed / 100, seed, git_revision=OLD, suite="decoders")
    for seed in (0, 1):
        run(book, "one", 0.70 + seed / 100, seed, git_revision=NEW, git_dirty=True, suite="decoders")
    return folder


def shown(*paths: Path) -> tuple[Shown, ...]:
    return tuple(
        Shown(group, report_of(group), "x/report.html") for one in stored.opened(paths) for group in one.groups
    )


def column(table: Table, name: str) -> list[str]:
    at = [heading.text for heading in table.headings].index(name)
    return [line.entries[at].text for line in table.lines]


def test_every_link_of_a_site_leads_somewhere(tmp_path: Path) -> None:
    a_store(tmp_path / "first" / "results")
    other = Bookkeeper(tmp_path / "second" / "results")
    run(other, "one", 0.5, suite="../decoders", dataset="folder:x")
    out = tmp_path / "site"
    stores = [str(tmp_path / name / "results") for name in ("first", "second")]
    result = CliRunner().invoke(app, ["site", *stores, "--out", str(out)])
    assert result.exit_code == 0, result.output
    pages = sorted(out.rglob("*.html"))
    assert len(pages) == 4 + 2
    for page in pages:
        found = Links(page.read_text(encoding="utf-8"))
        for link in found.links:
            path, _, anchor = link.partition("#")
            target = (page.parent / unquote(path)).resolve() if path else page
            assert target.is_file(), (page, link)
            assert target.is_relative_to(out), (page, link)
            if anchor:
                assert anchor in Links(target.read_text(encoding="utf-8")).ids, (page, link)
    reports = {page for page in pages if page.name == "report.html"}
    linked = {(out / link).resolve() for link in Links((out / "index.html").read_text(encoding="utf-8")).links}
    assert reports <= linked
    assert str(tmp_path / "second" / "results") in (out / "index.html").read_text(encoding="utf-8")
    assert len(write_site([tmp_path / "first" / "results"], out).reports) == 1  # again, into the same folder


def test_the_leaderboard_ranks_the_newest_runs_and_gives_the_warnings_of_the_report(tmp_path: Path) -> None:
    store = a_store(tmp_path / "results")
    (section,) = leaderboard(stored.opened([store]), shown(store)).sections
    (table,) = section.tables
    assert section.title == "demo · unified"
    assert table.caption == "decoders · demo · 128 px"
    assert column(table, "Method") == ["two", "one"]  # the best first, whatever was measured first
    assert column(table, "I-AUROC") == ["80.5", "70.5"]
    assert [line.entries[2].rank for line in table.lines] == ["best", "second"]
    assert {line.entries[0].link for line in table.lines} == {"x/report.html"}
    warned = [table.footnotes[ref - 1] for ref in table.headings[0].refs]
    assert any("Mixed revisions of the code" in text for text in warned)


def test_what_was_measured_on_different_terms_is_never_ranked_or_averaged_together(tmp_path: Path) -> None:
    book = Bookkeeper(tmp_path / "results")
    run(book, "one", 0.9)
    run(book, "one", 0.8, image_size=256)
    run(book, "one", 0.7, setting="one_class")
    run(book, "one", 0.6, profile="paper")
    run(book, "one", 0.5, params={"training": {"epochs": 1}})
    run(book, "one", 0.4, dataset_params={"limit": 3})
    store = tmp_path / "results"
    found = leaderboard(stored.opened([store]), shown(store))
    tables = {(s.title, t.caption): t for s in found.sections for t in s.tables}
    by_place = {place: dict(zip(column(t, "Method"), column(t, "I-AUROC"), strict=True)) for place, t in tables.items()}
    assert by_place["demo · one_class", "decoders · demo · 128 px"] == {"one": "70.0"}
    assert by_place["demo · unified", "decoders · demo · 256 px"] == {"one": "80.0"}
    assert by_place["demo · unified", "decoders · paper · 128 px"] == {"one": "60.0"}
    values = [value for of in by_place.values() for value in of.values()]
    assert sorted(values) == ["40.0", "50.0", "60.0", "70.0", "80.0", "90.0"]
    assert any("training.epochs=1" in label for of in by_place.values() for label in of)
    assert {"demo (limit=3) · unified", "demo (no limit) · unified"} <= {section.title for section in found.sections}


def test_labels_stay_apart_however_many_options_differ(tmp_path: Path) -> None:
    book = Bookkeeper(tmp_path / "results")
    for number in range(4):
        run(book, "one", 0.5 + number / 10, params={"a": 1, "b": 1, "c": 1, "d": number, "e": number % 2})
    run(book, "one", 0.4, params={"a": 0, "b": 0, "c": 0, "d": 9, "e": 9})
    store = tmp_path / "results"
    (section,) = leaderboard(stored.opened([store]), shown(store)).sections
    assert column(section.tables[0], "Method") == [
        *(f"one (a=1, b=1, c=1, and 2 more fields) #{number}" for number in (4, 3, 2)),
        "one (a=1, b=1, c=1, and 2 more fields)",
        "one (a=0, b=0, c=0, and 2 more fields)",
    ]
    assert column(section.tables[0], "I-AUROC") == ["80.0", "70.0", "60.0", "50.0", "40.0"]


def test_a_leaderboard_that_must_not_be_ranked_keeps_the_order_of_the_store(tmp_path: Path) -> None:
    book = Bookkeeper(tmp_path / "results")
    run(book, "one", 0.5)
    run(book, "two", 0.9, data_fingerprint="ef" * 32)  # other images
    store = tmp_path / "results"
    (section,) = leaderboard(stored.opened([store]), shown(store)).sections
    assert column(section.tables[0], "Method") == ["one", "two"]


def test_the_history_has_a_line_for_each_row_and_revision(tmp_path: Path) -> None:
    store = a_store(tmp_path / "results")
    (section,) = history(stored.opened([store]), shown(store)).sections
    table = section.tables[0]
    names = zip(column(table, "Method"), column(table, "Revision"), column(table, "I-AUROC"), strict=True)
    assert list(names) == [
        ("one", OLD[:12], "90.5"),
        ("one", f"{NEW[:12]}+", "70.5"),
        ("two", OLD[:12], "80.5"),
    ]
    assert column(table, "Newest run (UTC)") == ["2025-03-04 09:33", "2025-03-04 09:36", "2025-03-04 09:34"]
    assert all(entry.rank == "" for line in table.lines for entry in line.entries)


def a_gated_store(folder: Path) -> Path:
    """A row that three revisions measured, the third on other data; another row that only one measured."""
    book = Bookkeeper(folder)
    terms = {"accuracy": {"version": "1", "status": "ok", "terms": {}}}
    for at, (revision, auroc) in enumerate(((OLD, 0.9), (NEW, 0.7), ("c" * 40, 0.8))):
        data = {"data_fingerprint": "ef" * 32} if at == 2 else {}
        for seed in (0, 1, 2):
            drawn = {"weights": "random", "weights_hash": "random"}
            run(book, "one", auroc + seed / 1000, seed, git_revision=revision, measures=terms, **drawn, **data)
    run(book, "other", 0.5, git_revision=OLD, measures=terms)
    return folder


def gated(store: Path, folder: Path) -> tuple[record.Record, ...]:
    """The record of a gate on the first two revisions, as the command keeps it."""
    rules = folder.with_suffix(".yaml")
    rules.write_text("rules: [{metric: image_auroc, smallest: 1.0, seeds: 3}]\n", encoding="utf-8")
    sides = (f"{store}:rev:{OLD[:7]}", f"{store}:rev:{NEW[:7]}")
    result = CliRunner().invoke(app, ["gate", *sides, "--rules", str(rules), "--record", str(folder)])
    assert result.exit_code == 1, result.output
    return record.read([folder])


def test_the_history_is_drawn_with_the_verdicts_of_a_gate_at_the_runs_that_it_judged(tmp_path: Path) -> None:
    store = a_gated_store(tmp_path / "results")
    records = gated(store, tmp_path / "gates")
    section, gates = history(stored.opened([store]), shown(store), records).sections
    (figure,) = section.figures
    assert isinstance(figure.drawing, Timeline)
    ((panel,),) = ([each for each in figure.drawing.panels if each.title.startswith("I-AUROC")],)
    ((trace,),) = (panel.traces,)
    assert [(each.at, round(each.y, 1)) for each in trace.moments] == [(0, 90.1), (1, 70.1), (2, 80.1)]
    assert [each.verdict for each in trace.moments] == ["", "regression", ""]
    assert [each.joined for each in trace.moments] == [True, True, False]
    assert "regression against" in trace.moments[1].text
    assert "other terms than before: data" in trace.moments[2].text
    assert figure.drawing.labels == ((0, "one ⚠ random weights"),)
    assert "Not drawn, since only one revision measured them: other." in figure.caption
    table = section.tables[-1]
    assert column(table, "Verdict") == ["✗ regression"]
    assert column(table, "Revision") == [NEW[:12]]
    assert column(gates.tables[0], "NEW") == [f"{store}:rev:{NEW[:7]}"]
    assert len(gates.tables[0].lines) == 1


def test_verdicts_on_runs_that_are_not_there_are_listed(tmp_path: Path) -> None:
    records = gated(a_gated_store(tmp_path / "results"), tmp_path / "gates")
    other, book = tmp_path / "other", Bookkeeper(tmp_path / "other")
    book.runs = 1000  # ids of runs are numbered
    run(book, "one", 0.5)
    found = history(stored.opened([other]), shown(other), records)
    assert found.answer == (f"The newest of 1 gate, {records[0].at:%Y-%m-%d %H:%M}: regression.",)
    section = found.sections[-1]
    assert [table.caption for table in section.tables] == ["Gates", "Verdicts on runs that are not in these stores"]
    assert column(section.tables[1], "Verdict") == ["✗ regression"]


def test_records_are_read_once_and_faulty_ones_are_all_named(tmp_path: Path) -> None:
    (mine,) = gated(a_gated_store(tmp_path / "results"), tmp_path / "gates")
    assert record.read([tmp_path / "gates", tmp_path / "gates"]) == (mine,)
    (path,) = (tmp_path / "gates").iterdir()
    (tmp_path / "gates" / "cut.gate.json").write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    foreign = path.read_text(encoding="utf-8").replace("afrad-bench gate", "a gate")
    (tmp_path / "gates" / "foreign.gate.json").write_text(foreign, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        record.read([tmp_path / "gates", tmp_path / "nowhere"])
    places = [problem.where for problem in caught.value.problems]
    assert places == [str(tmp_path / name) for name in ("gates/cut.gate.json", "gates/foreign.gate.json", "nowhere")]


def test_all_rows_stand_in_one_table_with_their_notes_and_links(tmp_path: Path) -> None:
    book = Bookkeeper(tmp_path / "results")
    run(book, "one", 0.9)
    run(book, "one", 0.8, setting="one_class")
    run(book, "two", 0.7, dataset="other", weights="random", weights_hash="random")
    (section,) = rows(stored.opened([tmp_path / "results"]), shown(tmp_path / "results")).sections
    (table,) = section.tables
    places = zip(column(table, "Row"), column(table, "Data set"), column(table, "Setting"), strict=True)
    assert list(places) == [("one", "demo", "one_class"), ("one", "demo", "unified"), ("two", "other", "unified")]
    assert column(table, "I-AUROC") == ["80.0", "90.0", "70.0"]
    assert {line.entries[0].link for line in table.lines} == {"x/report.html"}
    assert [line.entries[0].flag for line in table.lines] == ["", "", "random weights"]
    assert all(entry.rank == "" for line in table.lines for entry in line.entries)


def test_two_stores_with_one_suite_are_both_shown_and_named(tmp_path: Path) -> None:
    stores = [a_store(tmp_path / name) for name in ("desk", "server")]
    (section,) = leaderboard(stored.opened(stores), shown(*stores)).sections
    assert [table.caption.rpartition(" · ")[2] for table in section.tables] == ["store desk", "store server"]


def test_stores_that_hold_nothing_are_all_named(tmp_path: Path) -> None:
    store = a_store(tmp_path / "results")
    with pytest.raises(UserError) as caught:
        write_site([tmp_path / "nowhere", store, store], tmp_path / "site")
    assert [(p.where, p.what) for p in caught.value.problems] == [
        (str(tmp_path / "nowhere"), "there is no store of results in this folder"),
        (str(store), "this store is given twice"),
    ]
    (tmp_path / "empty" / "cells").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no results"):
        write_site([tmp_path / "empty"], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    store = a_store(tmp_path / "results")
    with pytest.raises(UserError, match="no site"):
        write_site([store], store)


def test_damage_is_said_on_every_page(tmp_path: Path) -> None:
    store = a_store(tmp_path / "results")
    next((store / "measurements").iterdir()).write_bytes(b"nothing of ours")
    written = write_site([store], tmp_path / "site")
    assert written.faults
    for name in ("index", "leaderboard", "history", "rows"):
        page = Page((tmp_path / "site" / f"{name}.html").read_text(encoding="utf-8"))
        assert "does not count" in page.text


def test_a_link_is_escaped_and_other_formats_show_its_text(tmp_path: Path) -> None:
    book = Bookkeeper(tmp_path / "results")
    run(book, HOSTILE, 0.9, suite=HOSTILE, dataset=HOSTILE)
    found = leaderboard(stored.opened([tmp_path / "results"]), shown(tmp_path / "results"))
    hostile = replace(found, beside=(Entry(HOSTILE, link='"><script>'),))
    assert Page(to_html(hostile)).tags.count("script") == 1
    assert "x/report.html" not in to_markdown(found)
    assert write._name(HOSTILE).isascii()


@pytest.mark.parametrize("module", [stored, write])
def test_examples(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
