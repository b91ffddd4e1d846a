"""What a suite file may hold: the declarations, as pydantic models. `suite` reads and resolves them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from afrad_bench.types import Setting

Params = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _named(value: Any) -> Any:
    """`accuracy` and `latency: {repeats: 20}` both name a measure; the first without options."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and len(value) == 1 and "name" not in value:
        ((name, options),) = value.items()
        return {"name": name, "options": options or {}}
    return value


def _dataset(value: Any) -> Any:
    """`demo` and `folder:PATH` are short for a data set without options."""
    if isinstance(value, str):
        name, colon, root = value.partition(":")
        return {"name": name, "root": root} if colon else {"name": name}
    return value


class MeasureEntry(_Part):
    """A measure and its options."""

    name: str
    options: Params = {}


class Validation(_Part):
    """What a search scores its trials on: images that no report quotes."""

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
        description="Share of the test images of each kind that the search takes; the reports leave them out.",
    )
    seed: int = Field(0, ge=0, description="Chooses the images.")

    @model_validator(mode="after")
    def _one_way(self) -> Validation:
        if (self.planted is None) == (self.labelled is None):
            raise ValueError("give either planted or labelled")
        return self


class Split(Validation):
    """One side of a data set that was divided for a search."""

    part: Literal["search", "report"] = Field(description="The images for the search, or those for the report.")


class DatasetEntry(_Part):
    """A data set, its options, and (after `--data` and the environment) where it lies."""

    name: str
    root: str | None = None
    params: Params = {}
    split: Split | None = Field(None, description="Only one side of a division that a search made.")


class Searched(_Part):
    """Where a configuration comes from that was chosen by a search."""

    by: str = Field(description="Name of the search.")
    trials: int = Field(ge=1, description="How many trials it was chosen from; stands beside its results.")
    seeds: tuple[int, ...] = Field(min_length=1, description="Seeds of the search; the suite must use other ones.")


class Variant(_Part):
    """One row: a named change of the method's parameters."""

    label: str
    params: Params = {}
    published: str | None = Field(None, description="Row of the reproduced table that this one is laid beside.")
    searched: Searched | None = Field(None, description="For a configuration that a search has chosen.")


def _form(value: Any) -> str:
    return "[points]" if isinstance(value, list | tuple) else "[fields]"


_Values = Annotated[list[Any], Field(min_length=1)]
_Points = Annotated[tuple[Params, ...], Field(min_length=1)]
_Fields = Annotated[dict[str, _Values], Field(min_length=1)]
Axis = Annotated[Annotated[_Points, Tag("[points]")] | Annotated[_Fields, Tag("[fields]")], Discriminator(_form)]
"""`{field: [values]}`, each value of each field alone, or `[{field: value, other: value}]`: several at once."""


class MethodEntry(_Part):
    """A method with its parameters; one row, or one for each variant, point of a grid, or reading of a sweep."""

    method: str
    label: str | None = None
    params: Params = {}
    published: str | None = Field(None, description="Row of the reproduced table that this one is laid beside.")
    variants: tuple[Variant, ...] = ()
    grid: dict[str, list[Any]] = Field({}, description="Field (dotted) -> values; one row for each combination.")
    exclude: tuple[Params, ...] = Field((), description="Combinations of grid values to leave out.")
    include: tuple[Params, ...] = Field((), description="Further points, whether in the grid or not.")
    sweep: dict[str, Axis] = Field(
        {},
        description="Axis -> its readings: a row for the method as it is, then one for each reading that differs from "
        "it, all else equal.",
    )


Measures = tuple[
    Annotated[MeasureEntry, BeforeValidator(_named, json_schema_input_type=str | MeasureEntry | dict[str, Params])], ...
]


class Parameter(_Part):
    """The values that a search may give to one field of the method."""

    real: tuple[float, float] | None = Field(None, description="Lowest and highest value of a real number.")
    integer: tuple[int, int] | None = Field(None, description="Lowest and highest value of a whole number.")
    choices: tuple[Any, ...] | None = Field(None, min_length=1, description="Single values, lists among them.")
    log: bool = Field(False, description="Of a range: equal ratios are equally likely.")
    step: float | None = Field(None, gt=0, description="Of a range: distance of neighbouring values.")
    when: Params = Field({}, description="Other parameter -> the value, or list of values, for which this one exists.")

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
            raise ValueError("the step of whole numbers must be one")
        return self


