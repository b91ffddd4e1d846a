"""Stored paths and tracebacks do not tell who the user is, and can still be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from afrad_bench.running.paths import expanded, shortened
from tests.conftest import mvtec_folder
from tests.program import SUITE, Place


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.setenv("USERPROFILE", "/home/alice")
    monkeypatch.setenv("LOGNAME", "alice")


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/home/alice/data/mvtec", "~/data/mvtec"),
        ("/home/alice", "~"),
        ("/home/alicette/data", "/home/alicette/data"),
        ("/home/alice.old/data", "/home/alice.old/data"),
        ("/scratch/alice/data", "/scratch/$USER/data"),
        ("/scratch/alice", "/scratch/$USER"),
        ("/data/mvtec", "/data/mvtec"),
        ("data/mvtec", "data/mvtec"),
        ("alice", "alice"),
    ],
)
def test_paths(path: str, short: str) -> None:
    assert shortened(path) == short
    assert expanded(short) == path


@pytest.mark.usefixtures("alice")
def test_texts_with_paths() -> None:
    text = "File \"/home/alice/venv/torch.py\", line 3\n  open('/scratch/alice/a.png')\nOSError: /home/alice: no"
    assert shortened(text) == "File \"~/venv/torch.py\", line 3\n  open('/scratch/$USER/a.png')\nOSError: ~: no"


def test_without_a_name_and_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr(Path, "home", homeless)
    assert shortened("/home/alice/data") == expanded("/home/alice/data") == "/home/alice/data"
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert shortened("/data") == "/data"


def test_what_a_run_stores(tmp_path: Path, cache_folder: Path) -> None:
    home = tmp_path / "home" / "alice"
    place = Place(home / "work", cache_folder)
    place.environment |= {"HOME": str(home), "LOGNAME": "alice"}
    data = mvtec_folder(home / "photos", train=3, test=1)
    text = SUITE.replace("seeds: [0, 1]", "seeds: [0]").replace("{power: 2.0}", "{fault: build}")
    path = place.write(text)
    place.call("run", path, "--data", f"folder={data}", expect=3)
    cells = place.table("cells")
    assert cells["data_root"].tolist() == ["~/photos"] * 2
    (trace,) = cells["traceback"].dropna()
    assert "the build went wrong" in trace
    assert 'File "~/work/site/somebodys_methods/nearest_colour.py"' in trace
    for column in cells.columns:
        assert not cells[column].astype(str).str.contains("alice").any(), column
    cell = cells.loc[cells["label"] == "plain", "cell_id"].iloc[0]
    assert "done, measured on equal terms" in place.call("why", cell)  # it finds the data by the stored path
