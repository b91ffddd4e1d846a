"""The contract of a method as a pytest class, for built-in methods and for plug-ins.

    from afrad_bench.testing import MethodContract

    class TestMine(MethodContract):
        module = "my_package.mine"
        params = {"backbone": {"name": "resnet18", "weights": "random"}}

runs every check below on a few small images in memory. Choose parameters that make the method small, because it is
fitted six times. `AFRAD_BENCH_TEST_DEVICE=cuda:0 pytest ...` runs them on a card. This module needs pytest; the harness
itself does not."""

from __future__ import annotations

import importlib
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ValidationError

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.recipes import Recipe, differences, recipes_of
from afrad_bench.methods.small import Small, small_images, small_of
from afrad_bench.types import Bench, HasNetwork, HasState, Method, Prediction, Seeds, TrainingRecord

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray

DEVICE = os.environ.get("AFRAD_BENCH_TEST_DEVICE", "cpu")
"""Where the checks run the method."""
HEAVY = ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "sklearn", "skimage", "matplotlib", "PIL")
"""Packages that a method's module must import only inside `build`."""


class MethodContract:
    """Checks that every method must pass. Subclass it, set `module`, and choose `params` that make the method small,
    or let the module declare them as `SMALL`."""

    module: ClassVar[str]
    """Full name of the method's module, as in its entry point."""
    params: ClassVar[Mapping[str, Any] | None] = None
    """The configuration, as in `params:` of a suite; None: that of the module's `SMALL`, or its defaults."""
    image_size: ClassVar[int | None] = None
    """None: that of the module's `SMALL`, or 64."""
    train_count: ClassVar[int] = 6

    def build(self, bench: Bench) -> Method:
        """The unfitted method for this bench. Override this if the method needs more than `params`."""
        found = self.loaded()
        method: Method = found.build(found.Config.model_validate(self.small().params), bench)
        return method

    def small(self) -> Small:
        """The configuration and the image size of the checks."""
        declared = small_of(self.loaded()) or Small()
        return Small(
            declared.params if self.params is None else self.params,
            declared.image_size if self.image_size is None else self.image_size,
        )

    # ------------------------------------------------------------------------------------------------------- fixtures

    def loaded(self) -> ModuleType:
        """The method's module."""
        return importlib.import_module(self.module)

    _shared: ClassVar[dict[str, Any]]
    """Shared by the checks of one class: a feature cache, so that the backbone is built once, and a fitted method."""

    def __init_subclass__(cls) -> None:
        cls._shared = {}

    @pytest.fixture
    def bench(self) -> Bench:
        """A bench on `DEVICE` that keeps nothing on disk."""
        features = self._shared.setdefault("features", FeatureCache(None))
        return Bench(device=DEVICE, image_size=self.small().image_size, seeds=Seeds(init=3, order=4), features=features)

    @pytest.fixture
    def train(self) -> ImageArray:
        return small_images(self.train_count, self.small().image_size, seed=1)

    @pytest.fixture
    def images(self) -> ImageArray:
        return small_images(5, self.small().image_size, seed=2)

    @pytest.fixture
    def fitted(self, bench: Bench, train: ImageArray) -> tuple[Method, TrainingRecord]:
        if "fitted" not in self._shared:
            method = self.build(bench)
            self._shared["fitted"] = (method, method.fit(train))
        fitted: tuple[Method, TrainingRecord] = self._shared["fitted"]
        return fitted

    @pytest.fixture(autouse=True)
    def _settings(self) -> Iterator[None]:
        """What a method changes globally fails one check, and not all later tests of the session."""
        with kept_settings():
            yield

    # ------------------------------------------------------------------------------------------------------ the module

    def test_module_has_its_attributes(self) -> None:
        found = self.loaded()
        summary = (found.__doc__ or "").partition("\n")[0].strip()
        assert summary, "the module's docstring needs a first line, which `afrad-bench list methods` shows"
        for name in ("VERSION", "PAPER"):
            value = getattr(found, name, None)
            assert isinstance(value, str), f"{name} must be a string, but is {value!r}"
            assert value.strip(), f"{name} is empty"
        assert callable(getattr(found, "build", None)), "build(config, bench) is missing"

    def test_config_is_frozen_strict_and_described(self) -> None:
        config = self.loaded().Config
        assert issubclass(config, BaseModel), f"Config must be a pydantic model, but is {config!r}"
        assert config.model_config.get("frozen"), "Config must be frozen: the configuration of a cell must not change"
        bare = [name for name, field in config.model_fields.items() if not field.description]
        assert not bare, f"fields without a description: {', '.join(bare)}"
        with pytest.raises(ValidationError):
            config.model_validate({**self.small().params, "no_such_field_of_any_method": 1})
        value = config.model_validate(self.small().params)
        assert config.model_validate(value.model_dump(mode="json")) == value, "Config must survive a JSON round trip"

    def test_published_configurations_are_valid(self) -> None:
        found = self.loaded()
        for recipe in recipes_of(found):
            assert isinstance(recipe, Recipe), f"RECIPES must hold Recipe values, but holds {recipe!r}"
            config = found.Config.model_validate(dict(recipe.params))
            dataset = (recipe.datasets or ("any",))[0]
            differs = differences(found, config.model_dump(mode="json"), dataset, recipe.image_size, recipe.row)
            assert not differs.changes, f"the recipe {recipe.name!r} differs from itself: {differs}"

    def test_module_imports_quickly(self) -> None:
        code = (
            f"import importlib, sys; importlib.import_module({self.module!r}); "
            f"print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        heavy = done.stdout.split()
        assert not heavy, f"importing {self.module} imports {', '.join(heavy)}; import them inside build()"

    def test_check_accepts_what_can_be_built(self, bench: Bench) -> None:
        check = getattr(self.loaded(), "check", None)
        if check is None:
            pytest.skip("the module has no check()")
        self.build(bench)
        try:
            small = self.small()
            check(self.loaded().Config.model_validate(small.params), small.image_size)
        except ValueError as error:
            pytest.fail(f"check() refuses a configuration that build() accepts: {error}")

    # ------------------------------------------------------------------------------------------------------ the method

    def test_fit_returns_a_valid_record(self, fitted: tuple[Method, TrainingRecord]) -> None:
        _, record = fitted
        wanted = "fit() must return what it did, for example TrainingRecord(images_seen=len(train))"
        assert isinstance(record, TrainingRecord), f"{wanted}, but returned {record!r}"
        assert record.epochs >= 0, f"epochs must not be negative, but is {record.epochs}"
        assert record.images_seen >= 0, f"images_seen must not be negative, but is {record.images_seen}"
        losses = len(record.loss)
        assert losses == record.epochs, f"loss must hold one value per epoch: {losses} for {record.epochs} epochs"
        assert np.isfinite(record.loss).all(), f"a loss is not finite: {record.loss}"
        assert record.resumed_at == 0, "resumed_at must be 0: the fit was not interrupted"

    def test_prediction_has_its_shape_and_is_finite(
        self, fitted: tuple[Method, TrainingRecord], images: ImageArray
    ) -> None:
        prediction = fitted[0].predict(images)
        assert isinstance(prediction, Prediction), f"predict() must return a Prediction, but returned {prediction!r}"
        _finite("pred_score", prediction.pred_score, (len(images),))
        if prediction.anomaly_map is not None:
            _finite("anomaly_map", prediction.anomaly_map, (len(images), *images.size))

    def test_scores_of_images_differ(self, fitted: tuple[Method, TrainingRecord], images: ImageArray) -> None:
        scores = fitted[0].predict(images).pred_score
        assert len(np.unique(scores)) > 1, "every image got the same score"

    def test_score_does_not_depend_on_the_batch(
        self, fitted: tuple[Method, TrainingRecord], images: ImageArray
    ) -> None:
        method = fitted[0]
        together = method.predict(images)
        backwards = list(reversed(range(len(images))))
        for batch in [backwards, *([i] for i in backwards)]:
            found = method.predict(images.subset(batch))
            _equal("pred_score in another batch", found.pred_score, together.pred_score[batch])
            if together.anomaly_map is not None:
                assert found.anomaly_map is not None, "anomaly_map is None in another batch"
                _equal("anomaly_map in another batch", found.anomaly_map, together.anomaly_map[batch])

    def test_same_seed_same_bits(self, bench: Bench, train: ImageArray, images: ImageArray) -> None:
        outcomes = []
        for ambient in (11, 12):  # the state of the global generators must not matter
            _set_random_states(ambient)
            method = self.build(bench)
            record = method.fit(train)
            outcomes.append((record, method.predict(images)))
        (first, one), (second, two) = outcomes
        again = "again with equal seeds and another state of the global generators"
        assert first == second, f"fit() returned {first!r}, and {second!r} {again}"
        assert np.array_equal(one.pred_score, two.pred_score), f"pred_score differs {again}"
        if one.anomaly_map is not None:
            assert two.anomaly_map is not None, f"anomaly_map is None {again}"
            assert np.array_equal(one.anomaly_map, two.anomaly_map), f"anomaly_map differs {again}"

    def test_global_random_states_do_not_change(self, bench: Bench, train: ImageArray, images: ImageArray) -> None:
        touched: list[str] = []

        @contextmanager
        def watched(step: str) -> Iterator[None]:
            _set_random_states(987_654_321)  # not what a method that seeds them has left earlier
            before = _random_states()
            yield
            after = _random_states()
            touched.extend(f"{name} by {step}" for name, state in before.items() if state != after[name])

        with watched("build()"):
            method = self.build(bench)
        with watched("fit()"):
            method.fit(train)
        with watched("predict()"):
            method.predict(images)
        if isinstance(method, HasNetwork):
            with watched("network()"):
                method.network()
        assert not touched, f"use your own generators, seeded by bench.seeds; changed: {', '.join(touched)}"

    def test_global_settings_do_not_change(self, bench: Bench, train: ImageArray, images: ImageArray) -> None:
        changed: list[str] = []
        with kept_settings():
            for step in ("build()", "fit()", "predict()"):
                for _, write, usual in _SETTINGS.values():
                    write(usual)  # not what the method has left earlier
                if step == "build()":
                    method = self.build(bench)
                elif step == "fit()":
                    method.fit(train)
                else:
                    method.predict(images)
                found = {name: read() for name, (read, _, usual) in _SETTINGS.items() if read() != usual}
                changed.extend(f"{name} by {step}, to {value}" for name, value in found.items())
        assert not changed, f"other methods of the same run would get these settings: {'; '.join(changed)}"

    def test_images_do_not_change(self, bench: Bench, train: ImageArray, images: ImageArray) -> None:
        mine, shown = ImageArray(train.pixels.copy()), ImageArray(images.pixels.copy())
        method = self.build(bench)
        method.fit(mine)
        method.predict(shown)
        assert np.array_equal(mine.pixels, train.pixels), "fit changed the training images"
        assert np.array_equal(shown.pixels, images.pixels), "predict changed the images"

    def test_network_equals_predict(self, fitted: tuple[Method, TrainingRecord], images: ImageArray) -> None:
        method = fitted[0]
        if not isinstance(method, HasNetwork):
            pytest.skip("the method has no network()")
        network = method.network()
        assert not network.training, "network() must be in eval mode"
        with torch.no_grad():
            anomaly_map, score = (each.cpu() for each in network(torch.from_numpy(images.pixels).to(DEVICE)))
        prediction = method.predict(images)
        _equal("pred_score of network()", score.numpy(), prediction.pred_score)
        assert anomaly_map.shape == (len(images), *images.size), "network() must give a map, whatever predict gives"
        if prediction.anomaly_map is not None:
            _equal("anomaly_map of network()", anomaly_map.numpy(), prediction.anomaly_map)

    def test_a_fitted_method_is_made_again_from_its_state(
        self, bench: Bench, fitted: tuple[Method, TrainingRecord], images: ImageArray
    ) -> None:
        method = fitted[0]
        if not isinstance(method, HasState):
            pytest.skip("the method has no state()")
        other = self.build(replace(bench, seeds=Seeds(init=bench.seeds.init + 1, order=bench.seeds.order + 1)))
        assert isinstance(other, HasState), "another build() of the same method has no state()"
        other.restore({name: tensor.clone() for name, tensor in method.state().items()})
        found, wanted = other.predict(images), method.predict(images)
        lost = "after restore(), of a method with other seeds: what fit() has found is not all in state()"
        assert np.array_equal(found.pred_score, wanted.pred_score), f"pred_score differs {lost}"
        if wanted.anomaly_map is not None:
            assert found.anomaly_map is not None, f"anomaly_map is None {lost}"
            assert np.array_equal(found.anomaly_map, wanted.anomaly_map), f"anomaly_map differs {lost}"


_SETTINGS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], object], Any]] = {
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads, 3),  # which no method would choose
    "torch's gradient mode": (torch.is_grad_enabled, torch.set_grad_enabled, True),
    "torch's deterministic mode": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
        False,
    ),
    "torch's precision of float32 products": (
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
        "highest",
    ),
    "numpy's treatment of errors": (np.geterr, lambda value: np.seterr(**value), np.geterr()),
}
"""Global setting -> how it is read and written, and the value that a method finds in the check."""


