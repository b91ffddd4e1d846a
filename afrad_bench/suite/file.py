"""The contents of a suite file as pydantic models. `suite` reads and resolves them."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from afrad_bench.machine.arithmetic import Arithmetic
from afrad_bench.suite.scalars import INT64
from afrad_bench.types import Setting

Params = dict[str, Any]

Seed = Annotated[int, Field(ge=INT64[0], le=INT64[1])]
"""A seed, as a column of the store can hold it."""

MOST_ROWS = 10_000
"""Largest number of rows that the grid of a method may make."""
MOST_POINTS = 100_000
"""Largest number of points of a search's grid."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _named(value: Any) -> Any:
    """`accuracy` and `latency: {repeats: 20}` both name a measure; the first without options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and len(value) == 1 and "name" not in value:
        ((name, options),) = value.items()
        return {"name": name, "options": {} if options is None else options}
    return value


def _dataset(value: Any) -> Any:
    """`demo` and `folder:PATH` are short forms of a data set without options."""
    if isinstance(value, str):
        name, colon, root = value.partition(":")
        return {"name": name, "root": root} if colon else {"name": name}
    return value


class MeasureEntry(_Part):
    """A measure and its options."""

    name: str
    options: Params = {}


class Validation(_Part):
    """The images on which a search scores its trials. Reports show no results on these images."""

    planted: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the normal training images of each category that is held out; half of these get a "
        "planted defect. The test split stays untouched.",
    )
    labelled: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Share of the test images of each category and defect type that the search uses; reports leave "
        "them out.",
    )
    seed: int = Field(0, ge=0, le=INT64[1], description="Seed that selects the images.")

    @model_validator(mode="after")
    def _one_way(self) -> Validation:
        if (self.planted is None) == (self.labelled is None):
            raise ValueError("give either planted or labelled")
        return self


class Split(Validation):
    """One part of a data set that is split for a search."""

    part: Literal["search", "report"] = Field(description="The images for the search, or those for the report.")


class HoldOut(_Part):
    """Normal training images that no fit sees: `decided_on: held_out` of a measure decides a threshold on them."""

    share: float = Field(gt=0, lt=1, description="Share of the training images of each category.")
    seed: int = Field(0, ge=0, le=INT64[1], description="Seed that selects the images.")


class DatasetEntry(_Part):
    """A data set, its options, and its root folder (`--data` and the environment variable take precedence)."""

    name: str
    root: str | None = None
    params: Params = {}
    split: Split | None = Field(None, description="Use only one part of a search split.")
    hold_out: HoldOut | None = Field(None, description="Keep some training images from the fit, to decide a threshold.")


class Searched(_Part):
    """Origin of a configuration that a search selected."""

    by: str = Field(description="Name of the search.")
    trials: int = Field(ge=1, description="Number of trials it was selected from; shown with its results.")
    seeds: tuple[Seed, ...] = Field(min_length=1, description="Seeds of the search; the suite must use different ones.")


class Variant(_Part):
    """One row: a named change of the method's parameters."""

    label: str
    params: Params = {}
    profiles: tuple[str, ...] | None = Field(
        None, min_length=1, description="Profiles in which this row takes part; by default all."
    )
    published: str | None = Field(None, description="Row of the reproduced table that this row is compared with.")
    searched: Searched | None = Field(None, description="Set for a configuration that a search selected.")


def _form(value: Any) -> str:
    return "[points]" if isinstance(value, list | tuple) else "[fields]"


_Values = Annotated[list[Any], Field(min_length=1)]
_Points = Annotated[tuple[Params, ...], Field(min_length=1)]
_Fields = Annotated[dict[str, _Values], Field(min_length=1)]
Axis = Annotated[Annotated[_Points, Tag("[points]")] | Annotated[_Fields, Tag("[fields]")], Discriminator(_form)]
"""`{field: [values]}`: one value of one field at a time; `[{field: value, other: value}]`: several fields at once."""


class MethodEntry(_Part):
    """A method with its parameters: one row, or one row for each variant, grid point or sweep reading."""

    method: str
    label: str | None = None
    params: Params = {}
    published: str | None = Field(None, description="Row of the reproduced table that this row is compared with.")
    variants: tuple[Variant, ...] = ()
    grid: dict[str, _Values] = Field({}, description="Field (dotted) -> values; one row for each combination.")
    exclude: tuple[Params, ...] = Field((), description="Combinations of grid values to leave out.")
    include: tuple[Params, ...] = Field((), description="Further points, whether in the grid or not.")
    sweep: dict[str, Axis] = Field(
        {},
        description="Axis -> its readings (alternative settings): one row for the unchanged method, then one row for "
        "each reading that differs from it, all else equal.",
    )

    @model_validator(mode="after")
    def _small_grid(self) -> MethodEntry:
        points = math.prod(len(values) for values in self.grid.values())
        if points > MOST_ROWS:
            raise ValueError(f"the grid has {points} points, more than {MOST_ROWS}\nuse a search instead")
        return self


