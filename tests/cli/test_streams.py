"""Readers that go away, encodings that lack our signs, disks that are full: they never change what a command says by
its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.program import SUITE, Place

RULES = "rules:\n  - {metric: image_auroc, min: 100.5}\n"
PLAIN = SUITE.replace("seeds: [0, 1]", "seeds: [0]")
FAULTY = PLAIN.replace("suite: tiny", "suite: faulty").replace("power: 2.0", "fault: predict")

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, cache_folder: Path) -> Place:
    """A store in which the suites `tiny` (complete) and `faulty` (one of two cells fails) were run."""
    made = Place(tmp_path_factory.mktemp("streams"), cache_folder)
    made.run(made.write(PLAIN))
    made.run(made.write(FAULTY, "faulty.yaml"), expect=3)
    made.write(RULES, "rules.yaml")
    return made


COMMANDS = [
    (("--help",), 0),
    (("list", "methods"), 0),
    (("list", "methods", "--json"), 0),
    (("gate", "results:tiny", "results:tiny"), 0),
    (("gate", "results:tiny", "results:tiny", "--rules", "rules.yaml"), 1),
    (("report", "suite.yaml"), 0),
    (("run", "faulty.yaml"), 3),
    (("plan", "nowhere.yaml"), 2),
    (("frobnicate",), 2),
]


def ended(place: Place, arguments: tuple[str, ...], **streams: Any) -> subprocess.CompletedProcess[bytes]:
    """A command that has ended, with standard output and error as given."""
    data = ("--data", f"folder={place.data}") if arguments[0] == "run" else ()
    command = [sys.executable, "-m", "afrad_bench", *arguments, *data]
    return subprocess.run(command, cwd=place.folder, env=place.environment, check=False, timeout=300, **streams)


def shell(place: Place, line: str) -> int:
    """The exit code of a line of bash, in which GATE is the gate of this store with itself."""
    gate = f"{sys.executable} -m afrad_bench gate results:tiny results:tiny"
    command = ["bash", "-c", line.replace("GATE", gate)]
    return subprocess.run(command, cwd=place.folder, env=place.environment, check=False, timeout=300).returncode


@posix
@pytest.mark.parametrize(("arguments", "expected"), COMMANDS)
def test_a_reader_that_is_gone_changes_no_exit_code(place: Place, arguments: tuple[str, ...], expected: int) -> None:
    ours, theirs = os.pipe()
    os.close(ours)  # nobody reads
    try:
        assert ended(place, arguments, stdout=theirs, stderr=theirs).returncode == expected
    finally:
        os.close(theirs)


@posix
def test_a_reader_that_stops_early_changes_no_exit_code(place: Place) -> None:
    assert shell(place, "set -o pipefail; GATE | head -1 > /dev/null") == 0
    assert shell(place, "set -o pipefail; GATE --rules rules.yaml | head -1 > /dev/null") == 1


@posix
@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "1>&- 2>&-"])
def test_a_stream_that_is_closed_from_the_start_shows_nothing(place: Place, closed: str) -> None:
    assert shell(place, f"GATE --rules rules.yaml {closed}") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_the_user_can_fix(place: Place) -> None:
    with open("/dev/full", "w") as full:
        done = ended(place, ("list", "methods"), stdout=full, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (2, b"standard output: No space left on device\n")
        gate = ("gate", "results:tiny", "results:tiny")
        assert ended(place, gate, stderr=full, stdout=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_screen_that_cannot_be_written_fails_no_cell(place: Place) -> None:
    """The lines of progress are written from within a fit; what is measured and reported does not depend on them."""
    place.write(SUITE.replace("suite: tiny", "suite: unseen").replace("[0, 1]", "[7]"), "unseen.yaml")
    with open("/dev/full", "w") as full:
        done = ended(place, ("run", "unseen.yaml"), stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (2, b"standard output: No space left on device\n")
    rows = [row for row in place.table("cells").to_dict("records") if row["suite"] == "unseen"]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert (place.folder / "reports" / "unseen" / "demo" / "report.html").is_file()


@pytest.mark.parametrize(("encoding", "commands"), [("ascii", COMMANDS), ("cp1252", COMMANDS[3:7])])
def test_an_encoding_without_our_signs_shows_others(
    place: Place, encoding: str, commands: list[tuple[tuple[str, ...], int]]
) -> None:
    place.environment["PYTHONIOENCODING"] = encoding
    try:
        for arguments, expected in commands:
            done = ended(place, arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            text = (done.stdout + done.stderr).decode(encoding)
            assert done.returncode == expected, text
            assert "Traceback" not in text
            assert "\\u" not in text, arguments
            if arguments[0] == "gate":
                assert "+ pass" in text if expected == 0 else "x regression" in text
    finally:
        del place.environment["PYTHONIOENCODING"]


def test_json_loses_nothing_in_any_encoding(place: Place) -> None:
    suite = place.write(PLAIN.replace("label: plain", "label: Größe 猫"), "named.yaml")
    place.environment["PYTHONIOENCODING"] = "ascii"
    try:
        planned = json.loads(place.call("plan", suite, "--data", f"folder={place.data}", "--json"))
    finally:
        del place.environment["PYTHONIOENCODING"]
    assert planned[0]["label"] == "Größe 猫"


def test_columns_stay_below_their_headings_where_signs_are_replaced(place: Place) -> None:
    suite = place.write(PLAIN.replace("label: plain", "label: Größe 猫"), "named.yaml")
    place.environment["PYTHONIOENCODING"] = "ascii"
    try:
        lines = place.call("plan", suite, "--data", f"folder={place.data}").splitlines()
    finally:
        del place.environment["PYTHONIOENCODING"]
    (at,) = {line.index("folder:data") for line in lines if "folder:data  unified" in line or "Grosse" in line}
    assert lines[[line.startswith("cell ") for line in lines].index(True)].index("data ") == at


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut_on_a_narrow_terminal(place: Place, width: int) -> None:
    place.environment["COLUMNS"] = str(width)
    whole = ("measure it again", "report: ", "pictures: ", "with the options")  # lines to copy from
    try:
        cells = [row["cell_id"] for row in place.table("cells").to_dict("records") if row["suite"] == "tiny"]
        shown = {
            command: place.call(*command)
            for command in (
                ("report", "suite.yaml", "--timing"),
                ("gate", "results:tiny", "results:tiny"),
                ("compare", "results:tiny", "results:tiny", "--all"),
                ("plan", "suite.yaml", "--data", f"folder={place.data}"),
                ("show", "patchcore"),
                ("list", "methods"),
                ("list", "backbones", "--all", "--like", "vit_large_patch14"),
            )
        }
    finally:
        del place.environment["COLUMNS"]
    for command, text in shown.items():
        assert "…" not in text, command
        assert all(len(line) <= width or line.startswith(whole) for line in text.splitlines()), command
    for (command, *_), text in shown.items():
        if command == "plan":
            assert all(cell in text for cell in cells)
        if command == "show":
            assert "wide_resnet50_2.tv_in1k" in text
        if command in ("report", "gate", "compare"):
            assert {"plain", "squared"} <= set(text.replace(",", " ").split())


@posix
def test_files_are_written_before_the_screen(place: Place) -> None:
    """A screen that fails loses no file."""
    ours, theirs = os.pipe()
    os.close(ours)
    folder = place.folder / "unseen"
    try:
        arguments = ("report", "suite.yaml", "--reports", str(folder))
        assert ended(place, arguments, stdout=theirs).returncode == 0
        gate = ("gate", "results:tiny", "results:tiny", "--markdown", "gate.md", "--update-baseline", "base.json")
        assert ended(place, gate, stdout=theirs).returncode == 0
    finally:
        os.close(theirs)
    assert (folder / "tiny" / "demo" / "report.html").is_file()
    assert (place.folder / "gate.md").is_file()
    assert (place.folder / "base.json").is_file()


@posix
def test_a_broken_pipe_to_another_process_is_no_regression(place: Place) -> None:
    """Typer would end with 1, the code of a regression."""
    for error in ("BrokenPipeError(32, 'a worker has gone')", "EOFError()"):
        code = (
            "from afrad_bench.cli import catalogue\n"
            f"def broken(*_): raise {error}\n"
            "catalogue.listing = broken\n"
            "from afrad_bench.cli import main; main()"
        )
        command = [sys.executable, "-c", code, "list", "methods"]
        done = subprocess.run(command, cwd=place.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 70
        assert "Traceback" in done.stderr
