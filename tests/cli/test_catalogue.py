"""Listings and sheets: what a method really uses by default, and suites that cannot be read."""

from __future__ import annotations

from importlib.metadata import distribution
from operator import attrgetter
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, Field

from afrad_bench import registry
from afrad_bench.backbone.weights import BackboneConfig, PretrainedFile, WideResNet50
from afrad_bench.cli import catalogue
from afrad_bench.cli.screen.listings import _flowing


class Own(BackboneConfig):
    name: str = Field("convnext_atto", description="Backbone.")


class Part(BaseModel):
    backbone: BackboneConfig = Field(BackboneConfig(name="resnet26"), description="Of the part.")


class Config(BaseModel):
    plain: BackboneConfig = Field(BackboneConfig(), description="A default of its own type.")
    named: BackboneConfig = Field(BackboneConfig(name="resnet18", weights="random"), description="Another default.")
    made: BackboneConfig = Field(default_factory=lambda: BackboneConfig(name="resnet34"), description="By a factory.")
    own: Own = Field(Own(), description="A subclass.")
    wide: BackboneConfig = Field(WideResNet50(), description="A subclass as a default.")
    inside: Part = Field(Part(), description="Nested.")
    replaced: Part = Field(Part(backbone=BackboneConfig(name="resnet10t")), description="Nested, with another default.")
    maybe: BackboneConfig | None = Field(BackboneConfig(name="resnet14t"), description="Optional.")
    none: BackboneConfig | None = Field(None, description="Optional.")
    mapping: BackboneConfig = Field({"name": "resnet50"}, description="Given as a mapping.")  # type: ignore[arg-type]
    size: list[int] = Field(default_factory=lambda: [1, 2], description="By a factory.")


class Demanding(Config):
    needed: BackboneConfig = Field(description="Required.")
    count: int = Field(description="Required.")


NAMES = {
    "plain.name": "efficientnet_b4",
    "named.name": "resnet18",
    "named.weights": "random",
    "made.name": "resnet34",
    "own.name": "convnext_atto",
    "wide.name": "wide_resnet50_2.tv_in1k",
    "inside.backbone.name": "resnet26",
    "replaced.backbone.name": "resnet10t",
    "maybe.name": "resnet14t",
    "none": None,
    "mapping.name": "resnet50",
    "size": [1, 2],
}


@pytest.mark.parametrize("model", [Config, Demanding])
def test_the_sheet_shows_the_defaults_that_are_used(model: type[Config], monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mine", "Mine: a plug-in.")
    module.PAPER, module.VERSION, module.Config = "none", "1", model  # type: ignore[attr-defined]
    monkeypatch.setattr(registry.Entry, "load", lambda _: module)
    shown = {row["name"]: row["default"] for row in catalogue.method_sheet("padim")["fields"]}
    assert {name: shown[name] for name in NAMES} == NAMES
    if model is Demanding:
        assert (shown["needed"], shown["count"]) == ("required", "required")
    else:
        used = model()
        assert (used.named.name, used.made.name, used.wide.name) == ("resnet18", "resnet34", shown["wide.name"])


def test_sheets_of_our_methods_show_their_configuration() -> None:
    for name, entry in registry.entries("method").items():
        config = entry.load().Config
        if any(field.is_required() for field in config.model_fields.values()):
            continue
        made = config()
        for row in catalogue.method_sheet(name)["fields"]:
            value = attrgetter(row["name"])(made)
            assert row["default"] == value or isinstance(value, BaseModel), (name, row)


def test_a_suite_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("title: &a [*a]\n")
    (tmp_path / "good.yaml").write_text("title: Good\nprofiles: {demo: {}}\n")
    broken, good = catalogue.listing("suites", "", False, None, [tmp_path])
    assert "stands inside its own value" in broken["summary"]
    assert (good["summary"], good["source"]) == ("Good", "profiles: demo")


def test_weights_are_fetched_by_a_command_that_exists() -> None:
    command, _, rest = (
        PretrainedFile("timm/resnet18.tv_in1k", None, None).how_to_get().partition(": ")[2].partition(" ")
    )
    assert rest == "download timm/resnet18.tv_in1k"
    assert command in distribution("huggingface_hub").entry_points.names


def test_paragraphs_are_folded_for_the_screen_only() -> None:
    assert _flowing("one\n(two)\n\n- three\n- four\n\n`five`\nsix") == "one (two)\n\n- three\n- four\n\n`five` six"
