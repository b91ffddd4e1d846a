"""Ten thousand broken variants of the suites that we ship: each is accepted, or refused in words with its place."""

from __future__ import annotations

import random
import re
from collections import Counter
from pathlib import Path

import pytest

from afrad_bench.errors import UserError
from afrad_bench.search import declared
from afrad_bench.suite import suite
from tests.conftest import ROOT

MUTATIONS = 10_000
SLICES = 4

VALUES = r"""
.inf -.INF 1e400 .nan inf "nan" 9223372036854775808 -9223372036854775809 1e30 5e-324 -0.0 0 -1 1 0.5 1e-9 true on off
"2" '0x1F' 0x 0o17 1_000 -_ null ~ '' "" [] {} [[]] [{}] {a:·{b:·1}} "\0" "\x1b[2J" "\ud800" "\U00110000" folder: file:
2024-01-01 2024-02-31 2024-13-45T99:99:99Z *a *a0 &a·[*a] &a·{x:·*a} << "{" } [ " ' % @x ` ?·x -·x : # | > a:·b:·c
!!int·3 !!float·x !foo·1 !!set·{a} !!python/object:os.system·x [0,·0] [true] ["2"] [1.5] [-1] [null] [1e18] ../../x
[9223372036854775807] [accuracy,·accuracy] {latency:·0} {name:·demo,·params:·{train:·1e9}} folder:/nonexistent journal:
{real:·[0,·1e308],·step:·1e-300} {real:·[-1e308,·1.7e308]} {choices:·[[1],·{a:·b}]} {integer:·[0,·9223372036854775807]}
"""
HOSTILE = [value.replace("·", " ") for value in VALUES.split()]
HOSTILE += ["9" * 5000, "1." + "3" * 5000, "[" * 300 + "]" * 300, "{a: " * 300 + "1" + "}" * 300, "x" * 20_000]
HOSTILE += ["\x00", "\x07", "\x85", "\u2028", "\ufeff", "\u00e9", "\ud83d"]
KEYS = ["im-age", "a[b]", "(x)", "str", "[key]", "[fields]", "[points]", "MeasureEntry", "name", "options", "params"]
KEYS += ["1", "true", "null", "''", "<<", "<<: *a\n#", "? [a]\n", "{a: b}", "&k x", "!!int 1", "a.b.c", "." * 600]
LINES = [
    "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)),
    *("a: &a {<<: *a}", "<<: 5", "<<: [{title: x}, {seeds: [1]}]", "\t- x", "---", "...", "%YAML 1.1"),
    "search: {space: {sigma: [1]}, objectives: [image_auroc: maximize], validation: {planted: 0.5}, trials: 1}",
    "    grid: {channels: [1, 2], sigma: []}",
    "    sweep: {a: {'[points]': []}}",
]
FIELDS = ["seeds", "image_size", "threads", "setting", "measures", "datasets", "methods", "accuracy.x", "demo.train"]
FIELDS += ["latency.repeats", "afrad.training.epochs", "afrad.mfpn", "padim.sigma", "uniad.features.grid", "afrad..x"]
FIELDS += ["shared.backbone.name", "shared.x", "shared." + "a." * 200 + "b", "search.trials", "search.space"]
FIELDS += ["search.sampler", "", ".", "afrad.", "\udcff"]
CHARACTERS = "\0\a\t\r\n\"'[]{}:,-#&*!|>%@`\ufeff\u2028\x85\u00e9"

VALUE = re.compile(r"(?<=[:,\[] )[^,:\[\]{}#\n]+|(?<=\[)[^,:\[\]{}#\n]+")
KEY = re.compile(r"[\w.]+(?=:)")


def mutated(text: str, rng: random.Random, texts: list[str]) -> str:
    """The text with another value, key, line, indentation or character, or cut off."""
    kind = rng.randrange(10)
    if kind < 4 and (values := list(VALUE.finditer(text))):
        span = rng.choice(values)
        return text[: span.start()] + rng.choice(HOSTILE) + text[span.end() :]
    if kind < 6 and (keys := list(KEY.finditer(text))):
        span = rng.choice(keys)
        mangled = span.group()[:2] + rng.choice(("-", "[", "]", "(", " ", "x", "\t", ".", "\0")) + span.group()[2:]
        return text[: span.start()] + rng.choice((mangled, rng.choice(KEYS))) + text[span.end() :]
    if kind < 8:
        lines = text.split("\n")
        at = rng.randrange(len(lines))
        line, other = lines[at], rng.choice(rng.choice(texts).split("\n"))
        moved = (line.lstrip(), f"  {line}", f"\t{line}", line[: len(line) // 2])
        lines[at : at + rng.randrange(2)] = [rng.choice((*moved, line, other, rng.choice(LINES), ""))]
        return "\n".join(lines)
    at = rng.randrange(len(text) + 1)
    return text[:at] + (rng.choice(CHARACTERS) + text[at + rng.randrange(3) :] if kind == 8 else "")


def checked(path: Path, text: str, overrides: list[str], rng: random.Random) -> str:
    """What `check` does without data: "valid", or "refused"."""
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        loaded = suite.load(path)
        chosen = loaded.select(rng.choice(list(loaded.file.profiles)), overrides)
        if chosen.search is not None:
            declared(loaded, chosen)
    except UserError as error:
        for problem in error.problems:
            assert problem.where, problem
            assert len(str(problem)) < 20_000, problem
        return "refused"
    return "valid"


@pytest.mark.parametrize("part", range(SLICES))
def test_no_mutation_of_a_suite_is_a_traceback(part: int, tmp_path: Path) -> None:
    rng = random.Random(part)
    texts = [path.read_text("utf-8") for path in sorted((ROOT / "suites").glob("*.yaml"))]
    path, outcomes = tmp_path / "suite.yaml", Counter[str]()
    for number in range(MUTATIONS // SLICES):
        text, overrides = min(rng.choices(texts, k=2), key=len), []
        if rng.random() < 0.1:
            overrides = [f"{rng.choice(FIELDS)}={rng.choice(HOSTILE)}" for _ in range(rng.choice((1, 2)))]
        for _ in range(0 if overrides else rng.choice((1, 1, 2, 3))):
            text = mutated(text, rng, texts)
        try:
            outcomes[checked(path, text, overrides, rng)] += 1
        except Exception as error:
            raise AssertionError(f"mutation {number}: {error!r:.300}\n{overrides!r:.300}\n{text[:4000]}") from error
    assert outcomes["refused"] > 0.5 * MUTATIONS / SLICES
    assert outcomes["valid"] > 0.04 * MUTATIONS / SLICES  # else nothing behind the first error is reached
