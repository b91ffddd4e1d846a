"""The audit of the paper: which figures contradict each other, the text, or arithmetic. A figure is a printed number.

Its input is the published data, its output is a list of findings; nothing is measured or corrected. Kinds of findings:

- `mean`: a printed mean that rounding cannot explain (`means.py`);
- `twice`: a figure that is printed twice with different values (`twice.py`);
- `claim`: a statement of the text that its table contradicts (`claims.py`);
- `mark`: a figure marked best or second best that is not, or one that is but lacks the mark (`marks.py`)."""

from __future__ import annotations

from afrad_bench import published
from afrad_bench.audit.claims import contradicted
from afrad_bench.audit.marks import misplaced
from afrad_bench.audit.means import checkable, wrong_means
from afrad_bench.audit.model import Audit, Finding, Suspect
from afrad_bench.audit.show import to_json, to_markdown, to_terminal
from afrad_bench.audit.twice import printed_twice, repeated

__all__ = ["Audit", "Finding", "Suspect", "audit", "to_json", "to_markdown", "to_terminal"]

LIMITS = (
    "Figure 7 prints no numbers, so what section 4.4 says about GFLOPs and parameters is not checked.",
    'Statements without a number, a rank or a named rival ("significant", "robust") are not checked. The text gives no '
    "differences in points and no factors of speed.",
    "Categories are averaged in Tables 1 to 3 only. Tables 5 to 7 print means without their categories, and no table "
    "prints the mean of a group of categories.",
    'A figure printed as "100." is taken as 100.0.',
    "Marks were read from a text version of the paper. It keeps underlines (second best), not all of them reliably, it "
    "seems; bold (best) has left only the spaces around a figure, which fit the figures in all cases but the one that "
    "is listed. Look a mark up on the typeset page before quoting it. A mark that is missing counts only where an "
    "equal figure beside it has one.",
    "The captions of Tables 5 and 6 do not say what their underlines mean, so these are left out.",
)


def audit() -> Audit:
    """All contradictions in the published tables, marks and claims, and how many items were checked."""
    figures = tuple(figure for table in published.tables() for figure in published.figures(table))
    claims, marks = published.claims(), published.marks()
    return Audit(
        findings=(
            *wrong_means(figures),
            *printed_twice(figures),
            *contradicted(claims, figures),
            *misplaced(marks, figures),
        ),
        checked={
            "mean": len(checkable(figures)),
            "twice": len(repeated(figures)),
            "claim": len(claims),
            "mark": len(marks),
        },
        limits=LIMITS,
    )
