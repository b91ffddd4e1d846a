"""Folders: what is an image, what only looks like one, and what would make a reader hang or fail."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from afrad_bench.errors import UserError
from afrad_bench.images.folders import content, images_below, images_in, left_out_in, printable, subfolders
from afrad_bench.images.pictures import FileIndex, FilePicture

posix = pytest.mark.skipif(os.name != "posix", reason="of POSIX")


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), 9, dtype=np.uint8)).save(path)
    return path


def test_what_looks_like_an_image_is_told_from_what_does_not(tmp_path: Path) -> None:
    image = picture(tmp_path / "a.png")
    for name in ("b", "c.bak", "d.001"):
        (tmp_path / name).write_bytes(image.read_bytes())
    Image.open(image).save(tmp_path / "e.dat", "WEBP")
    for name in ("f.HEIC", "g.tga", "h.npy"):
        (tmp_path / name).write_bytes(b"whatever")
    for name in ("Thumbs.db", ".hidden", "readme", "list.csv", "P5 notes", "BMW.txt"):
        (tmp_path / name).write_text("Python scripts, P5 and more\n")
    assert images_in(tmp_path) == [image]
    assert [one.name for one in left_out_in(tmp_path)] == ["b", "c.bak", "d.001", "e.dat", "f.HEIC", "g.tga", "h.npy"]


@posix
def test_pipes_sockets_and_devices_are_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    where = os.getcwd()
    os.chdir(tmp_path)  # the path of a socket must be short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("socket.png")
            found = FileIndex().facts([tmp_path / f"{name}.png" for name in ("pipe", "socket", "device")])
    finally:
        os.chdir(where)
    assert [one.error for one in found] == ["a named pipe, not a file", "a socket, not a file", "a device, not a file"]
    assert left_out_in(tmp_path) == []
    with pytest.raises(UserError, match=r"pipe.png: cannot be read as an image: a named pipe"):
        FilePicture(tmp_path / "pipe.png", "").read()
    with pytest.raises(OSError, match="a named pipe"):
        content(tmp_path / "pipe")


@posix
@pytest.mark.parametrize(("link", "to"), [("a/self", "."), ("a/up", ".."), ("a/b/far", "../../..")])
def test_folders_that_contain_themselves_are_named(tmp_path: Path, link: str, to: str) -> None:
    root = tmp_path / "root"
    picture(root / "a" / "b" / "x.png")
    (root / link).symlink_to(to, target_is_directory=True)
    with pytest.raises(UserError, match=r"contains itself by a link(.|\n)*remove the link to"):
        list(images_below(root))


@posix
def test_folders_that_contain_each_other_are_named(tmp_path: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        picture(tmp_path / one / "x.png")
        (tmp_path / one / "link").symlink_to(f"../{other}", target_is_directory=True)
    with pytest.raises(UserError, match="contains itself by a link"):
        list(images_below(tmp_path))


@posix
def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """The same folder twice is no circle."""
    picture(tmp_path / "elsewhere" / "x.png")
    for name in ("one", "two"):
        (tmp_path / "root").mkdir(exist_ok=True)
        (tmp_path / "root" / name).symlink_to("../elsewhere", target_is_directory=True)
    found = [path.relative_to(tmp_path).as_posix() for path in images_below(tmp_path / "root")]
    assert found == ["root/one/x.png", "root/two/x.png"]


@posix
@pytest.mark.parametrize("to", ["nowhere", "crack"])
def test_links_that_lead_nowhere_are_named(tmp_path: Path, to: str) -> None:
    (tmp_path / "crack").symlink_to(to)
    with pytest.raises(UserError, match="crack: a link that leads nowhere, or to itself"):
        subfolders(tmp_path)
    with pytest.raises(UserError, match="crack: a link that leads nowhere, or to itself"):
        images_in(tmp_path / "crack")


@posix
def test_names_that_are_no_text_are_named(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path)
    try:
        os.mkdir(raw + b"/\xffolder")
    except OSError:
        pytest.skip("this file system takes text only")
    (tmp_path / "image").mkdir()
    Path(os.fsdecode(raw + b"/image/\xe9.png")).write_bytes(b"")
    with pytest.raises(UserError, match=r"names that are no text in UTF-8 \(1\)\n  \\xffolder\n  rename them"):
        subfolders(tmp_path)
    with pytest.raises(UserError, match=r"image: names that are no text in UTF-8 \(1\)\n  \\xe9.png"):
        images_in(tmp_path / "image")
    assert printable(Path(os.fsdecode(raw + b"/\xff"))) == f"{tmp_path}/\\xff"
    assert FileIndex().facts([Path(os.fsdecode(raw + b"/\xff.png"))])[0].error == "its name is no text in UTF-8"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser reads everything")
def test_folders_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir(mode=0)
    with pytest.raises(UserError, match="secret: cannot be read: Permission denied"):
        images_in(tmp_path / "secret")


def test_names_from_lists_may_be_anything(tmp_path: Path) -> None:
    found = FileIndex().facts([tmp_path / "nu\0ll.png", tmp_path / ("x" * 5000)])
    assert all(one.error for one in found)
