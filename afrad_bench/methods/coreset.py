"""The approximate greedy coreset of PatchCore's official code: farthest-first traversal on a random projection.

PatchCore, ReConPatch and Uniformaly keep a share of all training patches in memory, and choose it by this."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from afrad_bench.errors import fail
from afrad_bench.machine.free_memory import free_bytes
from afrad_bench.types import Watch, unwatched

if TYPE_CHECKING:
    import numpy.typing as npt

    from afrad_bench.types import FloatArray

CANDIDATES = 1024
"""Number of farthest vectors that are considered together."""
STALE = 4096
"""Number of farthest vectors whose distances are brought up to date together; 32 times as many on a graphics card."""
DISTANCES = 2**22
"""Number of distances in memory at a time; 32 times as many on a graphics card."""
GIB = 2**30

Batches = Callable[[str], Iterable[Tensor]]
"""Called with the name of the step: all vectors in order, as (n, D) tensors."""


def memory_bank(
    batches: Batches,
    kept: Callable[[int], int],
    width: int,
    projection: int,
    starts: int,
    seed: int,
    device: str,
    watch: Watch = unwatched,
) -> Tensor:
    """(M, width) vectors of the coreset, in the order of the batches.

    `kept`: from the number of all vectors to M. The first pass projects every vector, the second keeps the chosen
    ones, so that not all vectors are in memory together."""
    matrix, generator = mapper(width, projection, seed)
    matrix = None if matrix is None else matrix.to(device)
    projected = [vectors if matrix is None else vectors @ matrix for vectors in batches("patch embeddings")]
    total = sum(map(len, projected))
    count = kept(total)
    if count == total:
        chosen = torch.arange(total)
    else:
        points = torch.cat(projected)
        del projected
        first = draw(total, starts, generator)
        chosen = farthest_first(points, count, first.to(device), watch).cpu().sort().values
        del points
    bank = torch.empty(count, width, device=device)
    for start, vectors in _placed(batches("memory bank")):
        low, high = torch.searchsorted(chosen, torch.tensor([start, start + len(vectors)])).tolist()
        bank[low:high] = vectors[(chosen[low:high] - start).to(vectors.device)]
    return bank


def _placed(batches: Iterable[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Each batch with the position of its first vector."""
    done = 0
    for vectors in batches:
        yield done, vectors
        done += len(vectors)


def share(method: str, fraction: float, total: int, images: int) -> int:
    """How many of `total` patches are a fraction. Raises `UserError` if none."""
    kept = int(fraction * total)
    if not kept:
        raise fail(
            f"{method}'s bank would be empty: {fraction:g} of {total} patches of {images} images",
            hint="raise `fraction`, or give more training images",
        )
    return kept


def must_fit(
    method: str, kept: int, total: int, width: int, projection: int, device: str, limit: int | None, hint: str
) -> None:
    """Raise `UserError` unless a bank of `kept` vectors, and what it takes to choose it, fits into memory.

    `limit`: largest size of the bank in bytes, or None; `hint`: the error's last line."""
    bank = 4 * kept * width
    size = f"{method}'s bank of {kept} vectors takes {bank / GIB:.2f} GiB"
    if limit is not None and bank > limit:
        raise fail(f"{size}, more than `max_bank_bytes` ({limit / GIB:.2f} GiB) allows", hint=hint)
    points = 0 if kept == total else 4 * (2 * total + kept) * projection
    free = free_bytes(device)
    if bank + points > free:
        raise fail(
            f"{size} and choosing it {points / GIB:.2f} GiB, but {free / GIB:.2f} GiB are free on {device}", hint=hint
        )


def mapper(values: int, outputs: int, seed: int) -> tuple[Tensor | None, torch.Generator]:
    """A random projection (values, outputs), and the generator from which the starting points are drawn next.

    The projection is the official one, a linear layer without bias, with torch's initial values: uniform in
    ±1/sqrt(values), not scaled to keep lengths. It is None if both widths are equal: then nothing is projected."""
    generator = torch.Generator().manual_seed(seed)
    bound = values**-0.5
    matrix = torch.empty(outputs, values).uniform_(-bound, bound, generator=generator).T.contiguous()
    return None if values == outputs else matrix, generator


