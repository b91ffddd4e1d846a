"""Published configurations: every method declares its own, and every field that differs is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, ConfigDict, Field

from afrad_bench import published, registry
from afrad_bench.methods.afrad.published import ABLATIONS
from afrad_bench.methods.recipes import Recipe, Undeclared, differences, recipes_of

METHODS = sorted(registry.entries("method"))


def module_of(method: str) -> ModuleType:
    found: ModuleType = registry.find("method", method).load()
    return found


def complete(config: BaseModel) -> dict[str, Any]:
    """The configuration as a cell holds it."""
    loaded: dict[str, Any] = json.loads(config.model_dump_json())
    return loaded


@pytest.mark.parametrize("method", METHODS)
def test_a_published_configuration_does_not_differ_from_itself(method: str) -> None:
    module = module_of(method)
    for recipe in recipes_of(module):
        config = module.Config.model_validate(dict(recipe.params))
        dataset = (recipe.datasets or ("mvtec_ad",))[0]
        found = differences(module, complete(config), dataset, recipe.image_size, recipe.row)
        assert found.changes == ()
        assert found.recipe == recipe
        assert str(found) == f"as published ({recipe.name})"


@pytest.mark.parametrize("method", METHODS)
def test_every_field_takes_the_published_configuration_away(method: str) -> None:
    module = module_of(method)
    base = complete(module.Config.model_validate(dict(recipes_of(module)[0].params)))
    seen = 0
    for name, value in changed_fields(module.Config, base):
        changed = with_value(base, name.split("."), value)
        made = complete(module.Config.model_validate(changed))
        found = {change.field for change in differences(module, made, "mvtec_ad").changes}
        if name in ("eval_batch", "max_bank_bytes", "search"):  # no result depends on them
            assert found == set(), name
        else:
            assert found, f"{name}={value!r} passes for the published configuration"
            seen += 1
    assert seen >= 5


def changed_fields(model: type[BaseModel], base: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, a valid value that is not the one in `base`) for every field."""
    for name, info in model.model_fields.items():
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from changed_fields(inner, base.get(name, {}), f"{before}{name}.")
            continue
        yield before + name, other_value(before + name, base.get(name, info.default), inner)


OTHER = {
    "backbone.name": "resnet101.a1_in1k",
    "unet.width": 96,
    "unet.multipliers": [1, 1, 2, 2, 4, 8],
    "unet.attention": [16, 32],
    "unet.heads": 8,
    "weights": "random",
    "denoiser.widths": [320, 640, 1280],
    "denoiser.hint": [16, 32, 96, 128],
    "denoiser.heads": 4,
    "denoiser.groups": 16,
    "autoencoder.widths": [128, 256, 512, 256],
    "autoencoder.groups": 16,
    "autoencoder.weights": "file:vae.ckpt",
    "training.autoencoder.perceptual": "none",
    "steps": 5,
    "level": 500,
    "adaptation.batch_size": 32,
    "adaptation.start": "feat4.pth",
    "score.compared": [8],
    "backbone.weights": "random",
    "textures.source": "training",
    "outliers": "photographs",
    "fisher": "fisher.pth",
    "side": 64,
    "mfpn.widths": [64, 64, 64, 32],
    "mfpn.kernels": [3, 3, 3, 3],
    "mfpn.strides": [2, 2, 2, 2],
    "fld.kernels": [5, 9],
    "decoders": ["stage_adaptive"],
    "sad.repeats": [1, 1, 1, 1],
    "sad.stages": [1, 2],
    "fld.stages": [1],
    "cd.stages": [1],
    "patch": 5,
    "score.window": 11,
    "transformer.neighbours": 5,
    "transformer.width": 128,
    "transformer.heads": 4,
    "reductions": [4, 8, 16],
    "features.reductions": [4, 8, 16],
    "training.betas": [0.9, 0.999],
    "training.milestones": [0.5],
    "start": "a_checkpoint.pt",
    "receptive_fields": [17, 33],
    "teacher.weights": "random",
    "teacher.backbone.name": "resnet50.a1_in1k",
    "teacher.backbone.weights": "random",
    "fraction": 0.2,
    "layers": [5, 11],
    "pooling": 5,
}


