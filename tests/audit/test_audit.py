"""The audit of the paper: arithmetic by hand, planted errors, and what it finds in the real tables."""

from __future__ import annotations

import doctest
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from types import ModuleType

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rich.console import Console

from afrad_bench.audit import Finding, audit, means, to_json, to_markdown, to_terminal
from afrad_bench.audit.claims import contradicted
from afrad_bench.audit.marks import misplaced
from afrad_bench.audit.means import explained, slips, wrong_means
from afrad_bench.audit.twice import printed_twice, repeated
from afrad_bench.published import Claim, Figure, Mark
from afrad_bench.types import MEAN
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "audit.md"
TENTH = Decimal("0.1")


def table(values: dict[str, dict[str, Sequence[float]]], name: str = "table1") -> tuple[Figure, ...]:
    """Rows -> categories -> I-AUROC, P-AUROC, P-AUPRO, as printed."""
    metrics = ("image_auroc", "pixel_auroc", "pixel_aupro")
    return tuple(
        Figure(name, row, category, "mvtec_ad", metric, float(value), "%")
        for row, lines in values.items()
        for category, found in lines.items()
        for metric, value in zip(metrics, found, strict=False)
    )


def column(values: Sequence[str | float], mean: str | float) -> tuple[Figure, ...]:
    """One method with one metric."""
    lines: dict[str, Sequence[float]] = {f"c{i}": [float(value)] for i, value in enumerate(values)}
    return table({"uniad": {**lines, MEAN: [float(mean)]}})


# --------------------------------------------------------------------------------------------------------------- means


@pytest.mark.parametrize(
    ("values", "mean", "expected"),
    [
        (["90.0", "90.0", "90.0"], "90.0", True),
        (["90.0", "90.0", "90.0"], "90.1", True),  # all of them 90.05, and so is the mean: on the limit
        (["90.0", "90.0", "90.0"], "89.9", True),
        (["90.0", "90.0", "90.0"], "90.2", False),
        (["51.3", "51.3", "63.9", "56.8"], "55.9", True),  # 55.825, off by 0.075: US in Table 3
        (["51.3", "51.3", "63.9", "56.8"], "56.0", False),
        (["80.1", "80.2", "80.3"], "80.3", True),  # off by exactly 0.1, where floats see 0.09999...
        (["0.1", "0.2", "0.3"], "0.3", True),
        (["100.0", "90.0"], "95.1", False),  # off by 0.1, but nothing is above 100, so that 95.025 is the most
        (["100.0", "90.0"], "94.9", True),
        (["0.0", "10.0"], "4.9", False),  # and nothing is below 0
        (["0.0", "10.0"], "5.1", True),
    ],
)
def test_what_rounding_can_explain(values: list[str], mean: str, expected: bool) -> None:
    assert explained(list(map(Decimal, values)), Decimal(mean)) is expected
    assert (wrong_means(column(values, mean)) == []) is expected


def test_a_mean_that_is_off_names_what_each_figure_would_have_to_be() -> None:
    """(60 + 80 + 90) / 3 is 76.667; for 80.0, 10 points more are needed in one of the three, give or take 0.3."""
    (found,) = wrong_means(column([60, 80, 90], 80))
    assert (found.kind, found.table, found.row, found.category) == ("mean", "table1", "uniad", MEAN)
    assert (found.printed, found.recomputed, found.difference) == (Decimal(80), Decimal("76.667"), Decimal("3.333"))
    suspects = {each.category: each for each in found.suspects}
    assert {c: (str(s.low), str(s.needed), str(s.high)) for c, s in suspects.items()} == {
        "c0": ("69.7", "70.0", "70.3"),
        "c1": ("89.7", "90.0", "90.3"),
        "c2": ("99.7", "100.0", "100.0"),
    }
    assert {c: s.change for c, s in suspects.items()} == dict.fromkeys(suspects, Decimal(10))
    assert suspects["c0"].slips == (Decimal("70.0"),)


def test_figures_that_would_have_to_be_above_100_are_no_suspects() -> None:
    (found,) = wrong_means(column([60, 80, 95], 84))
    assert [each.category for each in found.suspects] == ["c0", "c1"]
    assert "1 of 3 cannot explain it" in found.explanation


def test_no_single_figure_may_be_to_blame() -> None:
    (found,) = wrong_means(column([10, 10, 10, 10], 60))
    assert found.suspects == ()
    assert "several figures are wrong" in found.explanation