class Again(_Part):
    """Every row once more, with some parameters the same for all methods that have them."""

    label: str = Field(min_length=1, description="Follows the label of a row: `PaDiM, equal features`.")
    shared: Params = Field(min_length=1, description="Parameters as in a profile's `shared`.")


Measures = tuple[
    Annotated[MeasureEntry, BeforeValidator(_named, json_schema_input_type=str | MeasureEntry | dict[str, Params])], ...
]


class Parameter(_Part):
    """The values that a search may try for one field of the method."""

    real: tuple[float, float] | None = Field(None, description="Lowest and highest value of a real number.")
    integer: tuple[int, int] | None = Field(None, description="Lowest and highest value of an integer.")
    choices: tuple[Any, ...] | None = Field(None, min_length=1, description="Discrete values; a value may be a list.")
    log: bool = Field(False, description="For a range: logarithmic scale (equal ratios are equally likely).")
    step: float | None = Field(None, gt=0, description="For a range: distance between neighbouring values.")
    when: Params = Field(
        {}, description="Condition: other parameter -> the value, or list of values, for which this one exists."
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Parameter:
        given = [name for name in ("real", "integer", "choices") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give one of real: [low, high], integer: [low, high], choices: [...]")
        if self.choices is not None:
            if self.log or self.step is not None:
                raise ValueError("log and step belong to ranges, not to choices")
            if any(value in self.choices[:i] for i, value in enumerate(self.choices)):
                raise ValueError("a choice is given twice")
            return self
        low, high = self.real or self.integer or (0, 0)
        if low >= high:
            raise ValueError(f"the low end {low:g} must be below the high end {high:g}")
        if self.log and low <= 0:
            raise ValueError("a logarithmic range must begin above 0")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.integer is not None and self.step is not None and self.step != int(self.step):
            raise ValueError("the step of an integer range must be a whole number")
        if not (high - low) / (self.step or 1) < (math.inf if self.step is None else 2**63):
            raise ValueError(f"the range from {low:g} to {high:g} is too wide")
        return self

    @property
    def points(self) -> int:
        """Number of values of choices, of an integer range, or of a range with a step; else 1."""
        if self.choices is not None:
            return len(self.choices)
        if self.integer is not None:
            return 1 + (self.integer[1] - self.integer[0]) // int(self.step or 1)
        return 1 + int((self.real[1] - self.real[0]) / self.step) if self.real and self.step else 1


def _parameter(value: Any) -> Any:
    """A list is the short form of choices."""
    return {"choices": value} if isinstance(value, list) else value


class Objective(_Part):
    """A metric of the suite's measures, and its direction."""

    metric: str
    direction: Literal["maximize", "minimize"]


def _objective(value: Any) -> Any:
    """`image_auroc: maximize`"""
    if isinstance(value, dict) and len(value) == 1:
        ((metric, direction),) = value.items()
        return {"metric": metric, "direction": direction}
    return value


class Algorithm(_Part):
    """An Optuna sampler or pruner, and the options of its class."""

    name: str
    options: Params = {}


_Algorithm = Annotated[Algorithm, BeforeValidator(_named, json_schema_input_type=str | Algorithm | dict[str, Params])]


class Finalists(_Part):
    """The best trials, which are run again on new seeds for the report."""

    best: int = Field(1, ge=0, description="Number of finalists; 0 for none.")
    seeds: tuple[Seed, ...] = Field((1001, 1002, 1003), description="New seeds that no trial used.")


class Search(_Part):
    """A hyper-parameter search for the suite's method."""

    space: dict[
        str, Annotated[Parameter, BeforeValidator(_parameter, json_schema_input_type=Parameter | list[Any])]
    ] = Field(min_length=1, description="Field of the method (dotted) -> its values.")
    objectives: tuple[
        Annotated[Objective, BeforeValidator(_objective, json_schema_input_type=dict[str, str] | Objective)], ...
    ] = Field(min_length=1, description="One, or several for a Pareto front.")
    constraints: dict[str, float] = Field(
        {}, description="Metric -> its limit: a maximum if lower is better, a minimum if higher is better."
    )
    validation: Validation = Field(description="The images on which trials are scored.")
    trials: int = Field(ge=1, description="Total number of trials, including those of earlier runs.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which no new trial starts.")
    sampler: _Algorithm = Field(Algorithm(name="tpe"), description="Proposes the next trial.")
    pruner: _Algorithm = Field(Algorithm(name="none"), description="Ends unpromising trials early.")
    every: int = Field(1, ge=1, description="Epochs between two validation scores for the pruner.")
    seed: int = Field(0, ge=0, le=INT64[1], description="Seed of the sampler.")
    storage: str = Field(
        "journal", description="journal, journal:PATH, memory, or the URL of a database such as sqlite:///study.db."
    )
    workers: int = Field(1, ge=1, le=1024, description="Number of worker processes.")
    finalists: Finalists = Field(Finalists(), description="Trials that are run again on the report's images.")

    @model_validator(mode="after")
    def _small_grid(self) -> Search:
        points = math.prod(parameter.points for parameter in self.space.values())
        if self.sampler.name == "grid" and points > MOST_POINTS:
            raise ValueError(f"the grid has {points} points, more than {MOST_POINTS}\nuse another sampler")
        return self


class Profile(_Part):
    """One way to run the suite, e.g. as in the paper, or offline in minutes."""

    description: str = ""
    datasets: tuple[
        Annotated[DatasetEntry, BeforeValidator(_dataset, json_schema_input_type=str | DatasetEntry)], ...
    ] = Field(min_length=1)
    image_size: int = Field(256, ge=16, le=4096)
    threads: int | None = Field(None, ge=1, le=4096, description="CPU threads; --threads takes precedence.")
    deterministic: bool = Field(
        False, description="Only deterministic algorithms of torch, so that a card repeats a result to the bit."
    )
    tf32: bool | None = Field(None, description="TF32 in convolutions and products of a card; null: as torch has it.")
    cudnn_benchmark: bool | None = Field(
        None, description="cuDNN tries which kernel is fastest; null: as torch has it, which is no."
    )
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1)
    setting: Setting | None = None
    measures: Measures | None = Field(None, min_length=1)
    shared: Params = Field({}, description="Parameters for every method of the suite that has these fields.")
    params: dict[str, Params] = Field({}, description="Method -> parameters that this profile changes.")
    sweep: dict[str, dict[str, Axis]] = Field(
        {}, description="Method with a sweep -> further axes of it, in this profile only."
    )
    again: tuple[Again, ...] | None = Field(None, description="Replaces the suite's `again`.")
    search: Params = Field({}, description="Fields of the suite's search that this profile changes.")

    @model_validator(mode="after")
    def _repeatable(self) -> Profile:
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError("cudnn_benchmark chooses kernels by their time: it is not deterministic\ngive one of them")
        return self

    @property
    def arithmetic(self) -> Arithmetic:
        """How torch is to compute."""
        return Arithmetic(self.deterministic, self.tf32, self.cudnn_benchmark)


def _folder_name(value: Any) -> Any:
    """Reports go to reports/<suite>/<profile>/, so no name may lead elsewhere."""
    if isinstance(value, str) and (re.fullmatch(_NAME, value) is None or len(value) > _LONGEST):
        text = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}..."
        raise ValueError(
            f"{text!r} cannot be a name, since it names a folder of reports\n"
            f"use at most {_LONGEST} letters (a to z), digits, '.', '_' and '-', with no '.' at the beginning"
        )
    return value


