"""The rules of a gate: which changes matter. Read from YAML; errors have a line and the nearest valid name."""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatchcase
from math import isinf
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from afrad_bench.comparing.side import LATENCY, metrics
from afrad_bench.errors import Problem, UserError, fail, nearest
from afrad_bench.suite import yaml as strict_yaml
from afrad_bench.suite.checked import validated
from afrad_bench.types import MEAN

AMOUNT = r"(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*%?"
"""A number that is not negative, with or without fraction, exponent and percent sign."""
LARGEST = sys.float_info.max
EXACT = 1e-9
"""Relative difference up to which two exact numbers count as equal."""


def _smallest(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value}"
    return value


def _is_amount(text: str) -> str:
    if not re.fullmatch(AMOUNT, text, re.ASCII | re.IGNORECASE) or isinf(float(text.rstrip("% "))):
        raise ValueError(
            f"{text!r} is not an amount: give a number in the metric's unit (points, ms), or one like '5 %'"
        )
    return text


def _is_limit(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= LARGEST:
        raise ValueError(
            f"{value!r} is not a limit: give a number in the metric's unit (points, ms), without the unit or a percent "
            "sign"
        )
    return value


Limit = Annotated[float, BeforeValidator(_is_limit)]


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
    max: Limit | None = Field(
        None, description="Largest value that NEW may have, in points or the metric's unit, whatever BASE has."
    )
    min: Limit | None = Field(None, description="Smallest value that NEW may have, likewise.")
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
    optional: bool = Field(
        False, description="Whether such numbers may be missing, or be such that they cannot be compared fairly."
    )
    advisory: bool = Field(False, description="Whether the result is shown, but never decides.")

    @model_validator(mode="after")
    def _has_room(self) -> Rule:
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"no value is at least {self.min:g} and at most {self.max:g}: exchange min and max")
        return self

    @property
    def limited(self) -> bool:
        """Whether it limits the value of NEW."""
        return self.max is not None or self.min is not None

    @property
    def compares(self) -> bool:
        """Whether NEW is compared with BASE. A rule with limits compares only if it has `smallest` or `test`."""
        return not self.limited or bool({"smallest", "test"} & self.model_fields_set)

    def breach(self, value: float) -> str:
        """Which limit a value breaks, in words; empty if it keeps both."""
        if self.max is not None and value > self.max + EXACT * abs(self.max):
            return f"above the limit, at most {self.max:g}"
        if self.min is not None and value < self.min - EXACT * abs(self.min):
            return f"below the limit, at least {self.min:g}"
        return ""

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


def latency_rules(rules: Rules | None, where: str = "") -> Rules:
    """The rules that a measurement of latency alone can check; by default, a worsening by 5 % matters.

    Raises `UserError` if there is none among `rules`, which were read from `where`."""
    if rules is None:
        return Rules(rules=(Rule(metric=LATENCY, smallest="5 %"),))
    found = tuple(rule for rule in rules.rules if fnmatchcase(LATENCY, rule.metric))
    if not found:
        raise fail(f"no rule is for {LATENCY}, the only metric that --latency measures", where)
    return rules.model_copy(update={"rules": found})


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
