"""Make or read what the next steps of a training need while the current one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from afrad_bench.machine.copying import moved
from afrad_bench.types import Images

Given = TypeVar("Given")
Made = TypeVar("Made")

THREADS = 8
"""Most threads that make images for a card: they share Python's interpreter lock, so that more add little."""


def ahead(make: Callable[[Given], Made], items: Iterable[Given], device: str) -> Iterator[Made]:
    """`make` of each item in order, while threads already make those of the next items.

    One thread if the device is the CPU, whose cores train meanwhile; else up to `THREADS`, since a card may take less
    time for a step than a thread for its images."""
    threads = 1 if device == "cpu" else min(THREADS, torch.get_num_threads())
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for coming in waiting:
                coming.cancel()


def images_ahead(images: Images, order: Iterable[Tensor], device: str) -> Iterator[Tensor]:
    """The images of each batch, given by their indices: (B, 3, H, W) in [0, 1], on the device."""
    read = ahead(lambda indices: images.subset(indices.tolist()).array(), order, device)
    return (moved(torch.from_numpy(pixels), device) for pixels in read)
