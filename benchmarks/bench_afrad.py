"""Time of AFRAD for one image, compared with its backbone alone, and the time of each part.

    python benchmarks/bench_afrad.py [--rounds 40] [--threads 1 2] [--image-size 256] [--onnx]
                                     [--device cpu]

EfficientNet-B4, batch 1, random weights (they do not affect the time). "Backbone" has two meanings; both are measured:

    cut        the stages that AFRAD needs (up to its last reduction): timm's `features_only` net as AFRAD runs it
    classifier timm's whole `efficientnet_b4`, with its last stages, pooling and linear layer

AFRAD is its whole network, from an image in [0, 1] to pixel map and score. It is measured with the most and the least
expensive patch embedding, and on a grid twice as fine. All candidates take turns (A B C A B C ...), so that a slow
phase of the machine affects all of them equally. A ratio is the median of the ratios within a round; the ratio of the
fastest rounds is given too, and on a quiet machine both agree. `--onnx` does the same with ONNX Runtime, on
the CPU. On a card, the clock waits for it before and after each call, and before and after each part."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import timm
import torch
from _record import record
from platformdirs import user_cache_path
from torch import nn

from afrad_bench.backbone.features import FeatureCache
from afrad_bench.instruments.clock import WallClock, clock_for
from afrad_bench.methods import afrad
from afrad_bench.methods.afrad.method import Afrad
from afrad_bench.types import Bench, Seeds

BACKBONE = "efficientnet_b4"
CUT, CLASSIFIER = "backbone, cut", "backbone, classifier"
READINGS: Mapping[str, dict[str, Any]] = {
    "AFRAD, full embedding": {"mfpn": {"embedding": "full"}},
    "AFRAD, separable embedding": {"mfpn": {"embedding": "separable"}},
    "AFRAD, separable, 8-px grid": {"features": {"grid": 8}},
}
WARMUP = 3

Timed = Mapping[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--onnx", action="store_true")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.onnx and args.device != "cpu":
        parser.error("--onnx measures on the CPU alone")
    clock = clock_for(args.device)
    methods = {name: made(changes, args.image_size, args.device) for name, changes in READINGS.items()}
    draws = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, args.image_size, args.image_size), generator=draws).to(args.device)
    whole, inner = [], []
    for threads in args.threads:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            whole += ratios({"threads": threads}, in_turns(whole_networks(methods, image), args.rounds, clock))
            for name, method in methods.items():
                inner += shares({"threads": threads, "network": name}, parts(method, image, args.rounds, clock))
        if args.onnx:
            timed = {name: in_onnx(net, image, threads) for name, net in networks(methods).items()}
            whole += ratios({"threads": threads, "by": "ONNX Runtime"}, in_turns(timed, args.rounds, clock))
    default = afrad.Config()
    about = (
        f"{BACKBONE}, batch 1, {args.image_size} x {args.image_size}, random weights, {args.rounds} rounds "
        f"in turns. Defaults of AFRAD: {default.mfpn.embedding} embedding, {default.features.grid}-px grid."
    )
    ratio = "A ratio is the median of the ratios within a round; `fastest` is the ratio of the fastest rounds."
    on = "" if args.device == "cpu" else "_card"
    told = [] if args.device == "cpu" else [f"{clock.name}."]
    record(f"bench_afrad{on}", "Inference time of AFRAD compared with its backbone", whole, [about, ratio, *told])
    record(f"bench_afrad_parts{on}", "Inference time of AFRAD by part", inner, [about, *told])


def made(changes: Mapping[str, Any], side: int, device: str) -> Afrad:
    """An AFRAD with random weights."""
    features = FeatureCache(Path(user_cache_path("afrad-bench")))
    config = afrad.Config.model_validate({"backbone": {"name": BACKBONE, "weights": "random"}, **changes})
    return afrad.build(config, Bench(device, side, Seeds(0, 0), features))


def networks(methods: Mapping[str, Afrad]) -> dict[str, nn.Module]:
    """The compared networks; each takes an image."""
    first = next(iter(methods.values()))
    whole = timm.create_model(BACKBONE).eval().to(first.bench.device).to(memory_format=torch.channels_last)
    return {CUT: first.extractor.net, CLASSIFIER: whole, **{name: m.network() for name, m in methods.items()}}


def whole_networks(methods: Mapping[str, Afrad], image: torch.Tensor) -> Timed:
    """One forward pass of each; the backbones get the image in the memory format that AFRAD uses for them."""
    ready = image.contiguous(memory_format=torch.channels_last)
    inputs = {CUT: ready, CLASSIFIER: ready}

    def call(name: str, net: nn.Module) -> Callable[[], object]:
        return lambda: net(inputs.get(name, image))

    return {name: call(name, net) for name, net in networks(methods).items()}


def in_onnx(net: nn.Module, image: torch.Tensor, threads: int) -> Callable[[], object]:
    """The same module in ONNX Runtime, with the runtime's optimisations."""
    import onnxruntime

    program = torch.onnx.export(net, (image,), dynamo=True, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options)
    fed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: session.run(None, fed)


