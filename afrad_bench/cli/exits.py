"""Exit codes of the command line."""

from __future__ import annotations

REGRESSION = 1
DIFFERS = 1
"""A method does not compute on a device what it computes on the CPU (`doctor --check-device`)."""
USER = 2
"""An error that the user can fix."""
FAILED_CELLS = 3
CANNOT_TELL = 3
"""The gate cannot tell whether NEW is worse, or a number could not be measured."""
DEFECT = 70
"""A bug in this program. Python's own exit code of a crash, 1, means a regression here."""
INTERRUPTED = 130
