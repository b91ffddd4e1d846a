"""Paths without the name of the user, so that results can be shown to others."""

from __future__ import annotations

import getpass
import re
from pathlib import Path

_USER = "$USER"


def shortened(text: str) -> str:
    """A path, or a text with paths such as a traceback: `~` for the home folder, `$USER` for folders of that name."""
    home, user = _home(), _user()
    if home:
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    if user:
        text = re.sub(rf"(?<=[/\\]){re.escape(user)}(?![\w.-])", lambda _: _USER, text)
    return text


def expanded(path: str) -> str:
    """The path that was shortened; it is another one for another user."""
    home, user = _home(), _user()
    if home and (path == "~" or path[:2] in ("~/", "~\\")):
        path = home + path[1:]
    return path.replace(_USER, user) if user else path


def _home() -> str:
    """The home folder; empty for the file system's root and without one."""
    try:
        home = Path.home()
    except RuntimeError:
        return ""
    return "" if home == Path(home.anchor) else str(home)


def _user() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # a number without a name
        return ""
