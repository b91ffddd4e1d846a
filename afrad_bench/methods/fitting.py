"""Shared code of methods that train: random numbers that depend on (seed, epoch) only, and a state to resume from.

The order and noise of an epoch are seeded with its number, so an epoch is the same in an uninterrupted and in a resumed
fit. To resume, the state at the end of an epoch is enough."""

from __future__ import annotations

import copy
import math
import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from afrad_bench import writing
from afrad_bench.errors import fail
from afrad_bench.hashing import seed_for
from afrad_bench.methods.training_step import Step
from afrad_bench.types import Bench, Stopped, TrainingRecord

CHECKPOINT_SECONDS = 10.0
"""A checkpoint is written at the end of an epoch if the last one is older than this."""


class Stateful(Protocol):
    """An object with a state dict: a module, an optimizer, a schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any: ...


def batches(bench: Bench, count: int, size: int, epoch: int) -> tuple[Tensor, ...]:
    """Indices of `count` images in the order of this epoch, `size` at a time; the last batch may be smaller."""
    order = torch.Generator().manual_seed(seed_for(bench.seeds.order, "epoch", epoch))
    return torch.randperm(count, generator=order).split(size)


@contextmanager
def draws_of(bench: Bench, *names: object) -> Iterator[None]:
    """Inside, torch's default generators (dropout, noise, initial values) are seeded with `bench.seeds.init` and these
    names; afterwards their states are restored."""
    device = torch.device(bench.device)
    own = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(own, device_type="cuda" if device.type == "cpu" else device.type):
        torch.manual_seed(seed_for(bench.seeds.init, *names))
        yield


def noise_of(bench: Bench, *names: object) -> torch.Generator:
    """A generator on the bench's device, seeded with `bench.seeds.init` and these names. Each type of device has its
    own sequence of numbers."""
    return torch.Generator(bench.device).manual_seed(seed_for(bench.seeds.init, *names))


def adamw(parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; on CUDA in one kernel for all parameters, which differs from the plain one by rounding."""
    parameters = list(parameters)
    fused = all(parameter.is_cuda for parameter in parameters)
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay, fused=fused or None)


def mean_loss(steps: Iterable[tuple[Tensor, int]], count: int) -> float:
    """Mean over `count` images of the losses of steps with so many images each. The sum stays on the device until all
    steps are done, so that none of them waits for it."""
    total = None
    for loss, images in steps:
        # float64 as in Python, which Metal lacks
        weighted = (loss if loss.device.type == "mps" else loss.double()) * images
        total = weighted if total is None else total + weighted
    return 0.0 if total is None else float(total) / count


def must_be_finite(loss: float, epoch: int) -> None:
    """Raise `FloatingPointError` if the loss of an epoch (counted from 0) is not finite."""
    if not math.isfinite(loss):
        raise FloatingPointError(f"the training loss became {loss} in epoch {epoch + 1}")


