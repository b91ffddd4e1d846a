"""The feature cache: computed once, shared, checked, bounded."""

from __future__ import annotations

import json
import os
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from afrad_bench.backbone import features
from afrad_bench.backbone.entries import Entries
from afrad_bench.backbone.extractor import Extractor
from afrad_bench.backbone.features import FeatureCache
from afrad_bench.backbone.maps import FeatureMaps
from afrad_bench.backbone.weights import BackboneConfig, WideResNet50
from afrad_bench.errors import UserError
from afrad_bench.images.sets import ImageArray, ImageSet, test_images, train_images
from afrad_bench.types import Dataset
from afrad_bench.writing import DiskFull
from tests.conftest import drawn_dataset
from tests.full_disk import no_file_above

CONFIG = BackboneConfig(name="resnet18", weights="random")
HALF = BackboneConfig(name="resnet18", weights="random", precision="float16")


@pytest.fixture
def images() -> ImageSet:
    return train_images(drawn_dataset(), 64)


def opened(folder: Path, limit: int = 2**30) -> tuple[FeatureCache, Extractor]:
    cache = FeatureCache(folder, limit)
    return cache, cache.extractor(CONFIG, (8, 16), 64, "cpu")


class CountingImages:
    """Counts how often images are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.decoded = 0
        real = ImageSet.array

        def array(inner: ImageSet) -> np.ndarray:
            self.decoded += len(inner)
            return real(inner)

        monkeypatch.setattr(ImageSet, "array", array)


def entry_of(cache: FeatureCache, folder: Path) -> Path:
    """The folder of the map of reduction 16."""
    (key,) = [entry.key for entry in cache.entries() if "reduction 16" in entry.what]
    return folder / "features" / key


def test_a_second_process_reads_what_the_first_computed(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = CountingImages(monkeypatch)
    cache, net = opened(tmp_path)
    first = cache.read(net, images)
    assert count.decoded == len(images)
    assert cache.seconds > 0
    again, net = opened(tmp_path)
    second = again.read(net, images)
    assert count.decoded == len(images)
    assert again.seconds == 0
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)


def test_features_are_those_of_the_network(tmp_path: Path, images: ImageSet) -> None:
    import torch

    cache, net = opened(tmp_path)
    maps = cache.read(net, images)
    with torch.inference_mode():
        direct = net(torch.from_numpy(images.array()))
    assert [m.shape for m in maps] == [(24, 128, 8, 8), (24, 256, 4, 4)]
    for a, b in zip(maps, direct, strict=True):
        assert np.allclose(a, b.numpy(), atol=1e-5)
        assert a.dtype == np.float32


def test_batches_are_rows_of_the_whole(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    whole = cache.read(net, images)
    part = images.subset([5, 0, 23]).subset([2, 0])
    for a, b in zip(cache.read(net, part), whole, strict=True):
        assert np.array_equal(a, b[[23, 5]])


def test_images_in_memory_are_not_cached(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    pixels = images.subset([1, 2]).array()
    for a, b in zip(cache.read(net, ImageArray(pixels)), cache.read(net, images.subset([1, 2])), strict=True):
        assert np.allclose(a, b, atol=1e-5)
    assert len(cache.entries()) == 2  # of the set, none of the array


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("grid", [None, 8, 16])
def test_tensors_are_what_is_read_to_the_bit(
    tmp_path: Path, images: ImageSet, grid: int | None, precision: str
) -> None:
    config = BackboneConfig(name="resnet18", weights="random", precision=precision)
    kept, computed = FeatureCache(tmp_path), FeatureCache(None)
    pixels = ImageArray(images.array())
    for chosen in (images, images.subset([5, 0]), pixels):  # several batches, one, images without a fingerprint
        for cache in (kept, computed):
            net = cache.extractor(config, (8, 16), 64, "cpu", grid=grid)
            tensors, arrays = cache.tensors(net, chosen), cache.read(net, chosen)
            assert len(tensors) == len(arrays)
            for ours, theirs in zip(tensors, arrays, strict=True):
                assert ours.dtype == torch.float32
                assert np.array_equal(ours.numpy(), theirs)
                assert not ours.is_inference()  # a method trains on them


def test_every_term_has_its_own_entry(tmp_path: Path, dataset: Dataset) -> None:
    cache, net = opened(tmp_path)
    cache.read(net, train_images(dataset, 64))
    cache.read(net, test_images(dataset, 64))
    cache.read(net, train_images(drawn_dataset(train=3), 64))
    assert len(cache.entries()) == 2 * 3
    cache.read(cache.extractor(CONFIG, (8, 16), 64, "cpu", grid=16), train_images(dataset, 64))
    cache.read(cache.extractor(CONFIG, (8, 16), 64, "cpu", grid=16, resize="area"), train_images(dataset, 64))
    assert len(cache.entries()) == 6 + 2  # of reduction 8, resized; that of reduction 16 is there
    cache.read(cache.extractor(CONFIG, (8, 16), 64, "cpu", after_ones=True), train_images(dataset, 64))
    cache.read(cache.extractor(CONFIG, (8, 16), 96, "cpu"), train_images(dataset, 96))
    assert len(cache.entries()) == 8 + 2 + 2


def test_maps_that_another_method_reads_are_taken(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    cache.read(net, images)
    computed = cache.seconds
    for other in (
        cache.extractor(CONFIG, (8,), 64, "cpu"),
        cache.extractor(CONFIG, (8, 16), 64, "cpu", grid=8),
        cache.extractor(CONFIG, (8, 16), 64, "cpu", grid=4, resize="area"),
    ):
        (maps,) = cache.read(other, images)
        assert len(maps) == len(images)
    assert cache.seconds == computed


SETS = [
    FeatureMaps(CONFIG, (4, 8, 16), 64),
    FeatureMaps(WideResNet50(name="resnet18", weights="random"), (8,), 64),  # a class of its own, but the same net
    FeatureMaps(CONFIG, (8, 16, 32), 64, grid=4),
    FeatureMaps(CONFIG, (4, 8, 32), 64, grid=16, resize="aligned"),
    FeatureMaps(CONFIG, (4, 16), 64, grid=8, resize="area"),
    FeatureMaps(HALF, (8, 16), 64),
    FeatureMaps(HALF, (4, 16), 64, grid=8, resize="aligned"),
]


def test_one_pass_computes_what_is_foreseen_and_changes_no_bit(
    tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = FeatureCache(None)
    extractors = [alone.extractor(maps.backbone, maps.reductions, 64, "cpu", maps.grid, maps.resize) for maps in SETS]
    with torch.inference_mode():
        batches = [torch.from_numpy(batch.array()) for batch in images.batches(features.BATCH)]
        wanted = [[torch.cat(parts) for parts in zip(*map(net, batches), strict=True)] for net in extractors]
    count = CountingImages(monkeypatch)
    cache = FeatureCache(tmp_path, foreseen={images.fingerprint: SETS, "another set": [FeatureMaps(CONFIG, (2,), 64)]})
    for net, outputs in zip(extractors, wanted, strict=True):
        for maps, output in zip(cache.read(net, images), outputs, strict=True):
            assert np.array_equal(maps, output.numpy())
        few = images.subset([3, 17])
        for maps, output in zip(cache.read(net, few), outputs, strict=True):
            assert np.array_equal(maps, output[[3, 17]].numpy())
    assert count.decoded == len(images)
    kept = [entry.what.partition(" at ")[0] for entry in cache.entries()]
    assert len(set(kept)) == len(kept) == 4 + 2 + 1 + 2 + 1  # as they are, aligned, by area; of float16


def test_float16_takes_half_the_space_and_is_what_the_network_computes_with(tmp_path: Path, images: ImageSet) -> None:
    (tmp_path / "half").mkdir()
    cache, net = opened(tmp_path)
    whole = cache.read(net, images)
    half = FeatureCache(tmp_path / "half")
    rounded = half.read(half.extractor(HALF, (8, 16), 64, "cpu"), images)
    sizes = [sum(entry.bytes for entry in one.entries()) for one in (half, cache)]
    assert 0.5 < sizes[0] / sizes[1] < 0.51
    for a, b in zip(rounded, whole, strict=True):
        assert a.dtype == np.float32
        assert np.array_equal(a, b.astype(np.float16).astype(np.float32))
        assert not np.array_equal(a, b)
    assert half.extractor(HALF, (8, 16), 64, "cpu").key != net.key


def test_values_beyond_float16_are_refused(tmp_path: Path, images: ImageSet) -> None:
    cache = FeatureCache(tmp_path)
    net = cache.extractor(HALF, (8, 16), 64, "cpu")
    norm = net.net.layer3[1].bn2  # type: ignore[union-attr,index]
    norm.bias.fill_(1e5)
    with pytest.raises(
        UserError, match=r"resnet18, reduction 16, 4 x 4, float16: features reach 1.*e\+05, but float16"
    ):
        cache.read(net, images)
    assert cache.entries() == []
    assert list((tmp_path / "features").iterdir()) == []


def test_the_default_precision_is_not_written_into_configurations() -> None:
    """Else every cell that was stored before there was a choice would be another one."""
    assert CONFIG.model_dump(mode="json") == {"name": "resnet18", "weights": "random"}
    assert HALF.model_dump(mode="json")["precision"] == "float16"


def test_what_is_foreseen_is_left_out_if_it_does_not_fit(tmp_path: Path, images: ImageSet) -> None:
    limit = 24 * (128 * 64 + 256 * 16) * 4 + 1000
    cache = FeatureCache(tmp_path, limit, foreseen={images.fingerprint: SETS})
    net = cache.extractor(CONFIG, (8, 16), 64, "cpu")
    cache.read(net, images)
    assert len(cache.entries()) == 2
    assert cache.notes == []
    assert cache.read(cache.extractor(CONFIG, (4,), 64, "cpu"), images)[0].shape == (24, 64, 16, 16)
    assert any("not cached" in note for note in cache.notes)


def test_what_a_file_of_maps_says_is_what_the_backbone_gives(tmp_path: Path) -> None:
    """The sizes that `plan` shows are of networks without memory."""
    for name in ("resnet18", "tf_efficientnet_lite0", "swin_tiny_patch4_window7_224"):
        config, side = BackboneConfig(name=name, weights="random"), 224
        net = FeatureCache(None).extractor(config, (4, 8, 16), side, "cpu", grid=8)
        with torch.inference_mode():
            kept = net.kept(torch.rand(1, 3, side, side), net.parts)
        assert [tuple(one.shape[1:]) for one in kept] == [part.shape for part in net.parts]
        assert [part.resize for part in net.parts] == ["bilinear", None, None]


@pytest.mark.parametrize("damage", ["bit", "short", "no meta", "bad meta", "missing map"])
def test_a_damaged_entry_is_noticed_and_rebuilt(tmp_path: Path, images: ImageSet, damage: str) -> None:
    cache, net = opened(tmp_path)
    good = [np.array(m) for m in cache.read(net, images)]
    folder = entry_of(cache, tmp_path)
    path = folder / "map0.npy"
    raw = bytearray(path.read_bytes())
    if damage == "bit":
        raw[-5] ^= 0x40
        path.write_bytes(raw)
    elif damage == "short":
        path.write_bytes(raw[:-100])
    elif damage == "no meta":
        (folder / "meta.json").unlink()
    elif damage == "bad meta":
        (folder / "meta.json").write_text("{")
    else:
        path.unlink()
    again, net = opened(tmp_path)
    for a, b in zip(again.read(net, images), good, strict=True):
        assert np.array_equal(a, b)
    assert any("damaged" in note for note in again.notes)
    assert again.seconds > 0
    third, net = opened(tmp_path)
    third.read(net, images)
    assert third.notes == []


META = {"what": "x", "images": 24, "maps": [{"shape": [24, 256, 4, 4], "crc32": 1}]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"text"',
        "{}",
        '{"maps": 3}',
        '{"what": "x", "images": 24, "maps": [1, 2]}',
        json.dumps({**META, "images": "many"}),
        json.dumps({**META, "maps": []}),
        json.dumps(META),
        json.dumps({**META, "maps": META["maps"] * 3}),
        json.dumps({**META, "maps": [{"shape": [24, 4, 16, 16], "crc32": 1}]}),
        "[" * 99999,
    ],
)
def test_any_bad_meta_is_rebuilt_with_a_note(tmp_path: Path, images: ImageSet, text: str) -> None:
    cache, net = opened(tmp_path)
    good = [np.array(m) for m in cache.read(net, images)]
    folder = entry_of(cache, tmp_path)
    (folder / "meta.json").write_text(text)
    again, net = opened(tmp_path)
    (listed,) = [entry for entry in again.entries() if entry.key == folder.name]  # as `cache list` and the limit see it
    assert listed.bytes > 1000
    for a, b in zip(again.read(net, images), good, strict=True):
        assert np.array_equal(a, b)
    assert again.notes == [f"feature cache entry {listed.key} was damaged and has been rebuilt"]
    third, net = opened(tmp_path)
    third.read(net, images)
    assert third.seconds == 0


def test_a_damaged_entry_can_be_cleared(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    cache.read(net, images)
    folder = entry_of(cache, tmp_path)
    (folder / "meta.json").write_bytes(b"\x00\xff")
    again, _ = opened(tmp_path)
    assert [entry.key for entry in again.entries() if entry.what.startswith("damaged")] == [folder.name]
    assert again.clear([folder.name]) > 0
    assert len(again.entries()) == 1


def test_files_that_are_no_entries_are_left_alone(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    cache.read(net, images)
    (tmp_path / "features" / "a note.txt").write_text("keep")
    assert len(cache.entries()) == 2
    cache.clear()
    assert (tmp_path / "features" / "a note.txt").is_file()


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    (tmp_path / "features").write_text("x")
    assert cache.entries() == []
    with pytest.raises(UserError, match=r"features: is a file, not a folder\n  remove it, or name another folder"):
        cache.read(net, images)


def test_a_full_disk_is_an_error_and_leaves_nothing(tmp_path: Path, images: ImageSet) -> None:
    """Written through a memory map, it would end the process with SIGBUS."""
    cache, net = opened(tmp_path)
    with no_file_above(100_000), pytest.raises(DiskFull) as caught:
        cache.read(net, images)
    assert not torch.is_inference_mode_enabled()  # what runs next may have to train
    told = str(caught.value)
    assert told.startswith(f"{tmp_path / 'features'}: cannot be written, the disk is full: ")
    assert all(word in told for word in ("`afrad-bench cache clear`", "--cache-limit GIB", "--cache FOLDER"))
    assert list((tmp_path / "features").iterdir()) == []
    assert cache.read(net, images)[0].shape[0] == len(images)  # later there is space


def test_features_of_another_thread_count_are_not_taken(tmp_path: Path, images: ImageSet) -> None:
    """They are rounded differently, so a result would depend on who filled the cache."""
    before = torch.get_num_threads()
    try:
        found = {}
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            cache, net = opened(tmp_path)
            maps = [np.array(m) for m in cache.read(net, images)]
            assert (cache.seconds == 0) == (threads in found)
            found.setdefault(threads, maps)
            for a, b in zip(maps, found[threads], strict=True):
                assert np.array_equal(a, b)
        told = sorted(entry.what for entry in cache.entries())
    finally:
        torch.set_num_threads(before)
    assert len(told) == 2 * 2
    assert sum("1 thread, " in one for one in told) == sum("2 threads, " in one for one in told) == 2


def test_a_killed_run_leaves_no_entry(tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, net = opened(tmp_path)

    def killed(done: int, total: int, what: str, loss: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "_watch", killed)
    with pytest.raises(KeyboardInterrupt):
        cache.read(net, images)
    assert cache.entries() == []
    again, net = opened(tmp_path)
    assert again.read(net, images)[0].shape[0] == len(images)
    again.clear()
    assert list((tmp_path / "features").iterdir()) == []


def test_two_runs_may_compute_the_same_entry(tmp_path: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without locks, where neither waits for the other."""
    monkeypatch.setattr(Entries, "being_written", lambda self, key: nullcontext())
    slow, net = opened(tmp_path)
    fast, other = opened(tmp_path)

    def overtaken(done: int, total: int, what: str, loss: float | None = None) -> None:
        if done == total:
            fast.read(other, images)

    monkeypatch.setattr(slow, "_watch", overtaken)
    first = slow.read(net, images)
    for a, b in zip(first, fast.read(other, images), strict=True):
        assert np.array_equal(a, b)
    assert slow.notes == []
    assert [path.name[0] != "." for path in (tmp_path / "features").iterdir()] == [True, True]


