"""The training step as a field: compiled and captured steps learn what eager ones learn, or are refused in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from afrad_bench import registry
from afrad_bench.errors import UserError
from afrad_bench.methods import fitting
from afrad_bench.methods.training_step import must_step
from afrad_bench.testing import small_images
from tests.adapters import bench_at

BATCHES = [torch.linspace(-1, 1, 6 * n).reshape(n, 6).sin() for n in (4, 4, 4, 2)]
"""The last one is smaller."""


class Tiny(nn.Module):
    """A batch norm and a dropout, which an additional pass or other draws would change."""

    def __init__(self) -> None:
        super().__init__()
        # without a bias, whose gradient would be rounding alone before a batch norm
        self.first, self.norm, self.last = nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 6)

    def forward(self, values: Tensor) -> Tensor:
        hidden = nn.functional.dropout(self.norm(self.first(values)).relu(), 0.3, self.training)
        out: Tensor = self.last(hidden)
        return out


def trained(how: Any, device: str = "cpu") -> tuple[list[float], dict[str, Tensor]]:
    """Losses of two epochs, and the state afterwards."""
    torch.manual_seed(3)
    net = Tiny().train()
    optimizer = torch.optim.AdamW(net.parameters(), 1e-2)
    loss_of = fitting.prepared(net, lambda given: (net(given) - given).square().mean(), how, device)
    torch.manual_seed(4)
    losses = [float(fitting.stepped(loss_of(batch), optimizer)) for _ in range(2) for batch in BATCHES]
    return losses, net.state_dict()


def test_a_compiled_step_learns_what_an_eager_one_learns() -> None:
    """By the default backend, with its C++ compiler."""
    losses, state = trained("eager")
    with inductor.patch({"compile_threads": 1}):  # no processes that compile ahead
        compiled, after = trained("compile")
    assert compiled == pytest.approx(losses, rel=1e-4)
    assert len(set(losses)) == len(losses)
    for name, values in state.items():
        assert torch.allclose(after[name].float(), values.float(), rtol=1e-3, atol=1e-5), name


class Cards:
    """Two cards: a capture runs the network a few times, and is one of the current card."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.current = 0
        self.captured: list[int] = []
        self.replays = 0
        monkeypatch.setattr(torch.cuda, "device", self.device)
        monkeypatch.setattr(torch.cuda, "make_graphed_callables", self.make_graphed_callables)
        monkeypatch.setattr(torch.cuda, "get_rng_state", self.state_of)
        monkeypatch.setattr(torch.cuda, "set_rng_state", self.set_state_of)

    def state_of(self, card: int) -> tuple[int, Tensor]:
        """The network draws from the generator of the CPU, in place of the card's."""
        assert card == self.current
        return card, torch.get_rng_state()

    def set_state_of(self, state: tuple[int, Tensor], card: int) -> None:
        assert (card, card) == (self.current, state[0])
        torch.set_rng_state(state[1])

    @contextmanager
    def device(self, device: str) -> Iterator[None]:
        before, self.current = self.current, int(device.rpartition(":")[2])
        yield
        self.current = before

    def make_graphed_callables(
        self, net: nn.Module, sample: tuple[Tensor, ...], allow_unused_input: bool
    ) -> Callable[..., Tensor]:
        assert net.training
        assert dict(net.named_parameters()), "a graph has gradients only of what is a parameter of its module"
        self.captured.append(self.current)
        held = [one.clone() for one in sample]
        for _ in range(3):
            net(*held)

        def replayed(*given: Tensor) -> Tensor:
            assert [one.shape for one in given] == [one.shape for one in held]
            for mine, fresh in zip(held, given, strict=True):
                mine.copy_(fresh)
            self.replays += 1
            out: Tensor = net(*held)
            return out

        return replayed


@pytest.mark.parametrize("card", [0, 1])
def test_a_graph_is_captured_on_its_card_and_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, card: int) -> None:
    losses, state = trained("eager")
    cards = Cards(monkeypatch)
    replayed, after = trained("graph", f"cuda:{card}")
    assert cards.captured == [card]
    assert cards.replays == 6  # the two smaller batches are eager
    assert replayed == losses  # the passes before the capture drew nothing
    for name, values in state.items():
        assert torch.equal(after[name], values), name  # the passes before the capture moved no batch norm


def with_step(method: str, step: str) -> Any:
    given = {"epochs": 1, "batch_size": 4, "step": step}
    config = {"backbone": {"name": "resnet18", "weights": "random"}, "training": given}
    return registry.find("method", method).load().Config.model_validate(config)


METHODS = ["afrad", "uniad", "rd4ad", "simplenet"]


@pytest.mark.parametrize("method", METHODS)
def test_what_a_machine_cannot_do_is_said_before_training(method: str) -> None:
    with pytest.raises(UserError, match=r"training.step: graph needs a CUDA device, this is cpu"):
        must_step(with_step(method, "graph"), "cpu")
    must_step(with_step(method, "graph"), "cuda:1")
    none = pytest.raises(UserError, match=r"needs a C\+\+ compiler, and none was found\n.*set training.step: eager")
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}), none:
        must_step(with_step(method, "compile"), "cpu")
    must_step(with_step(method, "eager"), "cpu")
    assert "step" not in with_step(method, "eager").model_dump()["training"]  # cells stored before stay what they are
    assert with_step(method, "compile").model_dump()["training"]["step"] == "compile"


@pytest.mark.parametrize("method", METHODS)
def test_methods_train_by_the_step_that_they_are_given(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compile_(function: Any, **options: Any) -> Any:
        assert options == {"dynamic": False, "options": {"fallback_random": True}}

        def called(*given: Tensor) -> Any:
            compiled.append(given)
            return function(*given)

        return called

    monkeypatch.setattr(torch, "compile", compile_)
    side = 128 if method == "uniad" else 64
    method_of = registry.find("method", method).load().build(with_step(method, "compile"), bench_at(side))
    assert method_of.fit(small_images(10, side, 0)).epochs == 1
    assert len(compiled) == 2  # the last of three batches is smaller


def test_a_step_that_cannot_be_compiled_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def refused(*given: Tensor) -> Any:
        raise TorchDynamoException("no such operator\nand much more")

    monkeypatch.setattr(torch, "compile", lambda function, **options: refused)
    with pytest.raises(UserError, match=r"torch cannot compile the step: no such operator\n  set it to eager"):
        trained("compile")
