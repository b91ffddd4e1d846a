"""The methods of a session: methods given by name and rows of suites, each with its training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from afrad_bench import registry
from afrad_bench.backbone.weights import Weights
from afrad_bench.errors import Problem, UserError, fail, unknown
from afrad_bench.hashing import canonical, seed_for
from afrad_bench.images.sets import ImageArray, test_images, train_images
from afrad_bench.running.plan import Plan, weights_of
from afrad_bench.running.workspace import Workspace
from afrad_bench.suite.file import Params
from afrad_bench.suite.selection.layers import Layer, known_part, nested, resolved
from afrad_bench.suite.yaml import read_value
from afrad_bench.types import Cell, Images

PROFILE = "latency"
"""Profile of a method that is given by name; a row of a suite has the profile of the suite."""
NOISE = "noise"


@dataclass(frozen=True, slots=True)
class EntrantOptions:
    """Options of the command line for methods that are given by name."""

    image_size: int
    train: int = 16
    """Number of noise images to fit on."""
    backbone: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class Entrant:
    """One row of the comparison, before the fit."""

    label: str
    cell: Cell
    weights: Weights | None
    fitted_on: str
    """Text on the training images, with their number."""
    images: Callable[[], tuple[Images, Images]]
    """Returns the images to fit on, and the images to score."""
    suite: str = ""
    published: str | None = None
    """Row of the paper's table of latencies."""


def entrants(
    texts: Sequence[str],
    plan_of: Callable[[str], Plan],
    suites: Sequence[str],
    options: EntrantOptions,
    workspace: Workspace,
) -> tuple[list[Entrant], tuple[str, ...]]:
    """Resolve `name`, `name:field=value,...` and suites (by name or path; `suites` are the known names, `plan_of` plans
    one). Also returns the keys of the paper's rows that the suites request, but for which no method is installed.

    A method name takes precedence over a suite name. One `UserError` lists all problems."""
    methods = registry.entries("method")
    found: list[Entrant] = []
    absent: dict[str, None] = {}
    problems: list[Problem] = []
    for text in texts:
        name, colon, fields = text.partition(":")
        try:
            if name in methods:
                found.append(_alone(text, name, fields, options, workspace))
            elif not colon and (text in suites or text.endswith((".yaml", ".yml"))):
                plan = plan_of(text)
                found += _of_suite(plan)
                absent |= dict.fromkeys(plan.selection.absent if plan.selection.reproduces == "table4" else ())
            else:
                problems.append(unknown("method or suite", name, [*methods, *suites]))
        except UserError as error:
            problems += error.problems
    problems += _clashes(found)
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return found, tuple(absent)


def _clashes(found: Sequence[Entrant]) -> list[Problem]:
    labels = [one.label for one in found]
    twice = [label for label in dict.fromkeys(labels) if labels.count(label) > 1]
    problems = [Problem(f"{label!r} is given twice", "METHOD", "leave one out") for label in twice]
    if len({one.cell.image_size for one in found}) > 1:
        sizes = "; ".join(f"{one.label} {one.cell.image_size} px" for one in found)
        problems.append(
            Problem(f"all methods need the same image size: {sizes}", "--image-size", "give a size for all")
        )
    return problems


def _alone(text: str, name: str, fields: str, options: EntrantOptions, workspace: Workspace) -> Entrant:
    """A method given by name, fitted on noise; if it trains, for one epoch unless the fields change that."""
    model = registry.find("method", name).load().Config
    given = {"backbone": {"name": options.backbone, "weights": options.weights}}
    chosen = {part: {key: value for key, value in each.items() if value is not None} for part, each in given.items()}
    layers = [
        Layer(known_part(model, {"training": {"epochs": 1}}), lambda _: text),
        Layer(known_part(model, {part: each for part, each in chosen.items() if each}), lambda _: "--backbone"),
        Layer(_fields(fields, text), lambda _: text),
    ]
    checked = resolved(model, layers, name)
    if isinstance(checked, list):
        raise UserError(*checked)
    params = canonical(checked.model_dump(mode="json"))
    cell = Cell(
        method=name,
        params=params,
        dataset=NOISE,
        dataset_params=canonical({"train": options.train}),
        setting="unified",
        category=None,
        image_size=options.image_size,
        seed=0,
        profile=PROFILE,
    )

    def images() -> tuple[Images, Images]:
        return _noise("train", options.train, options.image_size), _noise("test", 1, options.image_size)

    epochs = ", 1 epoch" if _trains_one_epoch(checked) else ""
    fitted_on = f"{options.train} images of noise{epochs}"
    return Entrant(text, cell, weights_of(name, params, workspace.cache), fitted_on, images)


def _of_suite(plan: Plan) -> list[Entrant]:
    """Each row of a suite, represented by its first cell: the first data set, category and seed."""
    firsts = [next(one for one in plan.cells if one.row == row) for row in plan.selection.rows]
    found = []
    for one in firsts:

        def images(dataset=one.dataset, side=one.cell.image_size) -> tuple[Images, Images]:  # type: ignore[no-untyped-def]
            return train_images(dataset, side), test_images(dataset, side)

        fitted_on = f"{len(one.dataset.train)} training images of {one.cell.dataset}"
        published = one.row.published if plan.selection.reproduces == "table4" else None
        found.append(
            Entrant(one.row.label, one.cell, one.weights, fitted_on, images, plan.selection.suite, published),
        )
    return found


def _fields(text: str, where: str) -> Params:
    """`a.b=1,c=[2, 3]` as nested parameters; commas inside brackets do not separate fields."""
    found: Params = {}
    for part in _split(text):
        field, equals, value = part.partition("=")
        if not equals or not field:
            raise fail(f"expected field=value, but got {part!r}", where, "write NAME:FIELD=VALUE,FIELD=VALUE")
        if field in found:
            raise fail(f"{field} is given twice", where)
        found[field] = read_value(value, where)
    return nested(found, where)


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _trains_one_epoch(config: BaseModel) -> bool:
    training = getattr(config, "training", None)
    return isinstance(training, BaseModel) and getattr(training, "epochs", None) == 1


def _noise(name: str, count: int, side: int) -> ImageArray:
    import numpy as np

    draws = np.random.default_rng(seed_for(PROFILE, name))
    return ImageArray(draws.random((count, 3, side, side), dtype=np.float32))