def test_a_cell_that_repeats_another_one_is_the_first_suspect() -> None:
    """c1 and c2 share two of three figures; c1 stands further apart from the other method. c0 is equal to it."""
    rows = {
        "uniad": {"c0": [90, 80, 70], "c1": [99, 85, 75], "c2": [99, 85, 71], "c3": [91, 82, 73], MEAN: [92, 83, 72.3]},
        "diad": {
            "c0": [90, 80, 70],
            "c1": [92, 85, 75],
            "c2": [97, 85, 71],
            "c3": [70, 82, 73],
            MEAN: [87.3, 83, 72.3],
        },
    }
    (found,) = wrong_means(table(rows))
    assert (found.row, found.metric) == ("uniad", "image_auroc")
    assert [each.category for each in found.suspects] == ["c1", "c2", "c0", "c3"]
    first = found.suspects[0]
    assert (first.sign, first.twins, first.apart) == ("copied", ("c2",), Decimal(7))
    assert "c1 99.0" in found.explanation


def test_without_a_better_sign_the_same_figure_next_door_counts() -> None:
    """No slip leads from 50.0 to 100.0."""
    (found,) = wrong_means(column([50, 50], 75))
    assert [each.sign for each in found.suspects] == ["neighbour", "neighbour"]
    (found,) = wrong_means(column([50, 60], 80))
    assert [(each.category, each.sign) for each in found.suspects] == [("c0", "none")]


def test_equal_signs_are_ordered_by_how_far_a_figure_stands_apart() -> None:
    rows = {"uniad": {"c0": [95.0], "c1": [95.0], MEAN: [90.0]}}
    rows |= {name: {"c0": [94.0], "c1": [80.0 + i], MEAN: [87.0 + i / 2]} for i, name in enumerate(("diad", "draem"))}
    (found,) = wrong_means(table(rows))
    assert [(each.category, each.apart) for each in found.suspects] == [("c1", Decimal("14.5")), ("c0", Decimal(1))]


def test_slips_are_one_digit_or_one_swap() -> None:
    found = set(map(str, slips(Decimal("97.5"))))
    assert {"79.5", "95.7", "90.5", "97.0", "27.5"} <= found
    assert not {"97.5", "59.7", "75.9", "90.0", "9.75"} & found
    assert all(slip <= 100 for slip in slips(Decimal("100.0")))


def test_only_percentages_with_their_categories_are_checked() -> None:
    alone = Figure("table5", "full", MEAN, "mvtec_ad", "image_auroc", 98.3, "%")
    times = Figure("table4", "afrad", None, None, "latency_median", 24.5, "ms/image")
    assert means.checkable([alone, times]) == []


PERCENT = st.decimals(min_value=0, max_value=100, places=3)
ROUNDING = st.sampled_from([ROUND_HALF_UP, ROUND_HALF_EVEN, ROUND_HALF_DOWN])


def rounded(values: Sequence[Decimal], rounding: str) -> tuple[list[Decimal], Decimal]:
    """What a careful author prints: each value, and the mean of the values before rounding."""
    mean = sum(values, Decimal(0)) / len(values)
    return [value.quantize(TENTH, rounding) for value in values], mean.quantize(TENTH, rounding)


@given(st.lists(PERCENT, min_size=1, max_size=20), ROUNDING)
def test_true_means_are_never_found(values: list[Decimal], rounding: str) -> None:
    printed, mean = rounded(values, rounding)
    assert wrong_means(column([float(value) for value in printed], float(mean))) == []


@given(st.lists(PERCENT, min_size=1, max_size=20), ROUNDING, st.data())
def test_a_planted_error_is_always_found_and_its_figure_suspected(
    values: list[Decimal], rounding: str, data: st.DataObject
) -> None:
    """More than twice the tolerance times n: then the other roundings cannot make up for it."""
    printed, mean = rounded(values, rounding)
    place = data.draw(st.integers(0, len(values) - 1))
    wrong = data.draw(st.decimals(min_value=0, max_value=100, places=1))
    assume(abs(wrong - printed[place]) > 2 * TENTH * len(values))
    right, printed[place] = printed[place], wrong
    (found,) = wrong_means(column([float(value) for value in printed], float(mean)))
    (suspect,) = (each for each in found.suspects if each.category == f"c{place}")
    assert suspect.low <= right <= suspect.high
    assert found.recomputed is not None
    assert abs(found.recomputed - sum(printed, Decimal(0)) / len(printed)) <= Decimal("0.0005")


