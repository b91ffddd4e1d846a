"""One session: fit every method, prepare it in every mode and batch, take turns, and note what the machine says."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from afrad_bench import registry
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.instruments.clock import clock_for, pinned_threads
from afrad_bench.instruments.kernels import CALLS, NotRecorded, recorded
from afrad_bench.latency.entrants import Entrant
from afrad_bench.latency.machine import Readings, gauges_for, settings
from afrad_bench.latency.modes import Mode
from afrad_bench.latency.rounds import Length, Turns, take_turns
from afrad_bench.latency.samples import Session, Timed
from afrad_bench.machine.arithmetic import refused
from afrad_bench.machine.environment import Environment, device_type
from afrad_bench.machine.load import LoadWatch
from afrad_bench.methods.recipes import Undeclared, differences
from afrad_bench.running.build import build
from afrad_bench.store import new_run_id
from afrad_bench.types import Method, Watch, unwatched

READINGS = 10
"""Times at which the machine is asked during the rounds."""
RECORDED_SECONDS = 2.0
"""Kernels of a call are recorded for about so long; a call that takes longer has too many of them."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is timed, as one of the turns."""

    label: str
    mode: str
    batch: int


@dataclass
class Prepared:
    """The calls that are ready to be timed, what is known of them, and why others are not."""

    calls: dict[Key, Callable[[], object]] = field(default_factory=dict)
    facts: dict[Key, dict[str, Any]] = field(default_factory=dict)
    errors: dict[Key, str] = field(default_factory=dict)