def jittered(features: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """UniAD's feature jitter: normal noise with standard deviation scale·|f|/C on each token f of (B, C, h, w); from a
    generator on the device of the features."""
    noise = torch.randn(features.shape, generator=generator, dtype=features.dtype, device=features.device)
    deviation = features.norm(dim=1, keepdim=True) * (scale / features.shape[1])
    return features + noise * deviation


def stepped(
    loss: Tensor, optimizer: torch.optim.Optimizer, clip: float | None = None, set_to_none: bool = True
) -> Tensor:
    """One optimizer step on this loss, with the norm of all gradients clipped to `clip`; returns the loss, detached.

    It does not wait for the device. `set_to_none`: False leaves a gradient of 0 to a parameter that had one before and
    is not used now, so that its moments and its weight decay go on, as torch did before version 2; not with a captured
    step (`prepared`), whose gradients are replayed into the memory of those before."""
    optimizer.zero_grad(set_to_none=set_to_none)
    loss.backward()
    if clip is not None:
        torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    optimizer.step()
    return loss.detach()


def prepared(net: nn.Module, loss: Callable[..., Tensor], how: Step, device: str) -> Callable[..., Tensor]:
    """`loss`, a function of tensors that calls `net` in training mode, computed as `how` says.

    A compiled one and a graph are made at the first call, for the shapes of its tensors; with other shapes, as of a
    last, smaller batch, `loss` itself is called. Raises `UserError` then if torch cannot compile it."""
    return loss if how == "eager" else _OfOneShape(net, loss, how, device)


class _OfOneShape:
    """A loss that is compiled or captured at its first call."""

    def __init__(self, net: nn.Module, loss: Callable[..., Tensor], how: Step, device: str) -> None:
        self._net, self._loss, self._how, self._device = net, loss, how, device
        self._made: Callable[..., Tensor] | None = None
        self._shapes: list[torch.Size] = []

    def __call__(self, *given: Tensor) -> Tensor:
        shapes = [one.shape for one in given]
        if self._made is None:
            self._shapes = shapes
            self._made = self._captured(given) if self._how == "graph" else self._compiled()
        return self._made(*given) if shapes == self._shapes else self._loss(*given)

    def _compiled(self) -> Callable[..., Tensor]:
        from torch._dynamo.exc import TorchDynamoException

        # Inductor would draw numbers of its own, for dropout.
        made = torch.compile(self._loss, dynamic=False, options={"fallback_random": True})

        def called(*given: Tensor) -> Tensor:
            try:
                return made(*given)
            except TorchDynamoException as error:
                first = str(error).strip().partition("\n")[0]
                raise fail(f"training.step: torch cannot compile the step: {first}", hint="set it to eager") from error

        return called

    def _captured(self, given: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        """Forward and backward pass as CUDA graphs. The passes before the capture leave no trace in the network, and in
        the generator none either: what follows draws as it would without them, also after a resumption."""
        buffers = [buffer.clone() for buffer in self._net.buffers()]
        sample = tuple(one.detach().clone() for one in given)
        card = torch.device(self._device).index or 0
        # The device is named since torch would capture a stream of the current one.
        with torch.cuda.device(self._device), torch.random.fork_rng([card], device_type="cuda"):
            made = torch.cuda.make_graphed_callables(
                _Loss(self._net, self._loss).train(), sample, allow_unused_input=True
            )
        with torch.no_grad():
            for buffer, before in zip(self._net.buffers(), buffers, strict=True):
                buffer.copy_(before)
        return cast("Callable[..., Tensor]", made)


class _Loss(nn.Module):
    """A loss as a module, so that the parameters on which it depends are known."""

    def __init__(self, net: nn.Module, loss: Callable[..., Tensor]) -> None:
        super().__init__()
        self.net = net
        self._loss = loss

    def forward(self, *given: Tensor) -> Tensor:
        return self._loss(*given)


def beforehand(bench: Bench, name: str) -> Bench:
    """The bench of a training before the method's own, of a teacher for instance: it has a checkpoint of its own, which
    is deleted with the method's, and is not stopped early."""
    own = bench.checkpoint and bench.checkpoint.with_name(f".{bench.checkpoint.name}.{name}")
    return replace(bench, checkpoint=own, should_continue=None)


def rate_factor(kind: str, epoch: int, epochs: int) -> float:
    """Learning rate of `epoch` (from 0) divided by the initial one."""
    if kind == "step":
        return 0.1 if epoch >= 0.8 * epochs else 1.0
    if kind == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
    return 1.0


class Checkpoint:
    """The state of one fit in a file: everything in `parts`, and the mean loss of each epoch so far."""

    def __init__(self, path: Path | None, identity: str, parts: Mapping[str, Stateful]) -> None:
        """`identity` is a canonical description of the fit; a file with another identity is ignored. No path: nothing
        is saved."""
        self._path = path
        self._identity = identity
        self._parts = parts
        self._saved = time.monotonic()
        self.notes: tuple[str, ...] = ()
        """Notes for the training record: that a checkpoint could not be used."""

    def resume(self) -> list[float]:
        """Load the saved state of the same fit, if there is one; returns the loss of each epoch that it holds.

        If the file is damaged or belongs to another fit, training starts from the beginning, and `notes` say so."""
        if self._path is None or not self._path.is_file():
            return []
        before = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts.items()}
        try:
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            if state["identity"] != self._identity:
                self.notes = ("the checkpoint was one of another fit: the training began anew",)
                return []
            loss = [float(value) for value in state["loss"]]
            for name, part in self._parts.items():
                part.load_state_dict(state["parts"][name])
        except (
            pickle.UnpicklingError,
            OSError,
            RuntimeError,
            EOFError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
        ):
            for name, part in self._parts.items():
                part.load_state_dict(before[name])
            self.notes = ("the checkpoint was damaged: the training began anew",)
            return []
        return loss

    def epoch_done(self, history: list[float]) -> None:
        """Write the state if the last one is older than `CHECKPOINT_SECONDS`. Readers see all of it or nothing. Raises
        `DiskFull`."""
        if self._path is None or time.monotonic() - self._saved < CHECKPOINT_SECONDS:
            return
        parts = {name: part.state_dict() for name, part in self._parts.items()}
        with writing.replacing(self._path, writing.CACHE) as scratch:
            torch.save({"identity": self._identity, "parts": parts, "loss": history}, scratch)
        self._saved = time.monotonic()


def train_epochs(
    bench: Bench,
    checkpoint: Checkpoint,
    epochs: int,
    count: int,
    net: nn.Module,
    one_epoch: Callable[[int], float],
    notes: tuple[str, ...] = (),
) -> TrainingRecord:
    """Train `net` from where the checkpoint left off; `one_epoch` runs epoch 0, 1, ... and returns its mean loss.

    After each epoch the loss is checked, progress is reported, the state is saved, and `bench.should_continue` is
    called (not after the last epoch). `count`: training images per epoch. `net` is in training mode in `one_epoch` and
    in eval mode everywhere else. Raises `FloatingPointError` if a loss is not finite, and `Stopped` if
    `bench.should_continue` returns False."""
    history = checkpoint.resume()
    resumed_at, notes = len(history), (*notes, *checkpoint.notes)
    bench.watch(resumed_at, epochs, "training")

    def so_far() -> TrainingRecord:
        return TrainingRecord(len(history), len(history) * count, tuple(history), resumed_at, notes)

    for epoch in range(resumed_at, epochs):
        net.train()
        history.append(one_epoch(epoch))
        net.eval()
        must_be_finite(history[-1], epoch)
        bench.watch(epoch + 1, epochs, "training", history[-1])
        checkpoint.epoch_done(history)
        if bench.should_continue is not None and epoch + 1 < epochs and not bench.should_continue(so_far()):
            raise Stopped(so_far())
    net.eval()
    return so_far()
