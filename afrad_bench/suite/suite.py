"""A suite: methods, data sets and measures, declared in one YAML file and checked completely before anything runs.

`load` reads the file, resolves every method, data set, measure, field and value of every profile, and reports all
errors at once, each with its line. `Suite.select` returns the rows of one profile."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from afrad_bench import published, registry
from afrad_bench.errors import Problem, UserError, fail, unknown
from afrad_bench.suite import yaml as strict_yaml
from afrad_bench.suite.checked import validated
from afrad_bench.suite.file import SuiteFile
from afrad_bench.suite.selection import Resolver, Selection


@dataclass(frozen=True)
class Suite:
    """A checked suite file."""

    document: strict_yaml.Document
    file: SuiteFile

    @property
    def name(self) -> str:
        return self.file.suite

    @property
    def profile(self) -> str | None:
        """The default profile: the declared one, or the only one; else None."""
        if self.file.default_profile is not None:
            return self.file.default_profile
        return next(iter(self.file.profiles)) if len(self.file.profiles) == 1 else None

    def select(self, profile: str | None = None, overrides: Sequence[str] = ()) -> Selection:
        """The rows, data sets and measures of a profile. `overrides` are `field=value` (see `overrides.parse`)."""
        name = self.profile if profile is None else profile
        if name is None:
            raise fail(
                f"the suite has the profiles {', '.join(self.file.profiles)} and no default_profile",
                str(self.document.path),
                "choose one with --profile",
            )
        if name not in self.file.profiles:
            raise UserError(unknown("profile", name, self.file.profiles, str(self.document.path)))
        problems: list[Problem] = []
        selection = Resolver(self.document, self.file, name, overrides, problems).selection()
        if problems or selection is None:
            raise UserError(*dict.fromkeys(problems))
        return selection


def load(path: Path) -> Suite:
    """Read and check all profiles of a suite file; one `UserError` lists all problems."""
    document = strict_yaml.read(path)
    checked = validated(SuiteFile, document.data, document.where)
    if isinstance(checked, list):
        raise UserError(*checked)
    assert isinstance(checked, SuiteFile)
    suite = Suite(document, checked)
    problems = list(_cross_checks(suite))
    for name in checked.profiles:
        Resolver(suite.document, suite.file, name, (), problems).selection()
    if problems:
        raise UserError(*dict.fromkeys(problems))
    return suite


def find(name: str, folders: Sequence[Path]) -> Path:
    """Path of a suite that is given by path, or by its name in one of the folders."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or (path.exists() and not path.is_dir()):
        return path
    known = {found.stem: found for folder in folders for found in sorted(folder.glob("*.yaml"))}
    if name in known:
        return known[name]
    if path.is_dir():
        raise fail("is a folder, not a suite file", name, f"give a file in it, or a name: {', '.join(sorted(known))}")
    raise UserError(unknown("suite", name, known))


def _cross_checks(suite: Suite) -> Iterator[Problem]:
    file, where = suite.file, suite.document.where
    if file.default_profile is not None and file.default_profile not in file.profiles:
        yield unknown("profile", file.default_profile, file.profiles, where(("default_profile",)))
    if file.reproduces is not None and file.reproduces not in published.tables():
        yield unknown("published table", file.reproduces, published.tables(), where(("reproduces",)))
        return
    if file.published_methods and file.reproduces is None:
        place = where(("published_methods",))
        yield Problem("published_methods needs the table whose methods it adds", place, "add reproduces: table1")
    rows = {figure.row for figure in published.figures(file.reproduces)} if file.reproduces else set()
    for i, entry in enumerate(file.methods):
        if entry.published is not None and entry.published not in rows:
            yield unknown("published row", entry.published, rows, where(("methods", i, "published")))
        for k, variant in enumerate(entry.variants):
            for n, name in enumerate(variant.profiles or ()):
                if name not in file.profiles:
                    yield unknown("profile", name, file.profiles, where(("methods", i, "variants", k, "profiles", n)))
            if variant.published is not None and variant.published not in rows:
                place = where(("methods", i, "variants", k, "published"))
                yield unknown("published row", variant.published, rows, place)
        ways = {"variants": entry.variants, "grid": entry.grid or entry.include, "sweep": entry.sweep}
        given = [way for way, content in ways.items() if content]
        if len(given) > 1:
            yield Problem(f"give {' or '.join(given)}, not both", where(("methods", i, given[-1])))


def json_schema() -> dict[str, Any]:
    """JSON Schema of a suite file, for editors; includes the fields of every registered method."""
    schema = SuiteFile.model_json_schema()
    definitions: dict[str, Any] = schema["$defs"]
    methods = definitions["MethodEntry"]
    conditions = []
    for name, entry in registry.entries("method").items():
        inner = entry.load().Config.model_json_schema(ref_template=f"#/$defs/method:{name}:{{model}}")
        for key, value in inner.pop("$defs", {}).items():
            definitions[f"method:{name}:{key}"] = value
        definitions[f"method:{name}"] = inner
        conditions.append(
            {
                "if": {"properties": {"method": {"const": name}}, "required": ["method"]},
                "then": {"properties": {"params": {"$ref": f"#/$defs/method:{name}"}}},
            }
        )
    methods["properties"]["method"]["enum"] = list(registry.entries("method"))
    methods["allOf"] = conditions
    definitions["DatasetEntry"]["properties"]["name"]["enum"] = list(registry.entries("dataset"))
    definitions["MeasureEntry"]["properties"]["name"]["enum"] = list(registry.entries("measure"))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