def other_value(name: str, value: Any, annotation: Any) -> Any:
    if name in ("reductions", "features.reductions") and list(value) == OTHER[name]:
        return [8, 16, 32]
    if name in OTHER:
        return OTHER[name]
    if get_origin(annotation) is Literal:
        return next(each for each in get_args(annotation) if each != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    assert value is None, name
    return 3


def with_value(base: dict[str, Any], steps: list[str], value: Any) -> dict[str, Any]:
    first, *rest = steps
    return {**base, first: with_value(base.get(first, {}), rest, value) if rest else value}


def test_a_row_of_an_ablation_is_compared_with_its_own_configuration() -> None:
    module = module_of("afrad")
    config = complete(module.Config(reading="faithful", decoders=("stage_adaptive", "compensation")))
    own = differences(module, config, "mvtec_ad", 256, ("table5", "no_fld"))
    other = differences(module, config, "mvtec_ad", 256, ("table5", "no_cd"))
    assert own.changes == ()
    assert [str(change) for change in other.changes] == [
        "decoders stage_adaptive,compensation instead of stage_adaptive,focused_local"
    ]


def test_every_row_of_the_ablations_has_a_configuration_or_is_the_complete_model() -> None:
    complete_rows = {("table5", "full"), ("table6", "fld12_cd12_sad1234"), ("table7", "frm")}
    rows = {(table, row) for table in ("table5", "table6", "table7") for row in published.rows(table)}
    assert rows == {*ABLATIONS, *complete_rows}


def test_the_nearest_of_several_is_named() -> None:
    module = module_of("simplenet")
    ader = {"training": {"epochs": 100, "batch_size": 32, "clip": 5}, "score": {"image": "patches"}}
    found = differences(module, complete(module.Config.model_validate(ader)), "mvtec_ad", 256)
    assert str(found) == (
        "differs from the published configuration (ADer, 100 epochs): score.image patches instead of map"
    )


def test_epochs_belong_to_the_data_set() -> None:
    module = module_of("afrad")
    short = complete(module.Config(reading="printed", training={"epochs": 200}))
    assert differences(module, short, "cifar10", 256).changes == ()
    (change,) = differences(module, short, "visa", 256).changes
    assert (change.field, change.value, change.published) == ("training.epochs", 200, 1000)


def test_weights_of_another_data_set_are_not_the_published_ones() -> None:
    module = module_of("afrad")
    for name, fields in (
        ("efficientnet_b4.ra2_in1k", []),
        ("tf_efficientnet_b4.aa_in1k", []),
        ("tf_efficientnet_b4.ns_jft_in1k", ["backbone.name"]),
        ("tf_efficientnet_b4", ["backbone.name"]),  # for timm these are the weights with JFT
    ):
        config = complete(module.Config(reading="faithful", backbone={"name": name}))
        assert [change.field for change in differences(module, config, "visa").changes] == fields


class Plugin:
    """A method of somebody else, without `RECIPES`."""

    class Config(BaseModel):
        """Two fields."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        width: int = Field(64, description="Width.")
        eval_batch: int = Field(4, description="Batch.", json_schema_extra={"neutral": True})


def test_a_method_without_recipes_was_published_with_its_defaults() -> None:
    assert recipes_of(Plugin) == (Recipe("the defaults"),)
    found = differences(Plugin, {"width": 8, "eval_batch": 1}, "folder:tiles")
    assert str(found) == "differs from the published configuration (the defaults): width 8 instead of 64"


class Demanding(Plugin):
    """A method that cannot be built without being told something."""

    class Config(BaseModel):
        """A required field."""

        width: int = Field(description="Width.")


class Mistaken(Plugin):
    """A method that declares nonsense."""

    RECIPES = (Recipe("the paper", {"widht": 3}),)


def test_a_method_without_a_published_configuration_is_not_called_as_published() -> None:
    with pytest.raises(Undeclared, match="has required fields and declares no published configuration"):
        differences(Demanding, {"width": 8}, "demo")
    with pytest.raises(Undeclared, match="the configuration 'the paper' that it declares is invalid"):
        differences(Mistaken, {"width": 8}, "demo")


def test_the_time_of_a_fitted_method_does_not_depend_on_its_training() -> None:
    module = module_of("draem")
    changed = {"training": {"epochs": 0}, "discrimination_width": 8}
    found = differences(module, complete(module.Config.model_validate(changed)), "demo")
    assert [change.field for change in found.changes] == ["discrimination_width", "training.epochs"]
    assert [change.field for change in found.timed] == ["discrimination_width"]