def draw(total: int, starts: int, generator: torch.Generator) -> Tensor:
    """Starting points among `total` vectors."""
    return torch.randperm(total, generator=generator)[:starts]


def farthest_first(points: Tensor, count: int, starts: Tensor, watch: Watch = unwatched) -> Tensor:
    """Indices (count,) of a greedy k-centre choice among (N, D) points, in the order in which they are chosen.

    As in the official approximate sampler, the initial distance of each point is the mean of its Euclidean distances to
    the `starts`, which are not chosen by this. Then, repeatedly, the farthest point is chosen, and each distance
    becomes the smaller of itself and the distance to that point. No point is chosen twice.

    The official loop compares all points with each choice. Here distances are brought up to date only where it matters:
    an old distance is an upper bound, so a point cannot be the next choice while that bound is below the farthest
    distance. The farthest points, up to date, are candidates; the choices among them need no other point as long as
    the farthest candidate is at least as far as every other bound. The choices are the same."""
    points = points - points.mean(0)  # distances stay the same; smaller squares lose fewer digits
    norms = torch.linalg.vector_norm(points, dim=1).square_()
    reach = torch.addmm(norms[starts], points, points[starts].T, alpha=-2).add_(norms[:, None])
    reach = reach.clamp_(min=0).sqrt_().mean(1).square_()
    total, width = points.shape
    compared = torch.zeros(total, dtype=torch.int32, device=points.device)
    """With how many of the choices each point was compared."""
    chosen = torch.empty(count, dtype=torch.int64, device=points.device)
    centres, centre_norms = points.new_empty(width, count), points.new_empty(count)
    refreshed = STALE * (1 if points.device.type == "cpu" else 32)
    done = 0
    while done < count:
        farthest, top = reach.topk(min(max(CANDIDATES + 1, refreshed), total))
        before = compared[top]
        if done and int(before[: CANDIDATES + 1].min()) < done:
            stale = before < done
            _refresh(reach, points, norms, top[stale], before[stale], centres[:, :done], centre_norms[:done])
            compared[top] = done
            continue
        beyond = float(farthest[CANDIDATES]) if total > CANDIDATES else -1.0
        candidates = top[:CANDIDATES]
        among = _squared(points[candidates], norms[candidates]).cpu().numpy()
        left = farthest[:CANDIDATES].cpu().numpy()
        taken = candidates[torch.from_numpy(_settle(left, among, beyond, count - done)).to(candidates.device)]
        end = done + len(taken)
        chosen[done:end], centres[:, done:end], centre_norms[done:end] = taken, points[taken].T, norms[taken]
        reach[candidates] = torch.from_numpy(left).to(reach.device)
        compared[candidates] = end
        done = end
        watch(done, count, "coreset")
    return chosen


def _settle(reach: FloatArray, among: FloatArray, beyond: float, limit: int) -> npt.NDArray[np.int64]:
    """Greedy choices among candidates with squared distances `among` each other, while the farthest is at least
    `beyond`; at least one, at most `limit`. Lowers `reach` to the distances after them; a choice's own becomes -1."""
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
    return torch.addmm(norms, points, points.T, alpha=-2).add_(norms[:, None]).clamp_(min=0)


def _refresh(
    reach: Tensor, points: Tensor, norms: Tensor, stale: Tensor, compared: Tensor, centres: Tensor, centre_norms: Tensor
) -> None:
    """Compare the points `stale` with the centres (D, n) after their first `compared`, and lower their squared
    distances in place."""
    order = compared.argsort()
    stale = stale[order]
    counts, sizes = compared[order].unique_consecutive(return_counts=True)
    distances = DISTANCES * (1 if points.device.type == "cpu" else 32)
    for group, first in zip(stale.split(sizes.tolist()), counts.tolist(), strict=True):
        for part in group.split(max(256, distances // (centres.shape[1] - first))):
            nearest = torch.addmm(centre_norms[first:], points[part], centres[:, first:], alpha=-2).amin(1)
            reach[part] = torch.minimum(reach[part], nearest.add_(norms[part]).clamp_(min=0))
