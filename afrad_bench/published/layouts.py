"""How the tables of the paper are laid out, besides their figures: what stands above and beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KINDS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "table1": {
            "Non-reconstruction methods": ("rd4ad", "simplenet", "destseg"),
            "Reconstruction-based methods": ("draem", "uniad", "diad", "afrad"),
        }
    }
)
"""Headings above the methods of a table."""


@dataclass(frozen=True, slots=True)
class Ablation:
    """The columns of an ablation that say which parts each of its rows has."""

    parts: tuple[tuple[str, str], ...]
    """Heading of a group of columns (or empty), heading of the column."""
    present: Mapping[str, tuple[bool, ...]]
    """Row -> for each column, whether the row has the part."""


def _signs(text: str) -> tuple[bool, ...]:
    return tuple(sign == "+" for sign in text)


_FLD, _CD, _SAD = "Focused Local Decoder", "Compensation Decoder", "Stage-adaptive Decoder"

ABLATIONS: Mapping[str, Ablation] = MappingProxyType(
    {
        "table5": Ablation(
            (("", _FLD), ("", _CD), ("", _SAD), ("", "NGIB")),
            {
                "no_fld": _signs("-+++"),
                "no_cd": _signs("+-++"),
                "no_sad": _signs("++-+"),
                "no_ngib": _signs("+++-"),
                "full": _signs("++++"),
            },
        ),
        "table6": Ablation(
            (
                *((_FLD, "stages 1,2"), (_FLD, "1,2,3,4")),
                *((_CD, "stages 1,2"), (_CD, "2,3")),
                *((_SAD, "stages 3,4"), (_SAD, "1,2,3,4")),
            ),
            {
                "fld12_cd12_sad34": _signs("+-+-+-"),
                "fld12_cd23_sad34": _signs("+--++-"),
                "fld12_cd23_sad1234": _signs("+--+-+"),
                "fld1234_cd12_sad1234": _signs("-++--+"),
                "fld12_cd12_sad1234": _signs("+-+--+"),
            },
        ),
        "table7": Ablation((("", "FRM"),), {"no_frm": _signs("-"), "frm": _signs("+")}),
    }
)
"""The paper's ablations; the other tables have a method in each row or column."""