@given(st.lists(st.decimals(min_value=0, max_value=100, places=1), min_size=1, max_size=8), PERCENT)
def test_the_range_of_a_suspect_is_exactly_what_would_do(values: list[Decimal], mean: Decimal) -> None:
    """By trying every figure that could stand there."""
    mean = mean.quantize(TENTH, ROUND_DOWN)
    findings = wrong_means(column([float(value) for value in values], float(mean)))
    grid = [TENTH * i for i in range(1001)]
    for finding in findings:
        ranges = {each.category: (each.low, each.high) for each in finding.suspects}
        fitting = {
            f"c{i}": [v for v in grid if explained([*values[:i], v, *values[i + 1 :]], mean)]
            for i in (0, len(values) - 1)
        }
        for category, known in fitting.items():
            assert ranges.get(category) == ((known[0], known[-1]) if known else None)


# ------------------------------------------------------------------------------------------------------------ the rest


def test_complete_rows_of_the_ablations_are_afrad() -> None:
    figures = (
        Figure("table1", "afrad", MEAN, "mvtec_ad", "image_auroc", 98.3, "%"),
        Figure("table5", "full", MEAN, "mvtec_ad", "image_auroc", 98.3, "%"),
        Figure("table7", "frm", MEAN, "mvtec_ad", "image_auroc", 97.3, "%"),
        Figure("table7", "frm", MEAN, "visa", "image_auroc", 97.3, "%"),
        Figure("table7", "no_frm", MEAN, "mvtec_ad", "image_auroc", 90.0, "%"),
    )
    assert [len(places) for places in repeated(figures).values()] == [3]
    (found,) = printed_twice(figures)
    assert (found.table, found.row, found.printed, found.recomputed) == (
        "table7",
        "frm",
        Decimal("97.3"),
        Decimal("98.3"),
    )


CLAIM = Claim("4", "said", "value", "table1", "afrad", (), MEAN, "mvtec_ad", "image_auroc", "")
SMALL = table(
    {
        "uniad": {"carpet": [90.0], "grid": [95.0], "leather": [90.0], "tile": [90.0], "wood": [90.0], MEAN: [91.0]},
        "afrad": {"carpet": [91.0], "grid": [94.0], "leather": [90.0], "tile": [92.0], "wood": [90.0], MEAN: [91.4]},
    }
)


def of(test: str, **more: object) -> list[Finding]:
    fields = {name: getattr(CLAIM, name) for name in CLAIM.__dataclass_fields__} | {"test": test} | more
    return contradicted([Claim(**fields)], SMALL)


def test_a_figure_in_the_text() -> None:
    assert of("value", value="91.4") == of("value", value="91.40") == []
    (found,) = of("value", value="91.5")
    assert (found.section, found.printed, found.recomputed) == ("4", Decimal("91.5"), Decimal("91.4"))


def test_highest_means_alone() -> None:
    assert of("highest") == []
    assert of("highest", category="carpet") == []
    (tied,) = of("highest", category="leather")
    assert "not alone" in tied.explanation
    assert [each.category for each in of("highest", category="every")] == ["grid", "leather", "wood"]
    (worse,) = of("highest", row="uniad")
    assert (worse.printed, worse.recomputed) == (Decimal("91.0"), Decimal("91.4"))


def test_lowest_is_the_other_way_round() -> None:
    assert of("lowest", row="uniad") == []
    (found,) = of("lowest")
    assert "UniAD has 91.0" in found.explanation


def test_a_group_stands_for_its_mean() -> None:
    """Textures: (91 + 94 + 90 + 92 + 90) / 5 is 91.4, and 91.0 for the other."""
    assert of("highest", category="textures") == []
    (found,) = of("highest", category="textures", row="uniad")
    assert (found.printed, found.recomputed) == (Decimal("91.000"), Decimal("91.400"))
    assert "beyond what rounding can explain" in found.explanation


def test_better_compares_rivals_one_by_one() -> None:
    assert of("better", against=("uniad",)) == []
    (found,) = of("better", row="uniad", against=("afrad",))
    assert found.difference == Decimal("-0.4")
    assert len(of("better", category="leather", against=("uniad",))) == 1


