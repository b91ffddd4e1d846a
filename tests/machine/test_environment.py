"""What `doctor` says of the machine's devices."""

from __future__ import annotations

import pytest

from afrad_bench.errors import UserError
from afrad_bench.machine import environment


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with a driver, but no card that torch finds."""
    monkeypatch.setattr(environment, "_accelerator_possible", lambda: True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    return monkeypatch


def with_cards(machine: pytest.MonkeyPatch, count: int) -> None:
    machine.setattr("torch.cuda.is_available", lambda: True)
    machine.setattr("torch.cuda.device_count", lambda: count)
    machine.setattr("torch.cuda.get_device_name", lambda device: f"Card {device}")
    machine.setattr("torch.cuda.mem_get_info", lambda device: (3 * 2**30, 4 * 2**30))
    machine.setattr(environment, "_of_cuda", lambda device: {"cuda": "12.4", "nvidia driver": "550.1"})


def test_it_says_why_auto_takes_the_cpu(machine: pytest.MonkeyPatch) -> None:
    machine.setattr("torch.backends.cuda.is_built", lambda: True)
    assert "torch finds no card" in environment.why_auto()
    machine.setattr("torch.backends.cuda.is_built", lambda: False)
    assert "is built without CUDA, although a driver is here" in environment.why_auto()
    machine.setattr(environment, "_accelerator_possible", lambda: False)
    assert environment.why_auto().startswith("auto: no driver of an accelerator is here (none of /dev/nvidiactl")
    assert environment.cards() == {}


def test_a_card_that_others_have_filled_is_listed_all_the_same(machine: pytest.MonkeyPatch) -> None:
    def full(device: str) -> tuple[int, int]:
        if device == "cuda:0":
            raise RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be reported later")
        return 3 * 2**30, 4 * 2**30

    with_cards(machine, 2)
    machine.setattr("torch.cuda.mem_get_info", full)
    first, second = environment.cards().values()
    assert first == "Card cuda:0, cannot be used now: CUDA error: out of memory, cuda 12.4, nvidia driver 550.1"
    assert "3.0 free" in second


@pytest.mark.parametrize(("wanted", "found"), [("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda:01", "cuda:1")])
def test_a_card_has_one_name(machine: pytest.MonkeyPatch, wanted: str, found: str) -> None:
    with_cards(machine, 2)
    assert environment.resolve_device(wanted) == found


@pytest.mark.parametrize("wanted", ["cuda:2", "cuda:x", "cuda:\u00b9", "cuda:-1", "gpu"])
def test_a_card_that_is_not_there_is_named_with_those_that_are(machine: pytest.MonkeyPatch, wanted: str) -> None:
    with_cards(machine, 2)
    with pytest.raises(UserError, match=r"found: cpu, cuda:0, cuda:1$"):
        environment.resolve_device(wanted)


def test_it_lists_all_cards(machine: pytest.MonkeyPatch) -> None:
    assert environment.cards() == {}
    with_cards(machine, 2)
    assert environment.why_auto() == "auto: the first of 2 cards; --devices auto uses all"
    about = "4.0 GiB, 3.0 free, cuda 12.4, nvidia driver 550.1"
    assert environment.cards() == {f"cuda:{i}": f"Card cuda:{i}, {about}" for i in (0, 1)}
    with_cards(machine, 1)
    assert environment.why_auto() == "auto: the only card"
