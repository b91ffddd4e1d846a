"""Exit codes of the command line."""

from __future__ import annotations

REGRESSION = 1
USER = 2
"""Something that the user can fix."""
FAILED_CELLS = 3
CANNOT_TELL = 3
"""The gate cannot tell whether it got worse, or could not measure it."""
DEFECT = 70
"""A defect of this program; 1, Python's own code of a crash, is that of a regression."""
INTERRUPTED = 130