def test_a_shorter_time_is_better() -> None:
    times = [
        Figure("table4", row, None, None, "latency_median", ms, "ms/image")
        for row, ms in (("afrad", 24.5), ("uniad", 85.0))
    ]
    fields = {"category": None, "dataset": None, "metric": "latency_median", "table": "table4"}
    faster = Claim("4.4", "faster", "better", row="afrad", against=("uniad",), value="", **fields)
    slower = Claim("4.4", "faster", "better", row="uniad", against=("afrad",), value="", **fields)
    assert contradicted([faster], times) == []
    assert [found.row for found in contradicted([slower], times)] == ["uniad"]


def test_rows_that_the_text_names_and_those_that_the_table_has() -> None:
    assert of("rows", against=("uniad",)) == []
    assert [(each.row, each.printed) for each in of("rows", against=("padim",))] == [("padim", None), ("uniad", None)]


def test_counts_and_sums() -> None:
    assert of("categories", category=None, value="5") == of("categories", category="textures", value="5") == []
    assert [each.recomputed for each in of("categories", category=None, value="15")] == [Decimal(5)]
    assert of("sum", against=("3629", "1725"), value="5354") == []
    assert [each.difference for each in of("sum", against=("3629", "1725"), value="5355")] == [Decimal(1)]


def marked(**places: str) -> list[tuple[str, str]]:
    """Findings for marks on one line of four methods with 99, 98, 98 and 97."""
    values = {"rd4ad": 99.0, "uniad": 98.0, "diad": 98.0, "afrad": 97.0}
    figures = [Figure("table1", row, "grid", "mvtec_ad", "image_auroc", value, "%") for row, value in values.items()]
    marks = [Mark("table1", row, "grid", "mvtec_ad", "image_auroc", place) for row, place in places.items()]  # type: ignore[arg-type]
    return [(each.row, each.explanation.partition(";")[0]) for each in misplaced(marks, figures)]


def test_marks_belong_to_ranks_and_equal_figures_share_one() -> None:
    assert marked(rd4ad="best", uniad="second", diad="second") == marked(rd4ad="best") == []
    assert marked(uniad="best", diad="best") == [
        ("uniad", "marked best, is second best"),
        ("diad", "marked best, is second best"),
    ]
    assert marked(rd4ad="second", afrad="second") == [
        ("rd4ad", "marked second best, is best"),
        ("afrad", "marked second best, is 3rd"),
    ]
    assert marked(uniad="second") == [("diad", "not marked, but second best like UniAD, which is marked")]


# ------------------------------------------------------------------------------------------------------- the real paper


def test_what_the_paper_contradicts() -> None:
    found = audit()
    assert {kind: len(found.of(kind)) for kind in found.checked} == {"mean": 3, "twice": 2, "claim": 22, "mark": 34}  # type: ignore[arg-type]
    assert found.checked == {"mean": 46, "twice": 5, "claim": 83, "mark": 213}


def test_the_means_that_are_off() -> None:
    found = {(each.table, each.row, each.metric): each for each in audit().of("mean")}
    assert {place: (str(each.printed), str(each.recomputed)) for place, each in found.items()} == {
        ("table1", "diad", "image_auroc"): ("97.2", "97.760"),
        ("table2", "draem", "image_auroc"): ("80.5", "79.975"),
        ("table2", "draem", "pixel_auroc"): ("87.0", "85.283"),
    }
    screw = found["table1", "diad", "image_auroc"].suspects[0]
    assert (screw.category, screw.printed, screw.needed) == ("screw", Decimal("99.7"), Decimal("91.3"))
    assert Decimal("90.7") in screw.slips
    pair = {"pcb4", "pipe_fryum"}  # 87.1 and 72.3 stand at both
    for metric in ("image_auroc", "pixel_auroc"):
        assert {each.category for each in found["table2", "draem", metric].suspects[:2]} == pair
    assert {each.category for each in found["table2", "draem", "pixel_auroc"].suspects} == {*pair, "cashew"}


def test_table_7_has_other_figures_than_table_2() -> None:
    assert [(each.metric, str(each.printed), str(each.recomputed)) for each in audit().of("twice")] == [
        ("image_auroc", "83.7", "90.6"),
        ("pixel_auroc", "96.6", "98.5"),
    ]


