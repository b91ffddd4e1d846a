"""What a suite file may hold: the declarations, as pydantic models. `suite` reads and resolves them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

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


class DatasetEntry(_Part):
    """A data set, its options, and (after `--data` and the environment) where it lies."""

    name: str
    root: str | None = None
    params: Params = {}


class Variant(_Part):
    """One row: a named change of the method's parameters."""

    label: str
    params: Params = {}
    published: str | None = Field(None, description="Row of the reproduced table that this one is laid beside.")


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