def measure(
    entrants: Sequence[Entrant],
    modes: Sequence[Mode],
    batches: Sequence[int],
    environment: Environment,
    features: FeatureCache,
    length: Length,
    about: dict[str, Any],
    tell: Callable[[str], object],
    watch: Watch = unwatched,
) -> Session:
    """Time every entrant in every mode and batch size, in turns. `about` joins the terms of the session; `tell`
    receives a line before each long step, `watch` the progress of the fits; neither while rounds are timed.

    On CUDA, the kernels of each call are recorded after the last round. This may slow the process down for good: time
    nothing in it afterwards.

    A method that cannot be fitted, prepared or called fails alone: its line holds the reason."""
    import torch

    started, device = datetime.now(timezone.utc), environment.device
    torch.set_num_threads(environment.threads)
    clock, machine = clock_for(device), Readings(gauges_for(device))
    ready = Prepared()
    for one in entrants:
        tell(f"fit and prepare {one.label}")
        _prepare(one, modes, batches, environment, features, watch, ready)
    keys = [Key(one.label, mode.name, batch) for batch in batches for mode in modes for one in entrants]
    ordered = {key: ready.calls[key] for key in keys if key in ready.calls}
    every = max(1, length.rounds // READINGS)

    def before(done: int) -> None:
        if done % every == 0:
            machine.read()

    tell(f"warm up, then {length.rounds} rounds of {len(ordered)} calls, for at most {length.seconds:g} s")
    load = LoadWatch()
    with pinned_threads(environment.threads):
        turns: Turns[Key] = take_turns(ordered, clock, length, before)
    doubts = load.load(wait=True).doubts
    machine.read()
    if device_type(device) == "cuda":
        for key in turns.times:
            tell(f"record the kernels of {key.label}, {key.mode}, batch {key.batch}")
            ready.facts[key] |= _kernels(ordered[key], statistics.median(turns.times[key]), device)
    errors = ready.errors | {key: _told(error) for key, error in turns.failed.items()}
    by_label = {one.label: one for one in entrants}
    return Session(
        id=new_run_id(),
        started_at=started,
        device=device,
        device_name=environment.device_name,
        threads=environment.threads,
        image_size=entrants[0].cell.image_size,
        terms={
            **about,
            "clock": clock.name,
            "settings": settings(device),
            "readings": machine.summary(),
            "doubts": list(doubts),
            "rounds": length.rounds,
            "code_version": environment.code_version,
            "git_revision": environment.git_revision,
            "packages": environment.packages,
            "platform": environment.platform,
        },
        timed=tuple(
            _timed(key, by_label[key.label], turns, ready.facts.get(key, {}), errors.get(key, "")) for key in keys
        ),
    )


def _prepare(
    one: Entrant,
    modes: Sequence[Mode],
    batches: Sequence[int],
    environment: Environment,
    features: FeatureCache,
    watch: Watch,
    ready: Prepared,
) -> None:
    """Fit a method and prepare its call in every mode and batch size; what fails is noted in `ready.errors`."""
    keys = {Key(one.label, mode.name, batch): (mode, batch) for mode in modes for batch in batches}
    try:
        method, images, known = _fitted(one, environment.device, features, watch)
    except Exception as error:  # noqa: BLE001 - a method may fail in any way; the others go on, its lines say how
        ready.errors |= dict.fromkeys(keys, _told(error))
        return
    for key, (mode, batch) in keys.items():
        try:
            with pinned_threads(environment.threads):
                ready.calls[key], found = _prepared(method, images, environment.device, mode, batch)
        except Exception as error:  # noqa: BLE001 - as above
            ready.errors[key] = _told(error)
            continue
        ready.facts[key] = {**known, **found, "clock": clock_for(environment.device).name}


def _timed(key: Key, one: Entrant, turns: Turns[Key], facts: dict[str, Any], error: str) -> Timed:
    cell = one.cell
    columns = {
        "cell_id": cell.id,
        "dataset": cell.dataset,
        "setting": cell.setting,
        "seed": cell.seed,
        "profile": cell.profile,
        "suite": one.suite,
        "params": cell.params,
    }
    known = {
        **facts,
        "fitted_on": one.fitted_on,
        "published": one.published,
        "backbone": (cell.config.get("backbone") or {}).get("name"),
        "weights": one.weights.label if one.weights else None,
        "random_weights": one.weights is not None and one.weights.path is None,
        "warmup_calls": turns.warmups.get(key),
    }
    times = () if error else tuple(turns.times[key])
    return Timed(one.label, cell.method, key.mode, key.batch, times, known, error, columns)


def _kernels(call: Callable[[], object], median_ms: float, device: str) -> dict[str, Any]:
    """Facts on the kernels of a call, or why there are none."""
    calls = min(CALLS, int(1e3 * RECORDED_SECONDS / median_ms))
    if calls < 2:
        return {"kernels_missing": f"a call takes more than {RECORDED_SECONDS / 2:g} s"}
    try:
        found = recorded(call, device, calls)
    except NotRecorded as why:
        return {"kernels_missing": str(why)}
    except Exception as error:  # noqa: BLE001 - a profiler may fail in any way; the times are good all the same
        return {"kernels_missing": _told(error)}
    return {"kernels_ms": found.ms, "kernels": found.count}


def _fitted(one: Entrant, device: str, features: FeatureCache, watch: Watch) -> tuple[Method, Any, dict[str, Any]]:
    train, test = one.images()
    method = build(one.cell, device, features, watch=watch)
    record = method.fit(train)
    return method, test, {"notes": [*record.notes, *_differences(one)]}


def _differences(one: Entrant) -> Iterator[str]:
    """What differs from the published configuration, as far as the time may depend on it."""
    module = registry.find("method", one.cell.method).load()
    try:
        found = differences(module, one.cell.config, one.cell.dataset, one.cell.image_size)
    except Undeclared:
        return
    if found.timed:
        yield str(replace(found, changes=found.timed))


def _prepared(method: Method, images: Any, device: str, mode: Mode, batch: int) -> tuple[Any, dict[str, Any]]:
    """A batch of more images than there are begins again with the first."""
    import torch

    from afrad_bench.latency.calls import prepared

    pixels = images.subset([i % len(images) for i in range(batch)]).array()
    ready = prepared(method, torch.from_numpy(pixels), device, mode)
    return ready.call, ready.facts


def _told(fault: Exception) -> str:
    """The first line of an error, with its type."""
    fault = refused(fault) or fault
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0] if lines else ''}".rstrip(": ")
