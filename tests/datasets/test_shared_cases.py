"""The small data sets of `../shared/cases`, where that folder is there: what shows the same measures the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from afrad_bench.running.plan import make
from afrad_bench.running.run import run_suite
from afrad_bench.running.workspace import Workspace
from afrad_bench.store import Store
from afrad_bench.suite.suite import load
from tests.conftest import ROOT

CASES = ROOT.parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not (CASES / "data.py").exists(), reason="without the folder ../shared/cases")

AS_PLAIN = {"palette": 0.0, "jpeg": 0.0, "alpha": 0.0, "grey_ground": 0.0, "exif": 0.002, "formats": 0.002}
"""How far AUPRO may be from that of `plain`: JPEG and GIF images differ a little."""


def aupro(kind: str, place: Path, cache: Path) -> float:
    """P-AUPRO of the cases' suite on the data set of this kind, measured in this place."""
    subprocess.run([sys.executable, CASES / "data.py", kind, place / "data"], check=True)
    workspace = Workspace(place / "store", cache, 2**30, "cpu", roots={"folder": str(place / "data")})
    plan = make(load(CASES / "padim.yaml").select(), workspace, workspace.files())
    assert [one.status for one in run_suite(plan, plan.cells, workspace)] == ["ok"]
    rows = Store(place / "store").read("measurements")
    values = rows[(rows["metric"] == "pixel_aupro") & (rows["category"] == "w")]["value"]
    return float(values.iloc[-1])


@pytest.mark.parametrize("kind", AS_PLAIN)
def test_what_shows_the_same_measures_the_same(kind: str, tmp_path: Path, cache_folder: Path) -> None:
    plain = aupro("plain", tmp_path / "plain", cache_folder)
    assert plain == pytest.approx(0.985, abs=0.001)
    assert aupro(kind, tmp_path / kind, cache_folder) == pytest.approx(plain, abs=AS_PLAIN[kind])


def test_twelve_bits_keep_their_levels(tmp_path: Path, cache_folder: Path) -> None:
    assert aupro("twelve_bit", tmp_path, cache_folder) > 0.95


def test_corrected_masks_of_equal_size_and_time_are_measured_again(tmp_path: Path, cache_folder: Path) -> None:
    assert aupro("swap_before", tmp_path, cache_folder) < 0.2
    assert aupro("swap_after", tmp_path, cache_folder) == pytest.approx(0.985, abs=0.001)
