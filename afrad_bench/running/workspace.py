"""Folders, data roots and device of a run. One value, created by the command line and passed down."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from afrad_bench import registry
from afrad_bench.errors import UserError, fail, unknown
from afrad_bench.images.pictures import FileIndex
from afrad_bench.machine.environment import default_threads
from afrad_bench.running import search_split as _division
from afrad_bench.running.held_out import without
from afrad_bench.suite.file import HoldOut, Split
from afrad_bench.suite.selection import HOLD_OUT, SPLIT, ChosenDataset
from afrad_bench.types import Dataset, Watch, unwatched


@dataclass(frozen=True)
class Workspace:
    """Folders and device of a run; picklable."""

    store: Path
    cache: Path | None
    """Folder of the feature cache, the index of image files and checkpoints; None: keep nothing."""
    cache_limit: int
    """Bytes that the feature cache may hold."""
    device: str = "auto"
    threads: int | None = None
    devices: tuple[str, ...] = ()
    """One for each worker process, all like `device`; empty: this process does the work."""
    roots: Mapping[str, str] = field(default_factory=dict)
    """Data set -> root folder, from `--data NAME=PATH`."""
    environment_roots: Mapping[str, str] = field(default_factory=dict)
    """Environment variable -> root folder, for the variables that data sets declare."""

    @property
    def share(self) -> int | None:
        """CPU threads of each worker if nobody says how many: its share of the cores; None without workers."""
        return max(1, default_threads() // len(self.devices)) if self.devices else None

    def root_of(self, chosen: ChosenDataset) -> Path | None:
        """The root from `--data`, else from the data set's environment variable, else from the suite; else None."""
        variable = registry.find("dataset", chosen.name, chosen.where).load().ENVIRONMENT
        declared = self.environment_roots.get(variable) if variable else None
        root = self.roots.get(chosen.name) or declared or chosen.root
        return folder(root) if root else None

    def files(self, watch: Watch = unwatched, fresh: bool = False) -> FileIndex:
        """The index of image files that were read before. `fresh`: every file is read again and compared with it."""
        return FileIndex(None if self.cache is None else self.cache / "files.sqlite", watch, fresh)

    def load(self, chosen: ChosenDataset, files: FileIndex) -> Dataset:
        """The verified data set, or the part of it that a search or its report may use. One `UserError` lists all
        problems."""
        module = registry.find("dataset", chosen.name, chosen.where).load()
        params = json.loads(chosen.params)
        split, hold_out = params.pop(SPLIT, None), params.pop(HOLD_OUT, None)
        config = module.Config.model_validate(params)
        root = self.root_of(chosen)
        if root is not None and not root.is_dir():
            raise fail(f"the root of {chosen.name} is not a folder: {root}", chosen.where, module.HELP)
        dataset: Dataset = module.load(config, root, files)
        if split is not None:
            dataset = _division.part_of(dataset, Split.model_validate(split))
        return dataset if hold_out is None else without(dataset, HoldOut.model_validate(hold_out))


def parse_roots(texts: list[str]) -> dict[str, str]:
    """`NAME=PATH` texts of `--data`; unknown data sets, malformed texts and missing folders are a `UserError`."""
    known = registry.entries("dataset")
    roots: dict[str, str] = {}
    for text in texts:
        name, equals, path = text.partition("=")
        if not equals or not path:
            raise fail(f"expected NAME=PATH, but got {text!r}", "--data")
        if name not in known:
            raise UserError(unknown("dataset", name, known, "--data"))
        if name in roots:
            raise fail(f"two folders are given for {name}: {roots[name]} and {path}", "--data", "leave one out")
        if not folder(path).is_dir():
            raise fail(f"{path} is not a folder", f"--data {name}", known[name].load().HELP)
        roots[name] = path
    return roots


def folder(path: str) -> Path:
    """The path, with `~` for the user's home. Raises `UserError` for the home of an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise fail(f"{path}: {error}", hint="write the whole path") from error


def roots_from(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment variables that data sets declare and that are set. Only the command line calls this."""
    variables = [entry.load().ENVIRONMENT for entry in registry.entries("dataset").values()]
    return {name: environ[name] for name in variables if name and environ.get(name)}
