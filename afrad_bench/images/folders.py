"""Folders of images: which files are images, which only look like images, and what can be no part of a data set.

Folders that contain themselves by a link, links that lead nowhere, names that are no text in UTF-8, and folders that
cannot be read are a `UserError`; named pipes and devices are never opened."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from afrad_bench.errors import Problem, UserError, fail

SUFFIXES = frozenset({
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".mpo", ".bmp", ".tif", ".tiff", ".webp", ".gif",
    ".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".avif", ".avifs",
})  # fmt: skip
"""Suffixes of the formats that `decoding` reads, case-insensitive."""
ALIKE = frozenset({
    ".heic", ".heif", ".jxl", ".tga", ".pcx", ".psd", ".xcf", ".svg", ".eps", ".ico", ".icns", ".dds", ".exr", ".hdr",
    ".qoi", ".sgi", ".rgb", ".rgba", ".bw", ".ras", ".xbm", ".xpm", ".wmf", ".emf", ".dib", ".fits", ".fit", ".fts",
    ".dcm", ".dicom", ".nii", ".npy", ".npz", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2",
})  # fmt: skip
"""Suffixes of files that look like images, or hold them, and are not read."""
SHOWN = 20
"""At most this many names are listed; the others are counted."""
NO_IMAGES = frozenset({"thumbs.db", "desktop.ini"})
_STARTS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)


def content(path: Path) -> bytes:
    """The bytes of a file. Raises `OSError`, also for anything that is no regular file: a named pipe never ends."""
    _must_be_regular(path)
    return path.read_bytes()


def printable(path: Path | str) -> str:
    """The path for messages: bytes that are no text in UTF-8, and characters that control a terminal, as escapes."""
    unusual = "surrogateescape" if os.name == "posix" else "backslashreplace"
    text = str(path).encode(errors=unusual).decode(errors="backslashreplace")
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def is_text(name: str) -> bool:
    """Whether a name is text in UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def visible(folder: Path) -> list[Path]:
    """Entries of a folder that are not hidden, sorted by name; none if there is no such folder."""
    if not _is_folder(folder):
        if folder.is_symlink():
            raise _nowhere(folder)
        return []
    try:
        entries = [one for one in folder.iterdir() if not one.name.startswith(".") and one.name != "__MACOSX"]
    except OSError as error:
        raise _unreadable(folder, error) from error
    return sorted(entries, key=lambda one: one.name)


def subfolders(folder: Path) -> list[Path]:
    """Visible folders in a folder, sorted by name."""
    found = []
    for one in visible(folder):
        if _is_folder(one):
            found.append(one)
        elif not _is_image(one) and one.is_symlink() and not one.exists():
            raise _nowhere(one)
    return _named_in_text(found)


def images_in(folder: Path) -> list[Path]:
    """Image files directly in a folder, sorted by name; suffixes are case-insensitive."""
    return _named_in_text([one for one in visible(folder) if _is_image(one) and not _is_folder(one)])


def folders_below(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """The folder and all visible ones below it, links to folders included. `above`: real paths of those around it."""
    here = os.path.realpath(folder)
    if here in above:
        hint = f"remove the link to {printable(here)}"
        raise fail("a folder that contains itself by a link", printable(folder), hint)
    yield folder
    for one in subfolders(folder):
        yield from folders_below(one, (*above, here))


def images_below(folder: Path) -> Iterator[Path]:
    """Image files in a folder and in all folders below it."""
    for one in folders_below(folder):
        yield from images_in(one)


def left_out_in(folder: Path) -> list[Path]:
    """Files directly in a folder that look like images, by suffix or by how they begin, and are not read."""
    return [one for one in visible(folder) if not _is_image(one) and not _is_folder(one) and _looks_like_image(one)]


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _looks_like_image(path: Path) -> bool:
    if path.suffix.lower() in ALIKE:
        return True
    if path.name.lower() in NO_IMAGES:
        return False
    try:
        _must_be_regular(path)
        with path.open("rb") as file:
            start = file.read(16)
    except OSError:
        return False  # no file, or not ours to read: nothing says that it is an image
    return (
        start.startswith(_STARTS)
        or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")
        or (start[:2] == b"BM" and start[6:10] == bytes(4))
        or start[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1")
        or re.match(rb"P[1-6]\s+(\d|#)", start) is not None
    )


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise _unreadable(path, error) from error


def _must_be_regular(path: Path) -> None:
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    kind = {stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}.get(stat.S_IFMT(mode), "a device")
    raise OSError(errno.EINVAL, f"{kind}, not a file", str(path))


def _named_in_text(paths: list[Path]) -> list[Path]:
    if wrong := [printable(path.name) for path in paths if not is_text(path.name)]:
        names = "\n".join([*wrong[:SHOWN], *([f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else [])])
        where, hint = printable(paths[0].parent), f"{names}\nrename them"
        raise UserError(Problem(f"names that are no text in UTF-8 ({len(wrong)})", where, hint))
    return paths


def _nowhere(path: Path) -> UserError:
    return fail("a link that leads nowhere, or to itself", printable(path), "remove or correct the link")


def _unreadable(path: Path, error: OSError) -> UserError:
    return fail(f"cannot be read: {error.strerror or error}", printable(path))
