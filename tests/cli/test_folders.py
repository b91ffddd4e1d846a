"""Folders of reports: no run overwrites the report of another one with less, or with other settings or data; and the
commands that measure nothing find the options of the newest run."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest

from afrad_bench.cli.folders import named
from tests.conftest import mvtec_folder
from tests.program import SUITE, Place


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    return Place(tmp_path, cache_folder)


def pages(place: Place) -> list[str]:
    """The folders that hold a report, below `reports`."""
    root = place.folder / "reports"
    return sorted(page.parent.relative_to(root).as_posix() for page in root.rglob("report.html"))


def numbers(place: Place, folder: str) -> int:
    with (place.folder / "reports" / folder / "report.csv").open(encoding="utf-8") as file:
        return sum(bool(line["mean"]) for line in csv.DictReader(file))


def again(text: str) -> list[str]:
    """The words of "measure it again"."""
    (command,) = re.findall(r"measure it again: afrad-bench (.*)", text)
    return shlex.split(command)


def test_overrides_have_a_folder_of_their_own_and_are_found_again(place: Place) -> None:
    path = place.write(SUITE)
    plain = place.run(path, "--set", "seeds=[0]", "--threads", "1")
    (own,) = pages(place)
    assert re.fullmatch(r"tiny/demo\+[0-9a-f]{8}", own)
    assert again(plain)[:5] == ["run", str(path), "--profile", "demo", "--set"]
    whole = numbers(place, own)
    before = (place.folder / "reports" / own / "report.csv").read_bytes()

    # without options: those of the newest run, said; the report and its pictures stay as they were
    out = place.call("report", path)
    assert "with the options of the newest run" in out
    assert f"--set 'seeds=[0]' --data folder={place.data}" in out
    assert "1 seed" in out
    assert pages(place) == [own]
    assert (place.folder / "reports" / own / "report.csv").read_bytes() == before
    assert list((place.folder / "reports" / own / "figures").glob("*.svg"))
    assert again(out) == again(plain)
    assert "newest run" in place.call("failures", path, "--top", "1")
    assert "newest run" in place.call("rank", path)

    # what is given wins, and the suite's own settings can be had
    data = ("--data", f"folder={place.data}")
    assert "seeds=[1]" in place.call("report", path, *data, "--set", "seeds=[1]")
    declared = place.call("report", path, *data, "--as-declared")
    assert "newest run" not in declared
    assert "0, 1" in declared
    assert set(pages(place)) == {own, "tiny/demo", f"tiny/{named('demo', ['seeds=[1]'])}"}
    assert numbers(place, own) == whole


def test_data_of_ones_own_have_a_folder_each_and_overwrite_no_other_report(place: Place) -> None:
    path = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    place.run(path)
    written = {name: (place.folder / "reports" / name / "report.csv").read_bytes() for name in pages(place)}
    for name, category in (("mine", "gamma"), ("yours", "delta")):
        mvtec_folder(place.folder / name, (category,), train=4, test=2)
        place.call("run", path, "--on", f"folder:{name}", "--only", "plain")
        written |= {
            page: (place.folder / "reports" / page / "report.csv").read_bytes()
            for page in pages(place)
            if page not in written
        }
    assert len(written) == 3
    assert all((place.folder / "reports" / name / "report.csv").read_bytes() == text for name, text in written.items())
    assert [sum(category in text.decode() for text in written.values()) for category in ("gamma", "delta")] == [1, 1]


def test_equal_overrides_have_one_folder() -> None:
    assert named("demo", []) == "demo"
    assert named("demo", ["seeds=[0, 1]", "a.b=1e-3"]) == named("demo", ["a.b=0.001", "seeds=[0,1]"])
    assert len({named("demo", [text]) for text in ("a.b=1", "a.b=2", "a.c=1", "a.b=true")}) == 4


def test_other_data_have_a_folder_of_their_own(place: Place) -> None:
    path = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    place.run(path)
    first = (place.folder / "reports/tiny/demo/report.csv").read_bytes()
    mvtec_folder(place.folder / "elsewhere", ("gamma",))
    out = place.call("run", path, "--data", "folder=elsewhere")
    assert (place.folder / "reports/tiny/demo/report.csv").read_bytes() == first
    (other,) = set(pages(place)) - {"tiny/demo"}
    assert other.startswith("tiny/demo+data-")
    assert f"report: reports/{other}/report.html" in out
    # the newest run was on these data
    assert "--data folder=elsewhere" in place.call("report", path)
    assert pages(place) == ["tiny/demo", other]
    # the first data, corrected in place, are still the data of the first folder
    shown = (place.folder / "reports/tiny/demo/report.md").read_text("utf-8")
    image = place.data / "alpha/train/good/000.png"
    image.write_bytes((place.data / "alpha/train/good/001.png").read_bytes())
    place.run(path)
    assert pages(place) == ["tiny/demo", other]
    assert (place.folder / "reports/tiny/demo/report.md").read_text("utf-8") != shown  # another fingerprint
    # and so they are after they were moved
    (place.folder / "moved").mkdir()
    place.data = place.data.rename(place.folder / "moved" / place.data.name)
    place.run(path)
    assert pages(place) == ["tiny/demo", other]


def test_a_report_is_never_overwritten_with_less(place: Place) -> None:
    path, data = place.write(SUITE), ("--data", f"folder={place.data}")
    place.run(path)
    page = place.folder / "reports/tiny/demo/report.csv"
    before, whole = page.read_bytes(), numbers(place, "tiny/demo")
    out = place.call("report", path, *data, "--store", "empty")
    assert page.read_bytes() == before
    assert f"reports/tiny/demo keeps a report with {whole} numbers that are missing here" in out
    assert pages(place) == ["tiny/demo", "tiny/demo+incomplete"]
    assert list((page.parent / "figures").glob("*.svg"))
    # half of the seeds, in another store
    place.call("run", path, *data, "--store", "other", "--set", "seeds=[0]")
    assert "keeps a report" in place.call("report", path, *data, "--store", "other", "--as-declared")
    assert page.read_bytes() == before
    # nor is what is incomplete replaced by less
    half = numbers(place, "tiny/demo+incomplete")
    place.call("report", path, *data, "--store", "empty")
    assert 0 < numbers(place, "tiny/demo+incomplete") == half
    assert pages(place)[-1] == "tiny/demo+incomplete2"
    # when that store has as much, its report takes the place
    assert "keeps a report" not in place.call("run", path, *data, "--store", "other")
    # a suite that has fewer rows may have fewer numbers
    shorter = SUITE.replace("      - label: squared\n        params: {power: 2.0}\n", "")
    assert "keeps a report" not in place.run(place.write(shorter))
    assert numbers(place, "tiny/demo") < whole


def test_data_that_nothing_uses_are_an_error(place: Place) -> None:
    text = SUITE.replace("datasets: [folder]", "datasets: [demo]")
    both = place.write(text + "  real:\n    datasets: [mvtec_ad]\n    image_size: 32\n", "both.yaml")
    given = ("--data", f"mvtec_ad={place.data}", "--profile", "demo")
    for command in ("run", "plan", "check", "report", "failures", "rank"):
        out = place.call(command, both, *given, expect=2)
        assert f"--data mvtec_ad={place.data}: it would not be used" in out
        assert "--profile real of tiny uses it" in out
    out = place.call("plan", both, "--data", "folder=/nonexistent", "--profile", "demo", expect=2)
    assert "/nonexistent is not a folder" in out
    out = place.call("plan", both, "--data", f"visa={place.data}", "--profile", "demo", expect=2)
    assert "no profile uses it; --set 'datasets=[visa]' would" in out
    twice = ("--data", f"folder={place.data}", "--data", "folder=.")
    assert "two folders are given for folder" in place.call("plan", place.write(SUITE), *twice, expect=2)
    for option in (("--set", "padim.sigma=3"), ("--data", f"folder={place.data}"), ("--profile", "demo")):
        assert "no suite is named" in place.call("latency", "padim", *option, expect=2)


def test_the_command_that_measures_again_has_every_option(place: Place) -> None:
    options = ["--store", "s", "--reports", "r", "--cache", "c", "--device", "cpu", "--threads", "1"]
    options += ["--cache-limit", "2.5", "--set", "seeds=[0]", "--data", f"folder={place.data}"]
    path = place.write(SUITE)
    out = place.call("run", path, *options)
    words = again(out)
    assert words[:2] == ["run", str(path)]
    for option, value in zip(options[::2], options[1::2], strict=True):
        assert words[words.index(option) + 1] == value
    assert "4 cells" not in place.call(*words)
    assert "2 cells, 2 done, 0 to run" in place.call(*words)
    assert not (place.folder / "results").exists()


def test_a_file_is_no_folder_for_reports_and_that_is_said_before_anything_runs(place: Place) -> None:
    path = place.write(SUITE)
    for command in (("run", path, "--reports"), ("failures", path, "--out")):
        assert "is a file" in " ".join(place.call(*command, path, expect=2).split())
    assert not (place.folder / "results").exists()


def test_maps_that_are_not_kept_are_named(place: Place) -> None:
    path = place.write(SUITE.replace("seeds: [0, 1]", "seeds: [0]"))
    place.run(path)
    out = place.run(path, "--keep-maps", "--keep-models")
    assert "2 measured cells have no maps in a file: plain, squared" in out
    assert "--force fits and measures again" in out
    assert "2 measured cells have no model in a file" in out
    out = place.run(path, "--keep-maps", "--force")
    assert "maps of 2 cells in" in out
    assert "no maps" not in out
    next((place.folder / "results" / "maps").iterdir()).write_bytes(b"damaged")
    assert "1 measured cells have no maps in a file" in place.run(path, "--keep-maps")


@pytest.mark.parametrize("name", ["../../escaped", ".hidden", "a/b", "latency"])
def test_names_of_profiles_cannot_leave_the_folder_of_reports(place: Place, name: str) -> None:
    path = place.write(SUITE.replace("  demo:", f"  {name}:"))
    out = place.run(path, expect=2)
    assert f"{path}:11: profiles.{name}: " in out
    assert not list(place.folder.rglob("*.html"))
    if name != "latency":
        text = SUITE.replace("suite: tiny", f"suite: {name}")
        assert f"{path}:1: suite: {name!r} cannot be a name" in place.run(place.write(text), expect=2)
