"""Time of the exact pixel metrics, compared with one `np.sort` of the same pixels, scikit-learn, anomalib and ADEval.

    python benchmarks/bench_metrics.py [--images 100] [--rounds 7] [--threads 1 2] [--linear] [--conventions]

The candidates take turns (A B C A B C ...), so that a slow phase of the machine affects all of them equally. The table
has the median and its ratio to the median of `np.sort`. Packages that are not installed are left out and named. Nothing
is asserted here: the tests check the values, which are in the table for comparison.

`--conventions` instead prints the values that other conventions for the same metrics give on the same maps."""

from __future__ import annotations

import argparse
import importlib.util
import time
import tracemalloc
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from _record import record
from scipy import ndimage

from afrad_bench.instruments.metrics import PixelScores, pixel_metrics

Values = dict[str, float]
Candidate = Callable[[], Values]


def maps(images: int, side: int, fraction: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Smooth float32 maps, and masks of elliptical defects in three of four images, about `fraction` of all pixels."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    masks = np.zeros((images, side, side), bool)
    scores = np.empty(masks.shape, np.float32)
    for i in range(images):
        wanted = fraction / 0.75 * side * side if i % 4 else 0
        while masks[i].sum() < 0.8 * wanted:
            y, x = rng.uniform(0, side, 2)
            a, b = rng.uniform(side / 32, side / 9, 2)
            masks[i] |= ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 <= 1
        noise = ndimage.gaussian_filter(rng.standard_normal((side, side), dtype=np.float32), 4)
        scores[i] = noise / noise.std() + 3 * ndimage.gaussian_filter(masks[i].astype(np.float32), 3)
    return scores, masks


def of_afrad_bench(scores: np.ndarray, masks: np.ndarray, threads: int) -> Candidate:
    def run() -> Values:
        found = pixel_metrics(scores, masks, threads=threads)
        return {"AUROC": found.auroc, "AP": found.ap, "F1max": found.f1_max, "AUPRO": found.aupro}

    return run


def of_numpy(scores: np.ndarray) -> Candidate:
    def run() -> Values:
        np.sort(scores.ravel())
        return {}

    return run


def of_scikit_learn(scores: np.ndarray, masks: np.ndarray) -> Candidate:
    from sklearn.metrics import average_precision_score, roc_auc_score

    def run() -> Values:
        labels, flat = masks.ravel(), scores.ravel()
        return {"AUROC": float(roc_auc_score(labels, flat)), "AP": float(average_precision_score(labels, flat))}

    return run


def of_anomalib(scores: np.ndarray, masks: np.ndarray) -> Candidate:
    import torch
    from anomalib.metrics.aupro import _AUPRO

    def run() -> Values:
        metric = _AUPRO(fpr_limit=0.3)
        metric.update(torch.from_numpy(scores), torch.from_numpy(masks))
        return {"AUPRO": float(metric.compute())}

    return run


def of_adeval(scores: np.ndarray, masks: np.ndarray) -> Candidate:
    import adeval

    if not hasattr(np, "trapz"):  # ADEval 1.1 uses this name, which NumPy 2.4 removed
        np.trapz = np.trapezoid

    def run() -> Values:
        held = adeval.EvalAccumulator(0.0, 1.0, float(scores.min()), float(scores.max()))
        held.add_anomap_batch(scores, masks.astype(np.uint8))
        for label in (0, 1):
            held.add_image(float(label), label)
        found = held.summary()
        return {"AUROC": found["p_auroc"], "AP": found["p_aupr"], "AUPRO": found["p_aupro"]}

    return run


def candidates(scores: np.ndarray, masks: np.ndarray, threads: list[int]) -> dict[str, Candidate]:
    found = {"np.sort of the pixels": of_numpy(scores)}
    for count in threads:
        found[f"afrad-bench, {count} thread{'s' if count > 1 else ''}"] = of_afrad_bench(scores, masks, count)
    found[f"scikit-learn {version('scikit-learn')}: AUROC, AP"] = of_scikit_learn(scores, masks)
    for package, make, what in (
        ("anomalib", of_anomalib, "AUPRO"),
        ("adeval", of_adeval, "AUROC, AP, AUPRO, 1000 bins"),
    ):
        if importlib.util.find_spec(package):
            found[f"{package} {version(package)}: {what}"] = make(scores, masks)
        else:
            print(f"{package} is not installed and is left out")
    return found


def compare(images: int, side: int, fraction: float, rounds: int, threads: list[int]) -> None:
    scores, masks = maps(images, side, fraction)
    tried = candidates(scores, masks, threads)
    seconds: dict[str, list[float]] = {name: [] for name in tried}
    values: dict[str, Values] = {}
    for _ in range(rounds):
        for name, run in tried.items():
            start = time.perf_counter()
            values[name] = run()
            seconds[name].append(time.perf_counter() - start)
    unit = median(seconds["np.sort of the pixels"])
    rows = [
        {
            "what": name,
            "median ms": round(median(times) * 1e3, 1),
            "fastest ms": round(min(times) * 1e3, 1),
            "ratio": round(median(times) / unit, 2),
            "values": "  ".join(f"{metric} {value:.6f}" for metric, value in values[name].items()),
        }
        for name, times in seconds.items()
    ]
    about = f"{images} maps of {side}x{side}, {masks.mean():.1%} defective"
    note = f"Medians of {rounds} interleaved rounds; the ratio is to one np.sort of the same float32 pixels."
    record("bench_metrics", f"All pixel metrics of {about}", rows, [note])


def scale(fraction: float, threads: int) -> None:
    """Time and memory for up to 1,725 maps (as many as MVTec AD's test set has), all in one category: at 256 x 256 in
    memory, at 1024 x 1024 in a scratch file."""
    rows = []
    with TemporaryDirectory() as folder:
        for images, side, scratch in (
            (100, 256, None),
            (400, 256, None),
            (1725, 256, None),
            (1725, 1024, Path(folder)),
        ):
            scores, masks = maps(100 if side == 256 else 25, side, fraction)
            tried = [streamed(images, scores, masks, threads, scratch) for _ in range(5 if side == 256 else 1)]
            seconds, peaks = zip(*tried, strict=True)
            pixels = images * side * side
            rows.append(
                {
                    "maps": images,
                    "side": side,
                    "scores in": "memory" if scratch is None else "a file",
                    "s": round(median(seconds), 2),
                    "ns per pixel": round(median(seconds) / pixels * 1e9, 2),
                    "raw float32 maps, GiB": round(pixels * 4 / 2**30, 3),
                    "memory, GiB": round(median(peaks) / 2**30, 3),
                    "of raw maps": round(median(peaks) / pixels / 4, 2),
                }
            )
    note = (
        f"{threads} thread; seconds for adding batches of 25 maps and for all metrics. Memory: the largest amount "
        "allocated at one time, without the batch itself. It does not include the pages of a scratch file, which the "
        "system writes out when it needs memory."
    )
    record("bench_metrics_scale", f"Pixel metrics of many maps, {fraction:.1%} defective", rows, [note])


def streamed(
    images: int, scores: np.ndarray, masks: np.ndarray, threads: int, scratch: Path | None
) -> tuple[float, float]:
    """Seconds, and peak bytes of memory, for `images` maps: the given maps repeated, each time with shifted scores."""
    step, spent = 25, 0.0
    batch = np.empty((step, *scores.shape[1:]), np.float32)
    tracemalloc.start()
    held = PixelScores(images * scores[0].size, scratch=scratch)
    for at in range(0, images, step):
        part = slice(at % len(scores), at % len(scores) + step)
        np.add(scores[part], np.float32(at * 1e-4), out=batch)
        start = time.perf_counter()
        held.add(batch, masks[part])
        spent += time.perf_counter() - start
    start = time.perf_counter()
    held.metrics(threads=threads)
    spent += time.perf_counter() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return spent, peak


def aupro_of(scores: np.ndarray, masks: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(FPR, PRO) at these thresholds only, from the highest threshold to the lowest."""
    background = np.sort(scores[~masks])
    fpr, pro = np.zeros(len(thresholds)), np.zeros(len(thresholds))
    regions = 0
    for image, mask in zip(scores, masks, strict=True):
        labelled, count = ndimage.label(mask, np.ones((3, 3)))
        for region in range(1, count + 1):
            inside = np.sort(image[labelled == region])
            pro += 1 - np.searchsorted(inside, thresholds) / len(inside)
        regions += count
    fpr = 1 - np.searchsorted(background, thresholds) / len(background)
    return fpr[::-1], pro[::-1] / regions


def trapezoid(x: np.ndarray, y: np.ndarray) -> float:
    return float((np.diff(x) * (y[1:] + y[:-1])).sum() / 2)


def uniform_aupro(scores: np.ndarray, masks: np.ndarray, steps: int) -> float:
    """AUPRO from equal steps of the score: points with FPR < 0.3 are kept and their FPR is rescaled to [0, 1]."""
    fpr, pro = aupro_of(scores, masks, np.linspace(scores.min(), scores.max(), steps, endpoint=False))
    kept = fpr < 0.3
    x, y = fpr[kept], pro[kept]
    return trapezoid((x - x.min()) / (x.max() - x.min()), y) if len(x) > 1 else float("nan")


def rank_aupro(scores: np.ndarray, masks: np.ndarray, ranks: int) -> float:
    """AUPRO from equal ranks of the background's scores, with linear interpolation at the limit."""
    background = np.sort(scores[~masks])
    fpr, pro = aupro_of(scores, masks, background[np.linspace(0, len(background) - 1, ranks).astype(int)])
    x, y = np.append(0, fpr), np.append(0, pro)
    kept = x <= 0.3
    return trapezoid(np.append(x[kept], 0.3), np.append(y[kept], np.interp(0.3, x, y))) / 0.3


def uniform_f1(scores: np.ndarray, masks: np.ndarray, steps: int) -> float:
    """F1max from equal steps of the score."""
    positives, negatives = np.sort(scores[masks]), np.sort(scores[~masks])
    thresholds = np.linspace(scores.min(), scores.max(), steps)
    hits = len(positives) - np.searchsorted(positives, thresholds)
    alarms = len(negatives) - np.searchsorted(negatives, thresholds)
    return float((2 * hits / (hits + alarms + len(positives))).max())


def conventions(images: int, side: int, fraction: float) -> None:
    """Exact values compared with those of other conventions, for scores with light and with heavy tails."""
    from sklearn.metrics import auc, precision_recall_curve

    base, masks = maps(images, side, fraction)
    base = (base - base.mean()) / base.std()
    low, high = base.min(axis=(1, 2), keepdims=True), base.max(axis=(1, 2), keepdims=True)
    anomalous = masks.any(axis=(1, 2))
    ours = pixel_metrics

    def trapezoid_ap(scores: np.ndarray) -> float:
        precision, recall, _ = precision_recall_curve(masks.ravel(), scores.ravel())
        return float(auc(recall, precision))

    def spread(scores: np.ndarray, width: float) -> np.ndarray:
        return (scores - scores.min()) / (scores.max() - scores.min()) * np.float32(width)

    rows: list[tuple[str, Callable[[np.ndarray], float]]] = [
        ("P-AUPRO, exact", lambda a: ours(a, masks).aupro),
        ("  200 equal steps of the score", lambda a: uniform_aupro(a, masks, 200)),
        ("  1000 equal steps of the score", lambda a: uniform_aupro(a, masks, 1000)),
        ("  100 ranks of the background", lambda a: rank_aupro(a, masks, 100)),
        ("  1000 ranks of the background", lambda a: rank_aupro(a, masks, 1000)),
        ("  anomalous images only", lambda a: ours(a[anomalous], masks[anomalous]).aupro),
        ("  up to FPR 0.05", lambda a: ours(a, masks, fpr_limit=0.05).aupro),
        ("  up to FPR 1", lambda a: ours(a, masks, fpr_limit=1.0).aupro),
        ("P-F1max, exact", lambda a: ours(a, masks).f1_max),
        ("  21 equal steps of the score", lambda a: uniform_f1(a, masks, 21)),
        ("P-AP, exact", lambda a: ours(a, masks).ap),
        ("  trapezoids", trapezoid_ap),
        ("  of scores in steps of 0.5", lambda a: ours(np.round(a * 2) / 2, masks).ap),
        ("  trapezoids, in steps of 0.5", lambda a: trapezoid_ap(np.round(a * 2) / 2)),
        ("P-AUROC, exact", lambda a: ours(a, masks).auroc),
        ("  anomalous images only", lambda a: ours(a[anomalous], masks[anomalous]).auroc),
        ("  0 to 60 through a float32 sigmoid", lambda a: ours(1 / (1 + np.exp(-spread(a, 60))), masks).auroc),
        ("  rounded to 8 bits", lambda a: ours(np.round(spread(a, 255)), masks).auroc),
        ("  rounded to float16", lambda a: ours(a.astype(np.float16), masks).auroc),
    ]
    print(
        f"{images} maps of {side}x{side}, {masks.mean():.1%} defective\n\n{'':36}"
        + "".join(f"{name:>12}" for name in ("scores", "exp(0.5 s)", "exp(1.5 s)"))
    )
    for name, run in rows:
        values = [run(a.astype(np.float32)) for a in (base, np.exp(0.5 * base), np.exp(1.5 * base))]
        print(f"{name:36}" + "".join(f"{value:12.4f}" for value in values))
    found = ours((base - low) / (high - low), masks)
    print(f"scores scaled to [0, 1] image by image: P-AUROC {found.auroc:.4f}, P-AUPRO {found.aupro:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--fraction", type=float, default=0.027)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--linear", action="store_true", help="instead: time and memory of up to 1,725 maps")
    parser.add_argument("--conventions", action="store_true", help="compare values instead of times")
    chosen = parser.parse_args()
    if chosen.conventions:
        return conventions(chosen.images, chosen.side, chosen.fraction)
    if chosen.linear:
        return scale(chosen.fraction, chosen.threads[0])
    compare(chosen.images, chosen.side, chosen.fraction, chosen.rounds, chosen.threads)


if __name__ == "__main__":
    main()
