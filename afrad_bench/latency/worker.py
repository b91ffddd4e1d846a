"""One side of `gate --latency`: a process that keeps fitted methods loaded and times one call on request.

`workers.Worker` runs this file with the Python of the side, whose afrad-bench may be of another revision. So it uses
few names of the package, and tells if one is not there. Requests and replies are lines of JSON: "start" prepares all
subjects, "time" makes one call of one of them. Whatever else is printed goes to stderr. When the requests end, also
since the parent was killed, the process ends at once, whatever it is doing."""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

Reply = dict[str, Any]


def serve(requests: TextIO, replies: TextIO) -> None:
    """Answer requests; ends the process when there are no more."""
    lines: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_read, args=(requests, lines), daemon=True).start()
    work: dict[str, Any] = {}
    while True:
        request = json.loads(lines.get())
        try:
            reply = _start(work, request) if request["do"] == "start" else _time(work, request["subject"])
        except Exception as error:  # noqa: BLE001 - a method may fail in any way; the parent says where
            reply = _failed(error)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def _read(requests: TextIO, lines: SimpleQueue[str]) -> None:
    for line in requests:
        lines.put(line)
    os._exit(0)


def _start(work: dict[str, Any], request: Mapping[str, Any]) -> Reply:
    """Fit or load each subject, and prepare its call on the device. A subject that cannot be fitted fails alone."""
    if request["cores"]:
        os.sched_setaffinity(0, request["cores"])  # before any thread is made
    import torch

    from afrad_bench.instruments.clock import clock_for, pinned_threads
    from afrad_bench.machine.environment import current

    environment = current(request["device"], request["threads"])
    torch.set_num_threads(environment.threads)
    work["threads"] = ExitStack()
    work["threads"].enter_context(pinned_threads(environment.threads))
    work["clock"] = clock_for(environment.device)
    work["calls"], about = {}, []
    for i, text in enumerate(request["subjects"]):
        prepare = _model if text.endswith(".safetensors") else _method
        try:
            work["calls"][i], found = prepare(text, environment.device, request)
        except Exception as error:  # noqa: BLE001 - as above
            found = _failed(error)
        about.append(found)
    return {"side": _side(environment, work["clock"]), "subjects": about}


def _time(work: Mapping[str, Any], subject: int) -> Reply:
    return {"ms": work["clock"].time_ms(work["calls"][subject])}


def _side(environment: Any, clock: Any) -> Reply:
    """What this process is."""
    import afrad_bench

    names = ("device", "device_name", "threads", "code_version", "git_revision", "git_dirty", "packages", "python")
    return {
        **{name: getattr(environment, name) for name in names},
        "clock": clock.name,
        "package": str(Path(afrad_bench.__file__).parent),
    }


def _model(path: str, device: str, request: Mapping[str, Any]) -> tuple[Callable[[], object], Reply]:
    """A model file; it scores an image of noise."""
    import numpy as np

    from afrad_bench.deploy import model_file

    restored = model_file.load(Path(path), device)
    card = restored.card
    side = card.image_size
    pixels = np.random.default_rng(0).random((1, 3, side, side), dtype=np.float32)
    call, facts = _prepared(restored.method, pixels, device)
    trained = card.trained_on
    return call, {
        "cell_id": card.tensors[:16],
        "method": card.method,
        "method_version": card.method_version,
        "params": json.dumps(card.config, sort_keys=True),
        "dataset": trained.dataset or "images",
        "seed": trained.seed,
        "image_size": side,
        "weights": card.weights,
        "fitted_on": f"{trained.images} images of {trained.dataset or 'a call in Python'}, read from {path}",
        **facts,
    }


def _method(text: str, device: str, request: Mapping[str, Any]) -> tuple[Callable[[], object], Reply]:
    """A method by name, fitted on images of noise."""
    from afrad_bench.backbone.features import FeatureCache
    from afrad_bench.latency.entrants import EntrantOptions, entrants
    from afrad_bench.methods.versions import version_of
    from afrad_bench.running.build import build
    from afrad_bench.running.workspace import Workspace

    cache = Path(request["cache"])
    workspace = Workspace(store=cache, cache=cache, cache_limit=request["cache_limit"], device=device)
    chosen = {name: request[name] for name in ("image_size", "train", "backbone", "weights")}
    ((one,), _) = entrants([text], _no_suite, (), EntrantOptions(**chosen), workspace)
    train, test = one.images()
    method = build(one.cell, device, FeatureCache(cache, request["cache_limit"]))
    method.fit(train)
    call, facts = _prepared(method, test.subset([0]).array(), device)
    return call, {
        "cell_id": one.cell.id,
        "method": one.cell.method,
        "method_version": version_of(one.cell.method, one.cell.params),
        "params": one.cell.params,
        "dataset": one.cell.dataset,
        "seed": one.cell.seed,
        "image_size": one.cell.image_size,
        "weights": one.weights.label if one.weights else "",
        "fitted_on": one.fitted_on,
        **facts,
    }


def _prepared(method: Any, pixels: Any, device: str) -> tuple[Callable[[], object], Reply]:
    import torch

    from afrad_bench.latency.calls import prepared
    from afrad_bench.latency.modes import Mode

    ready = prepared(method, torch.from_numpy(pixels), device, Mode())
    return ready.call, {"inside": ready.facts["inside"], "precision": ready.facts["precision"]}


def _no_suite(name: str) -> Any:
    raise AssertionError(f"{name} was taken for a suite, but none is offered")


def _failed(error: Exception) -> Reply:
    """The error as a reply: what the user can change in full, anything else by its type and first line."""
    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    if isinstance(error, ImportError):
        return {"mistake": f"its environment lacks what a timed gate needs: {error}"}
    if type(error).__name__ == "UserError":
        return {"mistake": str(error)}
    lines = str(error).strip().splitlines() or [""]
    return {"error": f"{type(error).__name__}: {lines[0]}".rstrip(": ")}


if __name__ == "__main__":
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what methods and libraries print must not come between the replies
    serve(sys.stdin, replies)