def test_the_statements_that_tables_contradict() -> None:
    found = {(each.section, each.table, each.row, each.category, each.metric): each for each in audit().of("claim")}
    assert len(found) == 22
    text = found["4.3.1", "table1", "afrad", MEAN, "image_auroc"]
    assert (text.printed, text.recomputed) == (Decimal("98.4"), Decimal("98.3"))
    tie = found["4.3.1", "table1", "afrad", MEAN, "pixel_auroc"]
    assert "SimpleNet has 96.9 too" in tie.explanation
    assert "96.853 (AFRAD), 96.927 (SimpleNet)" in tie.explanation
    for row in ("padim", "mkd"):
        assert ("4.3.1", "table1", row, None, None) in found
    for row in ("rd4ad", "draem"):
        assert ("4.3.2", "table2", row, None, None) in found
    group = found["4.3.2", "table2", "afrad", "single instance", "image_auroc"]
    assert (group.printed, group.recomputed) == (Decimal("93.825"), Decimal("94.150"))
    assert found["4.3.2", "table2", "afrad", "capsules", "image_auroc"].difference == Decimal("-22.0")
    assert found["4.5.1", "table5", "no_ngib", MEAN, "pixel_aupro"].recomputed == Decimal("87.4")
    assert found["4.5.2", "table6", "fld12_cd23_sad1234", MEAN, "image_auroc"].recomputed == Decimal("96.4")
    assert {section for section, *_ in found} == {"1", "4.3.1", "4.3.2", "4.5.1", "4.5.2", "5"}


def test_the_one_wrong_mark_of_the_best() -> None:
    best = [each for each in audit().of("mark") if each.explanation.startswith("marked best")]
    assert [(each.row, each.category, each.metric, str(each.recomputed)) for each in best] == [
        ("afrad", "pill", "pixel_auroc", "97.5")
    ]


# ---------------------------------------------------------------------------------------------------------------- shown


def test_json_is_plain_and_complete() -> None:
    made = json.loads(json.dumps(to_json(audit())))
    assert made["found"] == {"mean": 3, "twice": 2, "claim": 22, "mark": 34}
    assert len(made["findings"]) == 61
    first = made["findings"][0]
    assert (first["kind"], first["row"], first["printed"], first["difference"]) == ("mean", "diad", 97.2, -0.56)
    assert first["suspects"][0]["category"] == "screw"
    assert len(made["limits"]) == len(audit().limits) > 0


def test_every_finding_is_in_markdown_and_on_the_terminal() -> None:
    found = audit()
    out = io.StringIO()
    to_terminal(found, Console(file=out, width=400))
    page, screen = to_markdown(found), " ".join(out.getvalue().split())
    for finding in found.findings:
        assert finding.explanation in page
        assert " ".join(finding.explanation.split()) in screen
    for limit in found.limits:
        assert limit in page
        assert " ".join(limit.split()) in screen


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_is_cut_off_on_a_narrow_terminal(width: int) -> None:
    out = io.StringIO()
    to_terminal(audit(), Console(file=out, width=width))
    assert max(map(len, out.getvalue().splitlines())) <= width
    assert "97.760" in out.getvalue()
    assert "…" not in out.getvalue()


def test_the_page_in_docs_is_current() -> None:
    """Written by `afrad-bench audit --markdown > docs/audit.md`."""
    assert PAGE.read_text(encoding="utf-8") == to_markdown(audit())


def command(*options: str, before: str = "") -> subprocess.CompletedProcess[bytes]:
    """`afrad-bench audit` in a process of its own."""
    code = f"import sys; from afrad_bench.cli import main; {before}main()"
    return subprocess.run([sys.executable, "-c", code, "audit", *options], capture_output=True, check=False)


def test_the_command_prints_a_table_a_page_or_json() -> None:
    shown = command()
    assert shown.returncode == 0
    assert b"Means that rounding cannot explain  3 in 46 means" in shown.stdout
    page = command("--markdown")
    assert (page.returncode, page.stdout) == (0, PAGE.read_bytes())
    assert json.loads(command("--json").stdout) == json.loads(json.dumps(to_json(audit())))


def test_one_output_at_a_time() -> None:
    refused = command("--markdown", "--json")
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert b"--markdown and --json exclude each other" in refused.stderr


def test_the_command_is_light() -> None:
    heavy = "{'torch', 'timm', 'numpy', 'pandas', 'scipy', 'pyarrow', 'matplotlib', 'jinja2'}"
    before = f"import atexit; atexit.register(lambda: sys.stderr.write(str(sorted({heavy} & set(sys.modules))))); "
    assert command("--json", before=before).stderr == b"[]"


@pytest.mark.parametrize("module", [means])
def test_examples_in_the_docstrings_run(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.attempted > 0, found.failed) == (True, 0)
