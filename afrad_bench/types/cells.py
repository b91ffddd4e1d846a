"""One run as a value; see the package."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from afrad_bench.hashing import digest

Setting = Literal["unified", "one_class"]


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """One run as a value: which method is fitted on which data. Its id is a digest of its content, without labels."""

    method: str
    params: str = field(repr=False)
    """The whole validated configuration of the method, defaults included, as canonical JSON."""
    dataset: str
    dataset_params: str = field(repr=False)
    """Options of the data set, defaults included, as canonical JSON (without its root folder: only content counts)."""
    setting: Setting
    category: str | None
    """The category of a `one_class` cell; None in the unified setting."""
    image_size: int
    seed: int
    profile: str

    @property
    def id(self) -> str:
        """16 hexadecimal digits."""
        content = [
            self.method,
            self.params,
            self.dataset,
            self.dataset_params,
            self.setting,
            self.category or "",
            str(self.image_size),
            str(self.seed),
            self.profile,
        ]
        return digest(*content)[:16]

    @property
    def config(self) -> dict[str, Any]:
        """`params` as a dictionary."""
        loaded: dict[str, Any] = json.loads(self.params)
        return loaded
