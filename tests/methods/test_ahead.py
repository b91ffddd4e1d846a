"""What threads make for the next steps: in order, as many as are wanted, with errors in their place."""

from __future__ import annotations

from threading import Barrier, BrokenBarrierError
from time import sleep

import pytest
import torch

from afrad_bench.images.sets import ImageArray
from afrad_bench.methods.ahead import THREADS, ahead, images_ahead
from tests.adapters import ruled_images


def test_for_a_card_several_threads_make_images_and_their_order_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    both = Barrier(2)

    def slow_first(item: int) -> int:
        both.wait(timeout=30)  # passed only by two at the same time
        sleep(0.02 * (1 - item % 2))
        return item

    assert list(ahead(slow_first, range(6), "cuda:0")) == list(range(6))
    with pytest.raises(BrokenBarrierError):
        list(ahead(lambda _: both.wait(timeout=0.2), range(4), "cpu"))


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_what_goes_wrong_in_a_thread_is_raised_in_its_place(device: str) -> None:
    made = ahead(lambda item: 6 // item, [3, 2, 0, 1], device)
    assert [next(made), next(made)] == [2, 3]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_images_that_nobody_waits_for_are_not_made() -> None:
    begun: list[int] = []
    made = ahead(begun.append, range(1000), "cuda:0")
    next(made)
    made.close()
    assert len(begun) <= THREADS + 1


def test_images_come_in_the_order_of_their_batches() -> None:
    images = ImageArray(ruled_images(5, 32))
    order = torch.tensor([3, 0, 4, 1, 2]).split(2)
    found = list(images_ahead(images, order, "cpu"))
    assert [len(each) for each in found] == [2, 2, 1]
    assert torch.equal(torch.cat(found), torch.from_numpy(images.pixels[[3, 0, 4, 1, 2]]))
