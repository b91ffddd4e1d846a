"""What building would refuse is found by `check`, `plan` and `run` before the first cell; a failure keeps its hint."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from afrad_bench import registry
from afrad_bench.backbone.offered import needed
from afrad_bench.errors import UserError
from afrad_bench.running.foreseen import absent_files, must_build, refusals
from afrad_bench.running.plan import make
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite import suite
from afrad_bench.suite.selection import Selection
from tests.adapters import bench_at
from tests.conftest import mvtec_folder
from tests.plugin import MODULE
from tests.program import SUITE, Place

HEAD = "suite: small\ntitle: Small\nmeasures: [accuracy]\nmethods:\n"
DEMO = "profiles:\n  demo:\n    datasets: [demo]\n    image_size: {}\n    shared: {{backbone: {{weights: random}}}}\n"

RANDOM = {"weights": "random"}
VIT = {"name": "vit_tiny_patch16_224", "weights": "random"}
REFUSED = [
    ("uniad", {}, 64, "there are 4 x 4 tokens", "choose a finer features.grid"),
    ("uniad", {}, 100, "UniAD needs an image size that is a multiple of 16, but got 100", "96 and 112"),
    (
        "uniad",
        {"features": {"grid": 4, "reductions": [4, 8]}, "backbone": VIT},
        64,
        "no single feature map with",
        "16, 16",
    ),
    ("patchcore", {"backbone": VIT}, 64, "no single feature map with reduction 8, 16", "reductions 16, 16, 16"),
    (
        "patchcore",
        {"reductions": [8, 64], "backbone": {"name": "resnet18"}},
        64,
        "map with reduction 64",
        "2, 4, 8, 16, 32",
    ),
    (
        "patchcore",
        {"backbone": {"name": "convnext_atto"}, "reductions": [4, 32]},
        16,
        "cannot process images of 16 px",
        "another",
    ),
    ("padim", {"channels": 449}, 64, "PaDiM should keep 449 channels, but resnet18.tv_in1k has 448", "448 or less"),
    ("simplenet", {"backbone": VIT}, 64, "no single feature map with reduction 8", "16, 16, 16"),
    ("rd4ad", {}, 80, "RD4AD needs an image size that is a multiple of 32, but got 80", "64 and 96"),
    (
        "rd4ad",
        {"embedding": "half", "backbone": {"name": "resnet18"}},
        64,
        "halves the embedding of wide",
        "leave `emb",
    ),
    ("destseg", {}, 80, "DeSTSeg needs an image size that is a multiple of 32, but got 80", "64 and 96"),
    ("destseg", {"top": 5000}, 64, "`top` asks for 5000 pixels of a map of 4096", "lower `top`"),
    ("draem", {}, 20, "DRAEM needs an image size that is a multiple of 32, but got 20", "the smallest size is 32"),
    (
        "afrad",
        {"backbone": {"name": "resnet18"}},
        72,
        "AFRAD needs an image size that is a multiple of 32",
        "64 and 96",
    ),
    ("afrad", {"backbone": VIT}, 64, "no single feature map with reduction 4, 8, 16, 32", "16, 16, 16"),
]


@pytest.mark.parametrize(("method", "params", "side", "message", "hint"), REFUSED)
def test_check_and_build_refuse_alike(method: str, params: dict, side: int, message: str, hint: str) -> None:
    module = registry.find("method", method).load()
    if "backbone" in module.Config.model_fields:
        params = {**params, "backbone": {**params.get("backbone", {}), **RANDOM}}
    config = module.Config.model_validate(params)
    for refuse in (lambda: module.check(config, side), lambda: module.build(config, bench_at(side))):
        with pytest.raises((UserError, RuntimeError)) as caught:
            refuse()
        if isinstance(caught.value, UserError):  # a network that cannot process an image only says so itself
            assert message in caught.value.problems[0].what
            assert hint in (caught.value.problems[0].hint or "")
    with pytest.raises(UserError):
        module.check(config, side)


@pytest.mark.parametrize("name", sorted({method for method, *_ in REFUSED}))
def test_check_accepts_the_defaults_at_256_px(name: str) -> None:
    module = registry.find("method", name).load()
    module.check(module.Config(), 256)


def test_offered_maps_are_those_of_the_network() -> None:
    from afrad_bench.backbone.weights import BackboneConfig

    for name, reductions in (("resnet18", (4, 16)), ("tf_efficientnet_lite0", (2, 32)), ("swin_s3_tiny_224", (8, 16))):
        extractor = bench_at(64).features.extractor(BackboneConfig(name=name, weights="random"), reductions, 64, "cpu")
        maps = needed(name, reductions, 64)
        assert tuple(one.shape for one in maps) == extractor.shapes
        assert tuple(one.channels for one in maps) == extractor.channels


def test_only_the_maps_that_are_used_count() -> None:
    assert needed("convnext_atto", (4, 8), 16)[1].shape == (80, 2, 2)  # the rest of the network fails on 16 px
    with pytest.raises(UserError, match="cannot process images of 16 px"):
        needed("convnext_atto", (4, 32), 16)


def test_looking_at_a_backbone_costs_no_random_numbers() -> None:
    states = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    needed.cache_clear()
    needed("resnet18", (8,), 32)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]


def selected(folder: Path, rows: str, side: int = 64) -> Selection:
    path = folder / "suite.yaml"
    path.write_text(HEAD + rows + DEMO.format(side))
    return suite.load(path).select()


def test_every_row_is_named_with_its_line(tmp_path: Path) -> None:
    rows = (
        "  - {method: uniad, label: U}\n"
        "  - {method: padim, variants: [{label: one}, {label: two, params: {channels: 9000}}]}\n"
        "  - {method: draem, label: D}\n"
    )
    found = refusals(selected(tmp_path, rows))
    assert [one.where for one in found] == [f"{tmp_path / 'suite.yaml'}:{line}" for line in (5, 6)]
    assert found[0].what.startswith("U, profile demo: at 64 px with features.grid 16")
    assert found[1].what.startswith("two, profile demo: PaDiM should keep 9000 channels")


def test_a_threshold_on_held_out_images_needs_a_data_set_that_holds_some_out(tmp_path: Path) -> None:
    head = HEAD.replace("[accuracy]", "[{operating_point: {decided_on: held_out}}]")
    text = head + "  - {method: padim, label: PaDiM}\n" + DEMO.format(64)
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    (problem,) = refusals(suite.load(path).select())
    assert "operating_point on demo, profile demo: `decided_on: held_out` needs training images" in problem.what
    assert "hold_out: {share: 0.2}" in str(problem.hint)
    path.write_text(text.replace("[demo]", "[{name: demo, hold_out: {share: 0.2}}]"))
    assert not refusals(suite.load(path).select())


def test_files_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AFRAD_BENCH_DTD", raising=False)
    rows = (
        "  - {method: draem, label: D, params: {start: nowhere.pckl}}\n"
        "  - {method: destseg, label: S, params: {textures: {source: 'folder:nowhere'}}}\n"
        "  - {method: destseg, label: Z, params: {training: {epochs: 0}}}\n"
        "  - {method: destseg, label: T, params: {textures: {source: training}}}\n"
    )
    found = [(one.what, one.where) for one in absent_files(selected(tmp_path, rows).rows)]
    place = f"{tmp_path / 'suite.yaml'}:"
    assert [what.partition(",")[0] for what, _ in found] == [
        "D: no such checkpoint: nowhere.pckl",
        "D: the textures of DTD",
        "S: no such folder of textures: nowhere",
    ]
    assert [where for _, where in found] == [f"{place}5", f"{place}5", f"{place}6"]


def test_a_method_says_which_files_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AFRAD_BENCH_IMAGENET", "AFRAD_BENCH_EFFICIENTAD"):
        monkeypatch.delenv(name, raising=False)
    random = "teacher: {weights: random}"
    rows = (
        "  - {method: padim, label: P}\n"
        "  - {method: efficientad, label: E}\n"
        f"  - {{method: efficientad, label: R, params: {{{random}}}}}\n"
        f"  - {{method: efficientad, label: N, params: {{{random}, textures: {{source: none}}}}}}\n"
    )
    found = [one.what.partition(",")[0] for one in absent_files(selected(tmp_path, rows).rows)]
    assert found == [
        "E: EfficientAD's teacher of size S is not on this machine",
        "R: ImageNet's training images",
    ]


CHECK = """