def _parameter(value: Any) -> Any:
    """A list is short for choices."""
    return {"choices": value} if isinstance(value, list) else value


class Objective(_Part):
    """A metric of the suite's measures, and which way it shall go."""

    metric: str
    direction: Literal["maximize", "minimize"]


def _objective(value: Any) -> Any:
    """`image_auroc: maximize`"""
    if isinstance(value, dict) and len(value) == 1:
        ((metric, direction),) = value.items()
        return {"metric": metric, "direction": direction}
    return value


class Algorithm(_Part):
    """A sampler or pruner of Optuna, and options of its class there."""

    name: str
    options: Params = {}


_Algorithm = Annotated[Algorithm, BeforeValidator(_named, json_schema_input_type=str | Algorithm | dict[str, Params])]


class Finalists(_Part):
    """The best trials, which are run again before anything is said of them."""

    best: int = Field(1, ge=0, description="How many; 0: none.")
    seeds: tuple[int, ...] = Field((1001, 1002, 1003), description="Fresh ones, that no trial used.")


class Search(_Part):
    """A search for parameters of the suite's method."""

    space: dict[
        str, Annotated[Parameter, BeforeValidator(_parameter, json_schema_input_type=Parameter | list[Any])]
    ] = Field(min_length=1, description="Field of the method (dotted) -> its values.")
    objectives: tuple[
        Annotated[Objective, BeforeValidator(_objective, json_schema_input_type=dict[str, str] | Objective)], ...
    ] = Field(min_length=1, description="One, or several for a Pareto front.")
    constraints: dict[str, float] = Field(
        {}, description="Metric -> its limit: the most of what is better low, the least of what is better high."
    )
    validation: Validation = Field(description="What the trials are scored on.")
    trials: int = Field(ge=1, description="Trials in all, whenever they were run.")
    timeout: float | None = Field(None, gt=0, description="Seconds after which no new trial begins.")
    sampler: _Algorithm = Field(Algorithm(name="tpe"), description="What proposes the next trial.")
    pruner: _Algorithm = Field(Algorithm(name="none"), description="What ends a hopeless trial early.")
    every: int = Field(1, ge=1, description="Epochs from one validation score to the next, for the pruner.")
    seed: int = Field(0, ge=0, description="Of the sampler.")
    storage: str = Field(
        "journal", description="journal, journal:PATH, memory, or the URL of a database such as sqlite:///study.db."
    )
    workers: int = Field(1, ge=1, description="Processes that work on the study.")
    finalists: Finalists = Field(Finalists(), description="What is run again on the report's images.")


class Profile(_Part):
    """One way to run the suite: the paper's, or one that runs offline in minutes."""

    description: str = ""
    datasets: tuple[
        Annotated[DatasetEntry, BeforeValidator(_dataset, json_schema_input_type=str | DatasetEntry)], ...
    ] = Field(min_length=1)
    image_size: int = Field(256, ge=16, le=4096)
    threads: int | None = Field(None, ge=1, description="CPU threads, unless --threads says otherwise.")
    seeds: tuple[int, ...] | None = Field(None, min_length=1)
    setting: Setting | None = None
    measures: Measures | None = Field(None, min_length=1)
    shared: Params = Field({}, description="Parameters of every method of the suite that has such fields.")
    params: dict[str, Params] = Field({}, description="Method -> parameters that this profile changes.")
    search: Params = Field({}, description="Fields of the suite's search that this profile changes.")


class SuiteFile(_Part):
    """What a suite file may hold."""

    suite: str = Field(pattern=r"^[A-Za-z0-9_-]+$", description="Name; reports go to reports/<suite>/<profile>/.")
    title: str
    reproduces: str | None = Field(None, description="Published table that the rows are laid beside, e.g. table5.")
    published_methods: bool = Field(
        False, description="Also a row for every other method of that table that is installed, by its name there."
    )
    compare_to: str | None = Field(
        None, description="Label of the row from which the report tells the difference of every other."
    )
    setting: Setting = "unified"
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    measures: Measures = Field(min_length=1)
    methods: tuple[MethodEntry, ...] = Field(min_length=1)
    profiles: dict[str, Profile] = Field(min_length=1)
    default_profile: str | None = None
    search: Search | None = Field(None, description="A search around the suite's only row (`afrad-bench search`).")
