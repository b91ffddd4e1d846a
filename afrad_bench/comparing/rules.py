"""The rules of a gate: which changes matter. Read from YAML; errors have a line and the nearest valid name."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from afrad_bench.comparing.side import LATENCY, metrics
from afrad_bench.errors import Problem, UserError, nearest
from afrad_bench.suite import yaml as strict_yaml
from afrad_bench.suite.checked import validated
from afrad_bench.types import MEAN


def _smallest(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value}"
    return value


def _is_amount(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)?\s*%?", text):
        raise ValueError(
            f"{text!r} is not an amount: give a number in the metric's unit (points, ms), or one like '5 %'"
        )
    return text


class Rule(BaseModel):
    """One rule. If several rules fit a number, the first one applies."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="Name of a metric, or a pattern such as pixel_*.")
    smallest: Annotated[str, BeforeValidator(_smallest), AfterValidator(_is_amount)] = Field(
        "0", description="Smallest change for the worse that matters, in points or the metric's unit, or relative: 5 %."
    )
    test: Literal["interval", "exact"] = Field(
        "interval", description="interval: by the confidence interval; exact: for numbers without noise."
    )
    direction: Literal["higher", "lower"] | None = Field(
        None, description="Which direction is better; default: the metric's own."
    )
    category: str = Field(
        "mean", description="mean: the number of the whole row; else a category of the data, or a pattern."
    )
    label: str = Field("*", description="Label of a row, or a pattern.")
    confidence: float | None = Field(None, gt=0.5, lt=1, description="Replaces the confidence of the file.")
    seeds: int = Field(2, ge=1, description="Minimum number of seeds; 1: the noise may be that of images alone.")
    rounds: int = Field(50, ge=20, description="Minimum number of interleaved rounds of a latency.")
    optional: bool = Field(False, description="Whether BASE may lack such numbers.")
    advisory: bool = Field(False, description="Whether the result is shown, but never decides.")

    def fits(self, label: str, metric: str, category: str | None) -> bool:
        whole = category in (MEAN, None) or metric == LATENCY
        place = whole if self.category == MEAN else fnmatchcase(category or "", self.category)
        return place and fnmatchcase(metric, self.metric) and fnmatchcase(label, self.label)

    def amount(self, base: float) -> float:
        """`smallest` in the unit of the change, given the value in BASE."""
        number = float(self.smallest.rstrip("% "))
        return number / 100 * abs(base) if self.smallest.endswith("%") else number


class Rules(BaseModel):
    """The contents of a rules file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence: float = Field(
        0.99, gt=0.5, lt=1, description="1 - confidence is the largest rate of false alarms of the whole gate."
    )
    rules: tuple[Rule, ...] = Field(min_length=1)


def default_rules() -> Rules:
    """The rules of a gate without a rules file; docs/ci.md gives their error rates."""
    return Rules(
        rules=(
            Rule(metric="image_auroc", smallest="1.0"),
            Rule(metric="pixel_auroc", smallest="1.0", optional=True),
            Rule(metric="pixel_aupro", smallest="2.0", optional=True),
            Rule(metric="gmacs", test="exact", optional=True),
            Rule(metric="params_*", test="exact", optional=True),
            Rule(metric=LATENCY, smallest="5 %", optional=True),
        )
    )


def read_rules(path: Path) -> Rules:
    """Rules from a YAML file; a `UserError` names the mistakes with their lines."""
    document = strict_yaml.read(path)
    checked = validated(Rules, document.data, document.where)
    if isinstance(checked, list):
        raise UserError(*checked)
    assert isinstance(checked, Rules)
    problems = []
    for i, rule in enumerate(checked.rules):
        where = document.where(("rules", i, "metric"))
        if not any(fnmatchcase(name, rule.metric) for name in metrics()):
            match = nearest(rule.metric, metrics())
            meant = f" (did you mean {match!r}?)" if match else ""
            problems.append(Problem(f"no metric is called {rule.metric!r}{meant}", where, ", ".join(sorted(metrics()))))
    if problems:
        raise UserError(*problems)
    return checked
