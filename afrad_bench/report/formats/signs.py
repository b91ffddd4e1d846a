"""Text for a stream that is not UTF-8: signs that its encoding lacks are replaced by ASCII ones.

The error handler is named `HANDLER` for `str.encode` and for streams; importing this module registers it."""

from __future__ import annotations

import codecs
import re
import unicodedata

HANDLER = "afrad_bench.signs"
"""Name of the error handler."""

ASCII = {
    "✓": "+",
    "✗": "x",
    "≠": "!=",
    "±": "+-",
    "×": "x",
    "√": "sqrt",
    "≤": "<=",
    "≥": ">=",
    "−": "-",
    "–": "-",
    "—": "-",
    "→": "->",
    "↑": "^",
    "↓": "v",
    "Δ": "d",
    "…": "...",
    "·": ".",
    "•": "*",
    "●": "*",
    "○": "o",
    "⚠": "!",
    "°": " deg",
    "µ": "u",
    "α": "alpha",
    "Φ": "Phi",
    "“": '"',
    "”": '"',
    "─": "-",
    "│": "|",
    "├": "[",
    "┤": "]",
}
"""The signs of our own texts. Superscript digits mark footnotes: they become "[1,2]", never plain digits."""

_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹˒", "0123456789,")
_RUNS = re.compile("([⁰¹²³⁴⁵⁶⁷⁸⁹˒]+)")


def shown(text: str, encoding: str) -> str:
    """The text as a stream of this encoding shows it.

    >>> shown("59.4 ± 6.6¹˒², Größe ✓", "ascii")
    '59.4 +- 6.6[1,2], Grosse +'
    >>> shown("59.4 ± 6.6¹˒² ↑", "cp1252")
    '59.4 ± 6.6¹,² ^'
    """
    return text.encode(encoding, HANDLER).decode(encoding)


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = _RUNS.split(error.object[error.start : error.end])
    return "".join(_notes(part) if i % 2 else "".join(map(_sign, part)) for i, part in enumerate(parts)), error.end


def _notes(run: str) -> str:
    """A comma stands alone where the encoding has the digits beside it."""
    numbers = run.translate(_SUPERSCRIPT)
    return f"[{numbers.strip(',')}]" if numbers.strip(",") else numbers


def _sign(sign: str) -> str:
    """The sign in ASCII; letters lose their accents, and anything else is shown as its code."""
    if sign in ASCII:
        return ASCII[sign]
    bare = "ss" if sign == "ß" else unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return bare if bare and sign.isalpha() else sign.encode("ascii", "backslashreplace").decode()


codecs.register_error(HANDLER, _replaced)
