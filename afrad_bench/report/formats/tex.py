"""Plain text as LaTeX that shows the same, for pdfLaTeX with its own fonts."""

from __future__ import annotations

import re
import unicodedata

from afrad_bench.report.formats.signs import shown

SIGNS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "✓": r"$\checkmark$",
    "✗": r"$\times$",
    "×": r"$\times$",
    "≠": r"$\neq$",
    "±": r"$\pm$",
    "√": r"$\surd$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "→": r"$\rightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "Δ": r"$\Delta$",
    "α": r"$\alpha$",
    "Φ": r"$\Phi$",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "•": r"$\bullet$",
    "●": r"$\bullet$",
    "○": r"$\circ$",
    "⚠": "!",
    "°": r"$^\circ$",
    "µ": r"$\mu$",
    "“": "``",
    "”": "''",
    "ß": r"\ss{}",
}
_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327\u0328", "`'^~=u.\"rHvck", strict=True)
)
"""Combining accent -> the command that sets it."""
_ESCAPED = re.compile(r"(?<=-)(?=-)|(?<=')(?=')")


def escape(text: str) -> str:
    r"""The text on one line, every sign of it shown as it is; a sign that the fonts lack is shown as in plain ASCII.

    >>> escape("a_b & 50 % ≥ 3 {x} --set")
    'a\\_b \\& 50 \\% $\\geq$ 3 \\{x\\} -{}-set'
    >>> escape("Größe 中")
    'Gr\\"{o}\\ss{}e \\textbackslash{}u4e2d'
    """
    return "".join(map(_sign, _ESCAPED.sub("\0", " ".join(text.split()))))


def _sign(sign: str) -> str:
    if sign == "\0":  # between two signs that would become one
        return "{}"
    if sign in SIGNS:
        return SIGNS[sign]
    if sign.isascii():
        return sign if sign.isprintable() else ""
    parts = unicodedata.normalize("NFD", sign)
    if len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS:
        dotless = rf"\{parts[0]}" if parts[0] in "ij" else parts[0]
        return rf"\{_ACCENTS[parts[1]]}{{{dotless}}}"
    return "".join(SIGNS.get(each, each) for each in shown(sign, "ascii"))