def in_turns(timed: Timed, rounds: int, clock: WallClock) -> dict[str, list[float]]:
    """Milliseconds of each call in `rounds` rounds, after `WARMUP` rounds that do not count."""
    spent: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(WARMUP + rounds):
        for name, call in timed.items():
            spent[name].append(clock.time_ms(call))
    return {name: values[WARMUP:] for name, values in spent.items()}


def parts(method: Afrad, image: torch.Tensor, rounds: int, clock: WallClock) -> dict[str, list[float]]:
    """Milliseconds of each part of one pass, in each round; the rest is the time outside all parts."""
    network = method.network()
    extractor, scorer = method.extractor, method.scorer
    named = {"backbone": extractor.net, "extractor": extractor, "standardising": scorer.standardise}
    named |= {name: part for name, part in method.parts().items() if name != "backbone"}
    spent: dict[str, list[float]] = {name: [] for name in named}
    total = []
    with watched(named, spent, clock):
        for _ in range(WARMUP + rounds):
            total.append(clock.time_ms(lambda: network(image)))
    resizing = [a - b for a, b in zip(spent.pop("extractor"), spent["backbone"], strict=True)]
    counted = {"backbone": spent.pop("backbone"), "normalising, resizing, joining": resizing, **spent}
    rest = [whole - sum(each) for whole, each in zip(total, zip(*counted.values(), strict=True), strict=True)]
    every = {**counted, "error map, upsampling, image score": rest, "sum": total}
    return {name: values[WARMUP:] for name, values in every.items()}


@contextmanager
def watched(named: Mapping[str, nn.Module], spent: Mapping[str, list[float]], clock: WallClock) -> Iterator[None]:
    """Hooks that record how long each module runs."""
    began: dict[str, float] = {}

    def now() -> float:
        clock.synchronise()
        return clock.now()

    def start(name: str) -> Callable[..., None]:
        return lambda *_: began.update({name: now()})

    def stop(name: str) -> Callable[..., None]:
        return lambda *_: spent[name].append(1e3 * (now() - began[name]))

    hooks = [module.register_forward_pre_hook(start(name)) for name, module in named.items()]
    hooks += [module.register_forward_hook(stop(name)) for name, module in named.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def ratios(about: Mapping[str, Any], spent: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    """A row for each: medians, and ratios of the fastest rounds, which other load affects least."""
    for name, values in spent.items():
        row = {**about, "what": name, "median ms": round(median(values), 1), "middle half": middle(values, 1)}
        for title, against in (("cut", CUT), ("classifier", CLASSIFIER)):
            row[f"/ {title}"] = round(median(a / b for a, b in zip(values, spent[against], strict=True)), 2)
            row[f"/ {title}, fastest"] = round(min(values) / min(spent[against]), 2)
        yield row


def shares(about: Mapping[str, Any], spent: Mapping[str, list[float]]) -> Iterator[dict[str, Any]]:
    whole = median(spent["sum"])
    for name, values in spent.items():
        time = {"median ms": round(median(values), 2), "middle half": middle(values, 2)}
        yield {**about, "part": name, **time, "share": f"{median(values) / whole:.0%}"}


def middle(values: list[float], digits: int) -> str:
    low, _, high = quantiles(values, n=4)
    return f"{low:.{digits}f}–{high:.{digits}f}"


if __name__ == "__main__":
    main()