@contextmanager
def kept_settings() -> Iterator[None]:
    """Afterwards, torch's and numpy's global settings are as they were."""
    before = {name: read() for name, (read, _, _) in _SETTINGS.items()}
    try:
        yield
    finally:
        for name, (_, write, _) in _SETTINGS.items():
            write(before[name])


def _finite(name: str, values: FloatArray, shape: tuple[int, ...]) -> None:
    assert isinstance(values, np.ndarray), f"{name} must be a numpy array, but is {type(values).__name__}"
    assert values.shape == shape, f"{name} must have the shape {shape}, but has {values.shape}"
    assert np.issubdtype(values.dtype, np.floating), f"{name} must be of a floating type, but is {values.dtype}"
    assert np.isfinite(values).all(), f"{name} is not finite everywhere"


def _equal(name: str, found: FloatArray, wanted: FloatArray) -> None:
    """Equal up to rounding: 1e-4 of the largest absolute value."""
    assert found.shape == wanted.shape, f"{name}: shape {found.shape} instead of {wanted.shape}"
    difference = float(np.abs(found - wanted).max())
    allowed = 1e-4 * float(np.abs(wanted).max())
    assert difference <= allowed, f"{name} differs by {difference:.3g}, more than {allowed:.3g}"


def _set_random_states(seed: int) -> None:
    """Set all global generators to a state that they have only long after this seed."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    random.random()
    np.random.random(1001)
    torch.rand(1001)


def _random_states() -> dict[str, object]:
    legacy = np.random.get_state(legacy=False)
    return {
        "random": random.getstate(),
        "numpy.random": repr((legacy["state"]["pos"], legacy["state"]["key"].tobytes(), legacy["has_gauss"])),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "torch.cuda": torch.cuda.get_rng_state(DEVICE).numpy().tobytes() if DEVICE.startswith("cuda") else b"",
    }
