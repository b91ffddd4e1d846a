"""Errors that a user can fix: where, what is wrong, the nearest known name, what to do.

`UserError` is the only exception that the command line prints as a message. Any other exception is a bug and keeps its
traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

MANY = 60
"""An error lists at most this many known names; if there are more, it lists only the nearest ones."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that the user can fix. `where` is `file:line`, a path, or an option; `hint` says what to do."""

    what: str
    where: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return text + "".join(f"\n  {line}" for line in (self.hint or "").splitlines())


class UserError(Exception):
    """One or more problems that the user can fix, reported together. The command line prints them and exits with 2."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("a UserError needs at least one problem")
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems

    def __reduce__(self) -> tuple[type[UserError], tuple[Problem, ...]]:
        return type(self), self.problems


def fail(what: str, where: str | None = None, hint: str | None = None) -> UserError:
    """Make a `UserError` with a single problem; the caller raises it."""
    return UserError(Problem(what, where, hint))


def shortened(text: str, length: int = 80) -> str:
    """The text, cut to this many characters for an error."""
    return text if len(text) <= length else text[: length - 1] + "…"


def first_line(text: str) -> str:
    """The first line of a text, cut to 200 characters."""
    return shortened(text.strip().partition("\n")[0], 200)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to `name`, ignoring case, or None if none is similar enough."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    found = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[found[0]] if found else None


def unknown(kind: str, name: str, known: Iterable[str], where: str | None = None) -> Problem:
    """The problem for an unknown name, with the nearest known name.

    >>> print(unknown("method", "pathcore", ["afrad", "patchcore"], "suites/x.yaml:14"))
    suites/x.yaml:14: unknown method 'pathcore' (did you mean 'patchcore'?)
      known: afrad, patchcore
    >>> print(unknown("row", "AFRAD, old", ["AFRAD, printed", "AFRAD"]))
    unknown row 'AFRAD, old' (did you mean 'AFRAD, printed'?)
      known: AFRAD; AFRAD, printed
    """
    names = sorted(known)
    match = nearest(name, names)
    what = f"unknown {kind} {shortened(name)!r}" + (f" (did you mean {match!r}?)" if match else "")
    if len(names) > MANY:
        near = difflib.get_close_matches(name.casefold(), names, n=8, cutoff=0.5)
        return Problem(what, where, f"near: {', '.join(near) if near else 'none'} ({len(names)} are known)")
    between = "; " if any("," in each for each in names) else ", "
    return Problem(what, where, f"known: {between.join(map(shortened, names)) if names else 'none'}")
