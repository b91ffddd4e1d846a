"""The search for nearest neighbours against loops in double precision, and the score of PatchCore's paper by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from afrad_bench.errors import UserError
from afrad_bench.instruments.counting import execute, trace
from afrad_bench.methods import neighbours, searching
from afrad_bench.methods.neighbours import MemoryBank
from afrad_bench.methods.searching import must_search


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_neighbours_are_those_of_a_loop(count: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(40, 6)).astype(np.float32), rng.normal(size=(9, 6)).astype(np.float32)
    squared, index = MemoryBank(torch.from_numpy(vectors)).nearest(torch.from_numpy(queries), count)
    for query, found, where in zip(queries, squared.numpy(), index.numpy(), strict=True):
        every = ((vectors.astype(float) - query) ** 2).sum(1)
        np.testing.assert_allclose(found, np.sort(every)[:count], rtol=1e-5)
        assert where.tolist() == np.argsort(every)[:count].tolist()


@pytest.mark.parametrize("offset", [0.0, 3.0, 30.0])
@pytest.mark.parametrize("width", [8, 512, 1536])
def test_single_precision_finds_what_double_precision_finds(width: int, offset: float) -> None:
    rng = np.random.default_rng(width)
    vectors = (rng.normal(offset, 1, (500, width))).astype(np.float32)
    queries = (rng.normal(offset, 1, (60, width))).astype(np.float32)
    squared, index = MemoryBank(torch.from_numpy(vectors)).nearest(torch.from_numpy(queries), 3)
    every = ((queries.astype(float)[:, None] - vectors.astype(float)) ** 2).sum(2)
    np.testing.assert_allclose(squared.numpy(), np.sort(every, 1)[:, :3], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(every, index.numpy(), 1), squared.numpy(), rtol=1e-5)


def test_small_distances_beside_large_lengths_lose_no_digits() -> None:
    vectors = torch.full((3, 1024), 30.0) + torch.arange(3.0)[:, None]
    squared, _ = MemoryBank(vectors).nearest(vectors[:2] + 1e-3, 1)
    np.testing.assert_allclose(squared.numpy(), 1024 * 1e-6, rtol=1e-2)  # 30.001 itself is rounded by 1e-6


def test_a_bank_smaller_than_k_gives_what_it_has() -> None:
    squared, index = MemoryBank(torch.tensor([[0.0], [2.0]])).nearest(torch.tensor([[0.5]]), 5)
    assert squared.tolist() == [[0.25, 2.25]]
    assert index.tolist() == [[0, 1]]


def test_reweighting_by_hand() -> None:
    bank = MemoryBank(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]))
    patch = torch.tensor([[2.0, 1.4]])
    squared, index = bank.nearest(patch, 1)
    assert index.item() == 1
    assert squared.sqrt().item() == pytest.approx(1.720465, abs=1e-6)
    assert bank.reweighted(patch, index[:, 0], 3).item() == pytest.approx(1.338176, abs=1e-6)
    shares = np.exp(np.linalg.norm(np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]]) - [2.0, 1.4], axis=1))
    assert 1 - shares[0] / shares.sum() == pytest.approx(0.777799, abs=1e-6)


def test_reweighting_of_huge_distances_stays_finite() -> None:
    bank = MemoryBank(1e4 * torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]]))
    patch = torch.tensor([[2e4, 1.4e4]])
    score = bank.reweighted(patch, bank.nearest(patch, 1)[1][:, 0], 3).item()
    assert 0 <= score <= 17204.66


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_faiss_finds_the_same_neighbours_at_the_same_distances(count: int, offset: float) -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(1)
    vectors = torch.from_numpy(rng.normal(offset, 1, (500, 96)).astype(np.float32))
    queries = torch.from_numpy(rng.normal(offset, 1, (70, 96)).astype(np.float32))
    ours, theirs = (MemoryBank(vectors, search).nearest(queries, count) for search in ("torch", "faiss"))
    assert torch.equal(ours[1], theirs[1])
    assert torch.equal(ours[0], theirs[0])


class Scored(torch.nn.Module):
    """Each pixel of an image, three values, against a bank."""

    def __init__(self, search: searching.Search) -> None:
        super().__init__()
        self.bank = MemoryBank(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), search)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.bank.nearest(image.flatten(2).permute(0, 2, 1).flatten(0, 1), 1)[0]


def test_the_search_of_faiss_is_counted_as_that_of_torch() -> None:
    pytest.importorskip("faiss")
    image = torch.rand(1, 3, 4, 5)
    assert 20 * 50 * 3 == trace(Scored("torch"), image).work.total == trace(Scored("faiss"), image).work.total
    assert execute(Scored("torch"), image).work.total == execute(Scored("faiss"), image).work.total == 20 * 50 * 3
    assert not trace(Scored("faiss"), image).work.unknown


def test_an_exported_network_needs_no_faiss() -> None:
    pytest.importorskip("faiss")
    image = torch.rand(1, 3, 4, 5)
    program = torch.export.export(Scored("faiss"), (image,))
    assert not any("faiss" in str(node.target) for node in program.graph.nodes)
    torch.testing.assert_close(program.module()(image), Scored("faiss")(image))


def test_faiss_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "find_spec", lambda name: None)
    must_search("PatchCore", "torch", "cuda:0")
    with pytest.raises(UserError, match="faiss, which is not installed") as refused:
        must_search("PatchCore", "faiss")
    assert "pip install 'afrad-bench[faiss]'" in str(refused.value)
    monkeypatch.setattr(searching, "find_spec", lambda name: object())
    must_search("PatchCore", "faiss", "cpu")
    with pytest.raises(UserError, match="on the CPU, not on cuda:0"):
        must_search("PatchCore", "faiss", "cuda:0")
