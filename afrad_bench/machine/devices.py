"""Several devices of one run: `--devices cuda:0,cuda:1`, `auto`, `cpu:4`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from afrad_bench.errors import fail
from afrad_bench.machine.environment import device_type, resolve_device

OPTION = "--devices"
EXAMPLES = "write cuda:0,cuda:1 for two cards, auto for all of them, cpu:4 for four workers on the CPU"
MOST = 1024
"""Workers of one run at most."""


def several(text: str) -> tuple[str, ...]:
    """The devices that a text names, one for each worker. "auto": all CUDA cards, else the device that `--device auto`
    chooses. Raises `UserError` for what is not there, and for devices whose results could not stand side by side."""
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1:
        kind, _, count = names[0].partition(":")
        if kind == "cpu" and count:
            if not (count.isascii() and count.isdigit() and 1 <= int(count) <= MOST):
                raise fail(f"{names[0]!r} names no number of workers from 1 to {MOST}", OPTION, EXAMPLES)
            return ("cpu",) * int(count)
        if kind == "auto":
            return _alike(_all())
    elif any(name in ("", "auto") or name.startswith("cpu") for name in names):
        raise fail(f"{text!r} is no list of cards", OPTION, EXAMPLES)
    found = [resolve_device(name) for name in names]
    twice = [device for i, device in enumerate(found) if device in found[:i]]
    if twice:
        raise fail(f"{twice[0]} is named twice; a card has one worker", OPTION)
    return _alike(found)


@contextmanager
def made_current(device: str) -> Iterator[None]:
    """Inside, a CUDA device is torch's current one: code that names none, as `.cuda()` of an official implementation,
    means it and not the first card, where another worker may be. Nothing on other devices."""
    if device_type(device) != "cuda":
        yield
        return
    import torch

    with torch.cuda.device(device):
        yield


def _all() -> list[str]:
    first = resolve_device("auto")
    if device_type(first) != "cuda":
        return [first]
    import torch

    return [f"cuda:{i}" for i in range(torch.cuda.device_count())]


def _alike(devices: Sequence[str]) -> tuple[str, ...]:
    """These devices, if they are of one type and name: the name of the device is a term of results."""
    if len({device_type(device) for device in devices}) > 1:
        raise fail(f"{', '.join(devices)} are of several types", OPTION, "run on each type by itself")
    if device_type(devices[0]) == "cuda" and len(devices) > 1:
        import torch

        names = {device: torch.cuda.get_device_name(device) for device in devices}
        if len(set(names.values())) > 1:
            told = ", ".join(f"{device} is {name}" for device, name in names.items())
            hint = "name cards of one kind: results of another kind are another measurement"
            raise fail(f"the cards differ: {told}", OPTION, hint)
    return tuple(devices)
