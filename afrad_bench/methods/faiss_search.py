"""The exact search of faiss as an operator of torch, so that it is traced and counted like any other one."""

from __future__ import annotations

import faiss
import torch
from torch import Tensor


@torch.library.custom_op("afrad_bench::faiss_nearest", mutates_args=(), device_types="cpu")
def faiss_nearest(queries: Tensor, vectors: Tensor, count: int) -> Tensor:
    """Indices (Q, count) of the vectors (M, D) nearest to each query (Q, D), by squared Euclidean distance, the nearest
    first. Uses as many threads as torch."""
    faiss.omp_set_num_threads(torch.get_num_threads())
    _, index = faiss.knn(queries.detach().contiguous().numpy(), vectors.detach().contiguous().numpy(), count)
    return torch.from_numpy(index)


@faiss_nearest.register_fake
def _(queries: Tensor, vectors: Tensor, count: int) -> Tensor:
    return queries.new_empty(queries.shape[0], count, dtype=torch.int64)
