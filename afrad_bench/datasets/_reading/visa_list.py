"""VisA's split list: `split_csv/1cls.csv`, with the columns object, split, label, image, mask."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from afrad_bench.datasets._reading import faults as kinds
from afrad_bench.datasets._reading.faults import Fault
from afrad_bench.datasets._reading.layout import Found, ScanResult, Split, place, scan_result
from afrad_bench.errors import UserError, fail, nearest
from afrad_bench.images.folders import printable, visible

SPLIT_LIST = "split_csv/1cls.csv"
COLUMNS = ("object", "split", "label", "image", "mask")


def original_layout(root: Path, categories: Sequence[str], known: Sequence[str], masks: bool) -> ScanResult:
    """The images in the list, in the order of the categories; normal test images come before anomalous ones."""
    lines = list(_lines(root / SPLIT_LIST))
    contents = list(_read(root, lines, known, masks))
    faults = [one for one in contents if isinstance(one, Fault)]
    found = [one for one in contents if isinstance(one, Found) and one.category in categories]
    found.sort(key=lambda one: (categories.index(one.category), one.split == "test", one.gt_label, one.image.name))
    return scan_result(root, tuple(categories), [*found, *faults])


def missing_list(root: Path, what: str) -> UserError:
    """The error for a root in the original layout without the list of the one-class split. `what`: what a root is."""
    here = [*visible(root), *visible(root / SPLIT_LIST.partition("/")[0])]
    lists = ", ".join(place(one, root) for one in here if one.suffix.lower() == ".csv") or "no list"
    why = "the one-class split, which is used here, is in that list only; the lists 2cls_* are of supervised splits"
    return fail(f"has no {SPLIT_LIST}", printable(root), f"found: {lists}\n{why}\nexpected {what}")


def _lines(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows by column name. Raises `UserError` if it is no list, or lacks columns."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            reader = csv.DictReader(file)
            found = reader.fieldnames or ()
            if missing := [name for name in COLUMNS if name not in found]:
                raise fail(f"lacks the columns {', '.join(missing)}", f"{path}:1", f"found: {', '.join(found)}")
            for row in reader:
                yield reader.line_num, {name: (row[name] or "").strip() for name in COLUMNS}
    except (OSError, csv.Error) as error:
        raise fail(f"cannot be read as a list: {error}", str(path), "unpack it again") from error


def _read(
    root: Path, lines: Sequence[tuple[int, Mapping[str, str]]], known: Sequence[str], masks: bool
) -> Iterator[Found | Fault]:
    seen: dict[str, int] = {}
    for number, row in lines:
        where = f"{SPLIT_LIST}:{number}"
        wrong = _wrong(row, known)
        if wrong:
            yield Fault(kinds.BAD_LINE, where, wrong)
            continue
        image, mask = (PurePosixPath(row[name].replace("\\", "/")) for name in ("image", "mask"))
        defect = "good" if row["label"] == "normal" else "anomaly"
        name = f"{row['object']}/{row['split']}/{defect}/{image.stem}"
        if name in seen:
            yield Fault(kinds.BAD_LINE, where, f"names {image.name} again, after line {seen[name]}")
            continue
        seen[name] = number
        if masks and row["mask"] and mask.stem.removesuffix("_mask") != image.stem:
            yield Fault(kinds.MISPAIRED, where, f"{mask.name} with {image.name}")
        split: Split = "train" if row["split"] == "train" else "test"
        at = root / mask if masks and row["mask"] else None
        yield Found(name, row["object"], split, defect, root / image, at)


def _wrong(row: Mapping[str, str], known: Sequence[str]) -> str:
    """What is wrong with a single row, or an empty string."""
    if row["object"] not in known:
        match = nearest(row["object"], known)
        return f"unknown object {row['object']!r}" + (f" (did you mean {match!r}?)" if match else "")
    if row["split"] not in ("train", "test"):
        return f"split is {row['split']!r}, neither train nor test"
    if row["label"] not in ("normal", "anomaly"):
        return f"label is {row['label']!r}, neither normal nor anomaly"
    if row["split"] == "train" and row["label"] == "anomaly":
        return "an anomalous training image: this is the list of a supervised split"
    if not row["image"]:
        return "no image"
    return ""