def test_the_size_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    sets = [train_images(drawn_dataset(train=n), 64) for n in (10, 11, 12)]
    one = 24 * (128 * 64 + 256 * 16) * 4
    cache, net = opened(tmp_path, limit=2 * one)
    for k, images in enumerate(sets[:2]):
        cache.read(net, images)
        for entry in cache.entries():
            if entry.images == len(images):
                os.utime(tmp_path / "features" / entry.key / "meta.json", (time.time() - 100 + k,) * 2)
    third, net = opened(tmp_path, limit=2 * one)
    third.read(net, sets[2])
    assert sorted(entry.images for entry in third.entries()) == [22, 22, 24, 24]


def test_what_is_too_large_is_computed_and_said(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path, limit=1000)
    assert cache.read(net, images)[0].shape[0] == 24
    assert cache.entries() == []
    assert any("not cached" in note for note in cache.notes)


def test_progress_is_not_told_of_each_batch_of_a_method(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each batch of uncached features would be another step: a flood of lines, and no time that is left."""
    told: list[tuple[int, int, str]] = []
    images = train_images(drawn_dataset(), 64)
    cache = FeatureCache(tmp_path, 1000, lambda *step: told.append(step[:3]))
    net = cache.extractor(CONFIG, (8, 16), 64, "cpu")
    for batch in images.batches(8):
        cache.read(net, batch)
    assert not told
    monkeypatch.setattr(features, "FEW", 16)
    cache.read(net, images)
    assert told[-1] == (24, 24, "backbone features")


def test_entries_tell_what_they_are(tmp_path: Path, images: ImageSet) -> None:
    cache, net = opened(tmp_path)
    cache.read(net, images)
    folder = entry_of(cache, tmp_path)
    (entry,) = [entry for entry in cache.entries() if entry.key == folder.name]
    assert entry.images == 24
    assert entry.bytes >= 24 * 256 * 16 * 4
    assert entry.what.startswith("resnet18 reduction 16, 4 x 4 at 64 px, ")
    facts = json.loads((folder / "meta.json").read_text())
    assert [m["shape"] for m in facts["maps"]] == [[24, 256, 4, 4]]
    assert cache.clear([entry.key]) == entry.bytes
    assert len(cache.entries()) == 1
