"""The approximate greedy coreset of the official code: farthest-first traversal on a random projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from afrad_bench.types import Watch, unwatched

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import FloatArray

CANDIDATES = 1024
"""Farthest vectors that are looked at together."""

DISTANCES = 2**20
"""Distances that are held at a time while the sweep updates all vectors."""


def draw(values: int, outputs: int, total: int, starts: int, seed: int) -> tuple[Tensor | None, Tensor]:
    """What the coreset leaves to chance: a projection (values, outputs), and starting points among `total` vectors.

    The projection is the official mapper, a bias-free linear layer as torch initialises it: uniform within
    1 / sqrt(values), not scaled to keep lengths; None where the widths are equal already: nothing is projected then."""
    generator = torch.Generator().manual_seed(seed)
    bound = values**-0.5
    matrix = torch.empty(outputs, values).uniform_(-bound, bound, generator=generator).T.contiguous()
    return None if values == outputs else matrix, torch.randperm(total, generator=generator)[:starts]


def farthest_first(points: Tensor, count: int, starts: Tensor, watch: Watch = unwatched) -> Tensor:
    """Indices (count,) of a greedy k-centre choice among (N, D) points, in the order in which they are chosen.

    As the official approximate sampler does: the distance of each point begins as the mean of its Euclidean distances
    to the `starts`, which are not chosen thereby; then, again and again, the farthest point is taken, and all distances
    fall to the distance to it where that is less. No point is taken twice.

    The official loop sweeps over all points once per choice. Here the farthest points of all are candidates, and
    choices among them are settled without a sweep for as long as the farthest candidate lies beyond every other point's
    distance of the last sweep, which can only have fallen since. The choices are the same, and one sweep, a matrix
    product instead of a matrix-vector product, serves them all."""
    points = points - points.mean(0)  # distances stay; squares of less magnitude lose fewer digits
    norms = torch.linalg.vector_norm(points, dim=1).square_()
    reach = (norms[:, None] + norms[starts] - 2 * points @ points[starts].T).clamp_(min=0).sqrt_().mean(1).square_()
    chosen: list[Tensor] = []
    done = 0
    while done < count:
        farthest, candidates = reach.topk(min(CANDIDATES + 1, len(reach)))
        beyond = float(farthest[CANDIDATES]) if len(farthest) > CANDIDATES else -1.0
        candidates = candidates[:CANDIDATES]
        among = _squared(points[candidates], norms[candidates]).cpu().numpy()
        taken = _settle(farthest[:CANDIDATES].cpu().numpy(), among, beyond, count - done)
        centres = candidates[torch.from_numpy(taken).to(candidates.device)]
        chosen.append(centres)
        done += len(centres)
        if done < count:
            _sweep(reach, points, norms, points[centres], norms[centres])
            reach[centres] = -1.0
        watch(done, count, "coreset")
    return torch.cat(chosen)


def _settle(reach: FloatArray, among: FloatArray, beyond: float, limit: int) -> npt.NDArray[np.int64]:
    """Greedy choices among candidates with squared distances `among` each other, while the farthest is at least
    `beyond`; one at least, `limit` at most."""
    reach = reach.copy()
    taken: list[int] = []
    while len(taken) < limit:
        best = int(reach.argmax())
        if taken and reach[best] < beyond:
            break
        taken.append(best)
        np.minimum(reach, among[best], out=reach)
        reach[best] = -1.0
    return np.array(taken, dtype=np.int64)


def _squared(points: Tensor, norms: Tensor) -> Tensor:
    return (norms[:, None] + norms - 2 * points @ points.T).clamp_(min=0)


def _sweep(reach: Tensor, points: Tensor, norms: Tensor, centres: Tensor, centre_norms: Tensor) -> None:
    """Lower each squared distance to that of the nearest new centre, in place."""
    step = max(256, DISTANCES // len(centres))
    turned = centres.T.contiguous()
    for start in range(0, len(points), step):
        at = slice(start, start + step)
        nearest = torch.addmm(centre_norms, points[at], turned, alpha=-2).amin(1)
        torch.minimum(reach[at], nearest.add_(norms[at]).clamp_(min=0), out=reach[at])
