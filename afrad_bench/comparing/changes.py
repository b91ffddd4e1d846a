"""The change of each number from BASE to NEW, with its uncertainty.

Image metrics: paired by seed and image. Their noise has two sources, seeds and images (`over_seeds_and_images`). The
noise of images is estimated by bootstrap from the stored image scores; normal and anomalous images of each category are
drawn separately. I-AUROC also has DeLong's test. All other metrics: paired by seed. Latency: the ratio of calls of the
same interleaved round, with a bootstrap over rounds."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median
from typing import TYPE_CHECKING

from afrad_bench.comparing.pairs import Pair, Paired, pair
from afrad_bench.comparing.side import LATENCY, Key, Row, Side, Timed, metrics
from afrad_bench.errors import first_line
from afrad_bench.statistics import Estimate, Student, holm, over_seeds, over_seeds_and_images
from afrad_bench.types import MEAN

if TYPE_CHECKING:
    from afrad_bench.comparing.image_noise import ImageNoise

DRAWS, LATENCY_DRAWS = 2000, 4000
"""Bootstrap draws over images, of which only the variance is used, and over rounds, of which the tails are used."""


@dataclass(frozen=True, slots=True)
class Change:
    """One number of one row in BASE and NEW. Percentages are in points; the change of a latency is relative."""

    key: Key
    metric: str
    category: str | None
    base: float | None = None
    new: float | None = None
    """`base` and `new`: means over the seeds that are compared."""
    estimate: Estimate | None = None
    """NEW minus BASE with all its noise, or for latency NEW / BASE minus 1; None if it cannot be estimated."""
    by_images: tuple[float, float] | None = None
    """95 % interval over images alone; the seeds are fixed."""
    by_seeds: tuple[float, float] | None = None
    """95 % interval over seeds alone; the images are fixed."""
    delong: float | None = None
    """Two-sided p of DeLong's test, over images."""
    p: float | None = None
    """Two-sided p of `estimate`."""
    p_holm: float | None = None
    """The same after Holm's correction over all headline numbers with noise; None for others."""
    seeds: int = 0
    images: int = 0
    rounds: int = 0
    why: str = ""
    """Why there is no estimate."""
    refused: bool = False
    """There is no estimate because terms differ."""
    advisory: str = ""
    """Why the change is only advisory; empty if it may decide."""
    unreliable: str = ""
    """Why its values must not be trusted; a ratio within rounds may hold nevertheless."""
    now: float | None = None
    """The value of NEW over all its seeds or calls, whatever BASE has; for limits. None if any of them is undefined."""
    added: bool = False
    """Only NEW has it."""

    @property
    def relative(self) -> bool:
        return self.metric == LATENCY

    @property
    def headline(self) -> bool:
        """Whether it summarises a whole row in a metric of the main tables."""
        return self.relative or (self.category in (MEAN, None) and metrics()[self.metric].headline)

    @property
    def is_noisy(self) -> bool:
        """Whether its interval is wider than 0."""
        return self.estimate is not None and len(set(self.estimate.interval(0.5))) > 1

    @property
    def better(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if metrics()[self.metric].higher_is_better else -1


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of a comparison of two sides."""

    base: str
    new: str
    changes: tuple[Change, ...]
    missing: tuple[str, ...]
    """What BASE has and NEW lacks: rows, seeds, failures, in words."""
    allowed: tuple[str, ...]
    """Terms that differ, but are allowed to."""
    changed: tuple[str, ...]
    """Code, parameters and packages that differ."""
    notes: tuple[str, ...]
    added: tuple[Change, ...] = ()
    """Numbers that only NEW has: only `now` is set."""
    runs: Mapping[Key, tuple[str, ...]] = field(default_factory=dict)
    """Key of a change -> ids of the runs that gave the values of NEW, where it is a store."""


def compare(
    base: Side, new: Side, allow: Collection[str] = (), renamed: Mapping[str, str] | None = None, count: int = DRAWS
) -> Comparison:
    """Compare NEW with BASE. Numbers whose terms differ are refused unless `allow` names the terms."""
    paired = pair(base, new, renamed or {}, allow)
    found = [change for one in paired.pairs for change in _of_pair(one, allow, count)]
    return Comparison(
        base.name,
        new.name,
        tuple(_corrected(found)),
        tuple(_missing(paired, allow)),
        tuple(dict.fromkeys(text for one in paired.pairs for text in one.allowed(allow))),
        tuple(dict.fromkeys(text for one in paired.pairs for text in one.changed)),
        (*(f"BASE, {note}" for note in base.notes), *(f"NEW, {note}" for note in new.notes), *_extra(paired)),
        tuple(_added(paired, new)),
        {key: one.new.runs for one in paired.pairs for key in (one.base.key, one.new.key)}
        | {key: new.rows[key].runs for key in paired.extra},
    )


def _corrected(changes: Sequence[Change]) -> list[Change]:
    """The changes with p after Holm's correction over the headline numbers that have noise."""
    tested = [i for i, each in enumerate(changes) if each.p is not None and each.headline and each.is_noisy]
    adjusted = dict(zip(tested, holm([changes[i].p or 0.0 for i in tested]), strict=True))
    return [replace(each, p_holm=adjusted.get(i)) for i, each in enumerate(changes)]


def _missing(paired: Paired, allow: Collection[str]) -> Iterator[str]:
    for key in paired.missing:
        yield f"{key}: NEW has no such row" + (f" of profile {key.profile}" if key.profile else "")
    for one in paired.pairs:
        for seed, measure, error in one.new.failed:
            yield f"{one.base.key}, seed {seed}: {measure} failed in NEW ({first_line(error)})"
        failed = {seed for seed, _, _ in one.new.failed}
        if (lacking := [seed for seed in one.lacking if seed not in failed]) and "seeds" not in allow:
            yield f"{one.base.key}: NEW lacks seeds {', '.join(map(str, lacking))}, or parts of their data"


def _extra(paired: Paired) -> Iterator[str]:
    if paired.extra:
        yield f"only NEW has: {'; '.join(map(str, paired.extra))}"
    for one in paired.pairs:
        if one.base.failed:
            _, measure, error = one.base.failed[0]
            yield f"{one.base.key}: {len(one.base.failed)} failed in BASE, the first is {measure} ({first_line(error)})"


def _added(paired: Paired, new: Side) -> Iterator[Change]:
    """The numbers of NEW that BASE lacks."""
    partners = [(one.base, one.new) for one in paired.pairs] + [(None, new.rows[key]) for key in paired.extra]
    for was, row in partners:
        for metric, category in row.values:
            if was is None or (metric, category) not in was.values:
                now = _whole(row, metric, category)
                yield Change(row.key, metric, category, unreliable=_doubts(metric, NEW=row), now=now, added=True)
        for way in row.ways:
            if was is None or way not in was.ways:
                doubts, now = _doubts(LATENCY, NEW=row), median(row.calls(way))
                yield Change(row.key, LATENCY, _way(*way), unreliable=doubts, now=now, added=True)


def _whole(row: Row, metric: str, category: str | None) -> float | None:
    """A number of a row over all its seeds, in the unit in which it is shown; None if it is undefined for any."""
    values = list(row.values.get((metric, category), {}).values())
    known = [value for value in values if value is not None]
    scale = 100.0 if metrics()[metric].percent else 1.0
    return scale * fmean(known) if known and len(known) == len(values) else None


def _doubts(metric: str, **sides: Row) -> str:
    """Why the values of a metric must not be trusted; empty if they may."""
    found: dict[str, list[str]] = {}
    for name, row in sides.items():
        if metric in row.unreliable:
            found.setdefault(row.unreliable[metric], []).append(name)
    return "; ".join(f"unreliable in {' and '.join(names)}: {doubt}" for doubt, names in found.items())


def _way(mode: str, batch: int) -> str:
    return f"{mode}, batch {batch}"


def _of_pair(one: Pair, allow: Collection[str], count: int) -> Iterator[Change]:
    key = one.base.key
    from afrad_bench.comparing.image_noise import ImageNoise

    images = ImageNoise(one, count)
    for metric, category in dict.fromkeys((*one.base.values, *one.new.values)):
        doubts, now = _doubts(metric, BASE=one.base, NEW=one.new), _whole(one.new, metric, category)
        bare = Change(key, metric, category, advisory=doubts, unreliable=doubts, now=now)
        if refused := one.refused(metric, allow):
            yield replace(bare, why=f"terms differ: {'; '.join(refused)}", refused=True)
        elif (metric, category) in one.base.values:
            yield _of_number(one, bare, images)
    yield from _of_calls(one, allow)


def _of_number(one: Pair, bare: Change, images: ImageNoise) -> Change:
    scale = 100.0 if metrics()[bare.metric].percent else 1.0
    was, now = (side.values.get((bare.metric, bare.category), {}) for side in (one.base, one.new))
    base, new = (
        {seed: value * scale for seed in one.seeds if (value := of.get(seed)) is not None} for of in (was, now)
    )
    if not base:
        return replace(bare, why="undefined in BASE")
    lost = [seed for seed in one.seeds if seed in base and seed not in new]
    if lost or not new:
        return replace(bare, why=f"NEW has no value for seeds {', '.join(map(str, lost))}")
    seeds = [seed for seed in one.seeds if seed in base and seed in new]
    changes = [new[seed] - base[seed] for seed in seeds]
    made = replace(
        bare,
        base=fmean(base[seed] for seed in seeds),
        new=fmean(new[seed] for seed in seeds),
        seeds=len(seeds),
        by_seeds=over_seeds(changes).interval(0.95) if len(changes) > 1 else None,
    )
    found = images.of(bare.metric, bare.category, seeds)
    if found is not None:
        estimate: Estimate = over_seeds_and_images(changes, found.together * scale**2, found.each * scale**2)
        low, high = (end * scale for end in found.interval)
        made = replace(made, images=found.images, by_images=(low, high), delong=found.delong)
    elif len(changes) > 1 or changes == [0.0]:
        estimate = over_seeds(changes) if len(changes) > 1 else Student(0.0, 0.0)
    else:
        return replace(made, why="one seed and no image scores: its noise is unknown")
    return replace(made, estimate=estimate, p=min(1.0, 2 * min(estimate.p_below, estimate.p_above)))


# ------------------------------------------------------------------------------------------------------------- latency


def _of_calls(one: Pair, allow: Collection[str]) -> Iterator[Change]:
    """For each mode and batch: the ratio over common rounds of common sessions, else over all calls (advisory)."""
    refused, doubts = one.refused(LATENCY, allow), _doubts(LATENCY, BASE=one.base, NEW=one.new)
    for way in one.base.ways:
        was, now = ([each for each in row.timed if (each.mode, each.batch) == way] for row in (one.base, one.new))
        bare = Change(one.base.key, LATENCY, _way(*way), unreliable=doubts)
        if not now:
            yield replace(bare, why="NEW has no such calls")
            continue
        bare = replace(bare, now=median(one.new.calls(way)))
        if refused:
            yield replace(bare, why=f"terms differ: {'; '.join(refused)}", refused=True)
        else:
            yield _of_way(bare, was, now)


def _of_way(bare: Change, was: Sequence[Timed], now: Sequence[Timed]) -> Change:
    from afrad_bench.statistics.resampling import median_ratio, ratio_of_medians

    later = {calls.session: calls for calls in now}
    rounds = [
        (before.ms[at], later[before.session].ms[at])
        for before in was
        if before.session in later
        for at in before.ms
        if at in later[before.session].ms
    ]
    seed = zlib.crc32(f"{bare.key} {bare.category}".encode())
    if rounds:
        estimate = median_ratio([after / before for before, after in rounds], LATENCY_DRAWS, seed)
        series = [list(side) for side in zip(*rounds, strict=True)]
    else:
        series = [[ms for calls in side for ms in calls.ms.values()] for side in (was, now)]
        estimate = ratio_of_medians(series[0], series[1], LATENCY_DRAWS, seed)
    made = replace(
        bare,
        base=median(series[0]),
        new=median(series[1]),
        estimate=estimate,
        p=min(1.0, 2 * min(estimate.p_below, estimate.p_above)),
        rounds=min(map(len, series)),
    )
    devices = [" and ".join(dict.fromkeys(calls.device for calls in side)) for side in (was, now)]
    if devices[0] != devices[1]:
        return replace(made, advisory=f"devices differ: {devices[0]}; {devices[1]}")
    return made if rounds else replace(made, advisory="timed in different sessions, so the calls are not paired")