def _profile_name(value: Any) -> Any:
    if value == LATENCY:
        raise ValueError(f"a profile cannot be called {LATENCY!r}\nreports/<suite>/{LATENCY}/ is for latency sessions")
    return _folder_name(value)


_NAME, _LONGEST = r"[A-Za-z0-9_-][A-Za-z0-9._-]*", 200
LATENCY = "latency"
"""Folder of the latency sessions of a suite, beside those of its profiles."""
_InFolder = Field(pattern=f"^{_NAME}$", max_length=_LONGEST)
SuiteName = Annotated[str, BeforeValidator(_folder_name), _InFolder]
ProfileName = Annotated[str, BeforeValidator(_profile_name), _InFolder]


class SuiteFile(_Part):
    """The contents of a suite file."""

    suite: SuiteName = Field(description="Name; reports go to reports/<suite>/<profile>/.")
    title: str
    reproduces: str | None = Field(None, description="Published table that the rows are compared with, e.g. table5.")
    published_methods: bool = Field(
        False, description="Add a row for every other installed method of that table, with its name from the table."
    )
    compare_to: str | None = Field(
        None, description="Label of the reference row: the report shows the difference of every other row to it."
    )
    setting: Setting = "unified"
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    measures: Measures = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    again: tuple[Again, ...] = Field(
        (), description="Every row once more with shared parameters, unless the suite has that row already."
    )
    profiles: dict[ProfileName, Profile] = Field(min_length=1)
    default_profile: str | None = None
    search: Search | None = Field(None, description="A search around the suite's only row (`afrad-bench search`).")
