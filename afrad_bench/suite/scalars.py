"""Plain (unquoted) scalars of YAML 1.2 as values: null, truth values, numbers that a result can hold, text."""

from __future__ import annotations

import math
import re

from afrad_bench.errors import shortened

INT64 = (-(2**63), 2**63 - 1)
"""Smallest and largest whole number that can be stored."""

_NULL = {"", "~", "null", "Null", "NULL"}
_TRUTH = {word: word[0] in "tT" for word in ("true", "True", "TRUE", "false", "False", "FALSE")}
_WHOLE = re.compile(r"[-+]?(0b[01][01_]*|0o[0-7][0-7_]*|0x[0-9a-fA-F][0-9a-fA-F_]*|[0-9][0-9_]*)")
_REAL = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+")
_ENDLESS = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d"
    r"|\d{4}-\d\d?-\d\d?([Tt]|[ \t]+)\d\d?:\d\d:\d\d(\.\d*)?([ \t]*(Z|[-+]\d\d?(:?\d\d)?))?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


def value_of(text: str) -> bool | int | float | str | None:
    """The value of a plain scalar. `ValueError`, with a hint in its second line, for dates and for numbers that are
    infinite, undefined or larger than 64 bits: no result can hold them.

    >>> [value_of(text) for text in ("1e-3", "010", "0x1F", "on", "10:30", "~")]
    [0.001, 10, 31, 'on', '10:30', None]
    """
    if text in _NULL:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if _WHOLE.fullmatch(text):
        return _whole(text)
    if _REAL.fullmatch(text) and math.isfinite(number := float(text.replace("_", ""))):
        return number
    if _REAL.fullmatch(text) or _ENDLESS.fullmatch(text):
        raise ValueError(f"{shortened(text)} is not a finite number\ngive a finite number, or null for no value")
    if _DATE.fullmatch(text):
        raise ValueError(f"{shortened(text)} is a date, which no field takes\nput it in quotes if it is text")
    return text


def _whole(text: str) -> int:
    digits = text.replace("_", "")
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits.lstrip("-+")[:2], 10)
    number = int(digits, base) if len(digits) <= 70 else None  # 64 binary digits with sign and prefix, and some zeros
    if number is None or not INT64[0] <= number <= INT64[1]:
        many = f" ({len(digits)} characters)" if len(digits) > 40 else ""
        raise ValueError(f"{shortened(text, 40)}{many} does not fit into 64 bits\nthe largest number is {INT64[1]}")
    return number


def control_character(text: str) -> tuple[int, str] | None:
    """Position and name of the first character that no text may contain: control characters, half surrogate pairs."""
    found = _CONTROL.search(text)
    return (found.start(), f"U+{ord(found.group()):04X}") if found else None
