"""Words for sentences about rows: names, lists, places, amounts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from afrad_bench.report.basis.comparison import Item
from afrad_bench.report.basis.effect import Effect
from afrad_bench.report.basis.figures import named


def quoted(label: str) -> str:
    """The name of a row; in quotation marks if it could be read as part of the sentence.

    >>> quoted("PaDiM"), quoted("without SAD"), quoted("AFRAD, tuned")
    ('PaDiM', '“without SAD”', '“AFRAD, tuned”')
    """
    return label if re.fullmatch(r"[^\W\d_][\w.+-]*", label) else f"“{label}”"


def few(texts: Sequence[str], most: int = 3) -> str:
    """ "a", "a and b", "a, b and c"; of more than `most` + 1, only the first ones and the number of the others.

    >>> few(list("abcd")), few(list("abcde"))
    ('a, b, c and d', 'a, b, c and 2 more')
    """
    if len(texts) <= most + 1:
        return named(texts)
    return f"{', '.join(texts[:most])} and {len(texts) - most} more"


def ordinal(number: int) -> str:
    """ "1st", "2nd", "3rd", "11th".

    >>> [ordinal(each) for each in (1, 2, 3, 4, 11, 12, 13, 21, 112)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '13th', '21st', '112th']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def by(effect: Effect, label: str, unit: Literal["", "unit", "metric"] = "metric") -> str:
    """How much a row and the reference differ, without the direction: "1.2 points of I-AUROC [0.7, 1.8]"; without the
    metric, or also without the unit, where both are clear."""
    found, decimals = effect.differences[label], effect.item.metric.decimals
    assert found.mean is not None
    text = f"{abs(found.mean):.{decimals}f}"
    if unit:
        text += f" {points(effect.item)}" if unit == "metric" else f" {unit_of(effect.item)}".rstrip()
    if found.low is None or found.high is None:
        return text
    ends = (found.low, found.high) if found.mean >= 0 else (-found.high, -found.low)
    return f"{text} [{', '.join(_plain(end, decimals) for end in ends)}]"


def points(item: Item) -> str:
    """The unit of a difference, and of what: "points of I-AUROC"."""
    unit, title = unit_of(item), item.metric.title
    return f"{unit} of {title}" if unit and unit != title else title


def unit_of(item: Item) -> str:
    """The unit of a difference."""
    return "points" if item.metric.percent else item.unit


def reached(item: Item, mean: float) -> str:
    """A value with its unit and metric: "98.1 % I-AUROC"."""
    text = f"{mean:.{item.metric.decimals}f}"
    title = item.metric.title
    return f"{text} {title}" if title == item.unit or not item.unit else f"{text} {item.unit} {title}"


def is_time(unit: str) -> bool:
    """Whether a unit is one of time: "ms", "ms/image", "s"."""
    return re.fullmatch(r"(ms|s)(/.*)?", unit) is not None


def _plain(value: float, decimals: int) -> str:
    """ "1.2", "−1.2", "0.0"."""
    text = f"{value:.{decimals}f}"
    return text.replace("-", "−") if text.strip("-0.") else text.lstrip("-")
