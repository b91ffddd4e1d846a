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
"""Number of farthest vectors that are considered together."""

DISTANCES = 2**20
"""Number of distances in memory at a time while the sweep updates all vectors."""


def draw(values: int, outputs: int, total: int, starts: int, seed: int) -> tuple[Tensor | None, Tensor]:
    """Random parts of the coreset: a projection (values, outputs), and starting points among `total` vectors.

    The projection is the official mapper, a linear layer without bias, with torch's initial values: uniform in
    ±1/sqrt(values), not scaled to keep lengths. It is None if both widths are equal: then nothing is projected."""
    generator = torch.Generator().manual_seed(seed)
    bound = values**-0.5
    matrix = torch.empty(outputs, values).uniform_(-bound, bound, generator=generator).T.contiguous()
    return None if values == outputs else matrix, torch.randperm(total, generator=generator)[:starts]


def farthest_first(points: Tensor, count: int, starts: Tensor, watch: Watch = unwatched) -> Tensor:
    """Indices (count,) of a greedy k-centre choice among (N, D) points, in the order in which they are chosen.

    As in the official approximate sampler, the initial distance of each point is the mean of its Euclidean distances to
    the `starts`, which are not chosen by this. Then, repeatedly, the farthest point is chosen, and each distance
    becomes the smaller of itself and the distance to that point. No point is chosen twice.

    The official loop sweeps over all points once per choice. Here the farthest points are candidates. Choices among
    them need no sweep as long as the farthest candidate is at least as far as every other point was in the last sweep,
    since distances only become smaller. The choices are the same, and one sweep, a matrix product instead of a
    matrix-vector product, serves them all."""
    points = points - points.mean(0)  # distances stay the same; smaller squares lose fewer digits
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
    `beyond`; at least one, at most `limit`."""
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