def check(config, image_size):
    if config.power > 1.5:
        raise ValueError("power is too high\\nlower `power`")
    if image_size == 48:
        from afrad_bench.errors import fail

        raise fail("48 px is too odd", hint="take 32")
"""


@pytest.fixture
def place(tmp_path: Path, cache_folder: Path) -> Place:
    made = Place(tmp_path, cache_folder)
    (tmp_path / "site" / "somebodys_methods" / "nearest_colour.py").write_text(MODULE + CHECK)
    return made


def test_a_plug_in_refuses_before_the_first_cell(place: Place) -> None:
    path = place.write(SUITE)
    for command in ("check", "plan", "run"):
        said = place.call(command, path, "--data", f"folder={place.data}", expect=2)
        assert f"{path}:5: squared, profile demo: power is too high\n  lower `power`" in said
    assert not (place.folder / "results" / "cells").exists()
    place.run(place.write(SUITE.replace("2.0", "1.4")))


def test_check_looks_at_every_profile_and_run_at_what_is_left(place: Place) -> None:
    odd = "  odd:\n    datasets: [folder]\n    image_size: 48\n"
    path = place.write(SUITE.replace("{power: 2.0}", "{power: 1.2}") + odd + "default_profile: demo\n")
    said = place.call("check", path, "--data", f"folder={place.data}", expect=2)
    assert f"{path}:5: plain, profile odd: 48 px is too odd\n  take 32" in said
    assert "profile demo" not in said
    place.run(path)
    place.write(path.read_text().replace("power: 1.2", "power: 2.0"))
    assert "power is too high" in place.run(path, expect=2)
    place.call("report", path, "--data", f"folder={place.data}")  # measures nothing, so nothing is refused


def test_a_failed_cell_shows_what_to_do(place: Place) -> None:
    (place.folder / "site" / "somebodys_methods" / "nearest_colour.py").write_text(
        MODULE.replace(
            'raise RuntimeError("the fit went wrong")',
            'from afrad_bench.errors import fail; raise fail("too few", hint="give more\\nor less")',
        )
    )
    path = place.write(SUITE.replace("{power: 2.0}", "{fault: fit}"))
    shown = place.run(path, "--set", "seeds=[0]", expect=3)
    assert "    UserError: too few\n      give more\n      or less\n" in shown
    assert "UserError: too few; give more; or less" in shown
    (page,) = (place.folder / "reports").glob("**/report.md")
    assert "UserError: too few; give more; or less" in page.read_text()
    cells = place.table("cells")
    assert isinstance(cells, pd.DataFrame)
    failed = cells[cells["status"] == "failed"].iloc[0]
    assert failed["error"] == "UserError: too few\n  give more\n  or less"
    assert "give more" in place.call("why", failed["cell_id"])


STEP = """
suite: step
title: Step
measures: [accuracy]
methods:
  - {method: afrad, label: AFRAD, params: {backbone: {name: resnet18, weights: random}, training: {step: graph}}}
profiles:
  demo: {datasets: [folder], image_size: 64}
"""


def test_a_step_that_the_device_cannot_make_is_refused_before_the_first_cell(tmp_path: Path) -> None:
    path, data = tmp_path / "suite.yaml", mvtec_folder(tmp_path / "data", train=2, test=1)
    path.write_text(STEP, encoding="utf-8")
    workspace = Workspace(tmp_path / "results", tmp_path / "cache", 2**30, "cpu", roots={"folder": str(data)})
    plan = make(suite.load(path).select(), workspace, workspace.files())
    with pytest.raises(UserError, match=r"AFRAD: training.step: graph needs a CUDA device, this is cpu"):
        must_build(plan, plan.open)
