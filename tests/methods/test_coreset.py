"""The greedy coreset against the literal loop, and how it is gathered from batches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from afrad_bench.errors import UserError
from afrad_bench.methods import coreset
from afrad_bench.methods.coreset import draw, farthest_first, mapper, memory_bank, must_fit


def naive_coreset(points: np.ndarray, count: int, starts: list[int]) -> list[int]:
    """The official loop in float64: one sweep per choice."""
    reach = np.linalg.norm(points[:, None] - points[starts], axis=2).mean(1)
    chosen = []
    for _ in range(count):
        chosen.append(int(reach.argmax()))
        reach = np.minimum(reach, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


@pytest.mark.parametrize(("candidates", "stale"), [(1, 1), (5, 1), (5, 20), (64, 100), (64, 10_000), (1000, 1)])
def test_coreset_is_the_one_of_the_naive_loop(candidates: int, stale: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreset, "CANDIDATES", candidates)
    monkeypatch.setattr(coreset, "STALE", stale)
    monkeypatch.setattr(coreset, "DISTANCES", 3000)
    rng = np.random.default_rng(candidates)
    points = np.concatenate([rng.normal(100, 1, (350, 8)), rng.normal(103, 0.2, (250, 8))])
    starts = torch.from_numpy(rng.choice(600, 10, replace=False))
    found = farthest_first(torch.from_numpy(points).float(), 120, starts)
    assert found.tolist() == naive_coreset(points, 120, starts.tolist())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**16), st.booleans())
def test_coreset_takes_distinct_points_whatever_there_is(total: int, starts: int, seed: int, equal: bool) -> None:
    points = torch.zeros(total, 3) if equal else torch.rand(total, 3, generator=torch.Generator().manual_seed(seed))
    count = 1 + seed % total
    found = farthest_first(points, count, torch.arange(min(starts, total))).tolist()
    assert len(found) == len(set(found)) == count


def test_coreset_leaves_the_points_as_they_are() -> None:
    points = torch.rand(50, 4)
    before = points.clone()
    farthest_first(points, 10, torch.arange(10))
    assert torch.equal(points, before)


def test_projection_is_drawn_as_the_official_layer_is() -> None:
    matrix, generator = mapper(1024, 128, seed=1)
    assert matrix is not None
    assert matrix.shape == (1024, 128)
    assert float(matrix.abs().max()) <= 1 / 32
    assert float(matrix.std()) == pytest.approx(1 / 32 / 3**0.5, rel=0.01)
    assert len(set(draw(500, 10, generator).tolist())) == 10
    assert len(draw(5, 10, generator)) == 5
    again, _ = mapper(1024, 128, seed=1)
    other, _ = mapper(1024, 128, seed=2)
    assert torch.equal(matrix, again)
    assert other is not None
    assert not torch.equal(matrix, other)
    assert mapper(128, 128, seed=1)[0] is None


def test_far_points_alone_are_compared_with_all_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thirds of the points lie in tight heaps: once a choice covers a heap, its points are left alone."""
    monkeypatch.setattr(coreset, "CANDIDATES", 16)
    monkeypatch.setattr(coreset, "STALE", 32)
    rng = np.random.default_rng(0)
    heaps = np.repeat(rng.normal(0, 5, (8, 6)), 250, axis=0) + rng.normal(0, 1e-3, (2000, 6))
    points = np.concatenate([heaps, rng.normal(0, 5, (1000, 6))]).astype(np.float32)
    compared = 0
    refresh = coreset._refresh

    def counted(*arguments: Tensor) -> None:
        nonlocal compared
        compared += sum(arguments[5].shape[1] - int(before) for before in arguments[4])
        refresh(*arguments)

    monkeypatch.setattr(coreset, "_refresh", counted)
    starts = torch.arange(10) * 300
    found = farthest_first(torch.from_numpy(points), 300, starts)
    assert found.tolist() == naive_coreset(points.astype(float), 300, starts.tolist())
    assert compared < 0.7 * 3000 * 300


def batches_of(vectors: Tensor, size: int, steps: list[str]) -> coreset.Batches:
    def batches(what: str) -> Iterator[Tensor]:
        steps.append(what)
        yield from vectors.split(size)

    return batches


def test_bank_holds_the_chosen_vectors_in_their_order() -> None:
    vectors, steps = torch.rand(100, 12, generator=torch.Generator().manual_seed(0)), list[str]()
    bank = memory_bank(batches_of(vectors, 17, steps), lambda total: 3 * total // 10, 12, 5, 10, 3, "cpu")
    matrix, generator = mapper(12, 5, seed=3)
    assert matrix is not None
    chosen = farthest_first(vectors @ matrix, 30, draw(100, 10, generator))
    assert torch.equal(bank, vectors[chosen.sort().values])
    assert steps == ["patch embeddings", "memory bank"]


def test_whole_bank_is_kept_in_order() -> None:
    vectors = torch.rand(20, 3)
    assert torch.equal(memory_bank(batches_of(vectors, 6, []), lambda total: total, 3, 5, 10, 0, "cpu"), vectors)


def test_memory_is_demanded_for_bank_and_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = 4 * 100 * 64 + 4 * (2 * 1000 + 100) * 8
    monkeypatch.setattr(coreset, "free_bytes", lambda device: needed)
    must_fit("Mine", 100, 1000, 64, 8, "cpu", None, "lower it")
    monkeypatch.setattr(coreset, "free_bytes", lambda device: needed - 1)
    with pytest.raises(UserError, match=r"Mine's bank of 100 vectors takes .* are free on cpu") as caught:
        must_fit("Mine", 100, 1000, 64, 8, "cpu", None, "lower it")
    assert "lower it" in str(caught.value)
    with pytest.raises(UserError, match="more than `max_bank_bytes`"):
        must_fit("Mine", 100, 1000, 64, 8, "cpu", 4 * 100 * 64 - 1, "lower it")
