"""A bank of vectors: exact nearest neighbours by matrix products on the bank's device, and PatchCore's image score.

PatchCore, ReConPatch and Uniformaly score patches by this, PANDA whole images. faiss may search instead of torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from afrad_bench.methods.precision import in_float32
from afrad_bench.methods.searching import Search

CHUNK = 8192
"""Bank vectors that are compared at once."""


class MemoryBank(nn.Module):
    """M vectors of D values; queries are compared with them by Euclidean distance.

    Vectors and queries are held minus the mean of the vectors: the distances stay the same, and shorter vectors lose
    fewer digits in products."""

    centre: Tensor
    vectors: Tensor
    norms: Tensor

    def __init__(self, vectors: Tensor, search: Search = "torch") -> None:
        super().__init__()
        self.search = search
        self.register_buffer("centre", vectors.mean(0))
        self.register_buffer("vectors", vectors - self.centre)
        self.register_buffer("norms", self.vectors.square().sum(1))
        self.size = len(vectors)

    @in_float32
    def nearest(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Squared distances (Q, k) of queries (Q, D) to their k nearest vectors, ascending, and their indices.

        k is `count`, or the bank's size if that is less. Neighbours are found by |m|^2 - 2 q m, a part of the bank at
        a time. Their distances are then computed from the differences, which loses no digits if a distance is small
        compared with the vectors' lengths."""
        return self._nearest(queries - self.centre, count)

    def _nearest(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The same for queries minus the centre."""
        index = self._indices(queries, min(count, self.size))
        squared = (self.vectors[index] - queries[:, None]).square().sum(2)
        if count == 1:
            return squared, index
        squared, order = squared.sort(1)
        return squared, index.gather(1, order)

    def _indices(self, queries: Tensor, count: int) -> Tensor:
        """(Q, count). An exported or compiled network searches with torch, so that it needs no faiss."""
        if self.search == "faiss" and not torch.compiler.is_compiling():
            from afrad_bench.methods.faiss_search import faiss_nearest

            return faiss_nearest(queries, self.vectors, count)
        values, places = [], []
        for start in range(0, self.size, CHUNK):
            end = min(start + CHUNK, self.size)
            distances = torch.addmm(self.norms[start:end], queries, self.vectors[start:end].T, alpha=-2)
            value, place = _smallest(distances, min(count, end - start))
            values.append(value)
            places.append(place + start)
        _, best = _smallest(torch.cat(values, 1), count)
        return torch.cat(places, 1).gather(1, best)

    @in_float32
    def reweighted(self, patches: Tensor, nearest: Tensor, support: int) -> Tensor:
        """(B,) image scores of eq. 6 and 7 for the most anomalous patch (B, D) of each image and the index (B,) of its
        nearest vector m*: s = (1 - exp|p - m*| / sum over N_b(m*) of exp|p - m|) |p - m*|, with plain distances.

        N_b(m*) are the `support` vectors nearest to m*, including m* itself. The quotient is computed as a softmax, so
        that large distances do not overflow."""
        patches = patches - self.centre
        _, around = self._nearest(self.vectors[nearest], support)
        distance = (self.vectors[nearest] - patches).square().sum(1).sqrt()
        distances = (self.vectors[around] - patches[:, None]).square().sum(2).sqrt()
        share = (distance - distances.logsumexp(1)).exp()
        return (1 - share) * distance


def _smallest(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` smallest of each row and their places; a plain minimum is faster than a partial sort."""
    if count == 1:
        return values.min(1, keepdim=True)
    return values.topk(count, 1, largest=False)
