"""Training: the loss of each fit by epoch, and whether it has levelled off. Nothing for methods without training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from afrad_bench.report.basis.evidence import Evidence, RowEvidence
from afrad_bench.report.basis.figures import blocks, key, label, named, of_data, over, part_of, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.drawing.shapes import Figure, Losses, Numbers, Panel, Stroke
from afrad_bench.report.model import Entry, Heading, Line, RowSpec, Section, Table
from afrad_bench.types import Curve

SETTLED = 0.02
"""A loss has levelled off if its fall over the last tenth of the epochs is at most this share of its whole fall."""
PANELS, POINTS = 12, 100
"""Largest number of panels in a figure, and of points in a line."""
RULE = (
    "A loss counts as levelled off if its fall over the last tenth of the epochs (from the tenth before, at least one "
    f"epoch each) is at most {SETTLED:.0%} of its fall since the first epoch. Losses of different methods are "
    "different quantities, which cannot be compared.",
)


@dataclass(frozen=True, slots=True)
class Trained:
    """The fits of one row on one data set."""

    row: RowSpec
    dataset: str
    by_seed: Mapping[int, tuple[Curve, ...]]
    """One fit for each seed, or one for each part of the data."""

    @property
    def fits(self) -> tuple[Curve, ...]:
        """All of them."""
        return tuple(fit for found in self.by_seed.values() for fit in found)

    @property
    def unsettled(self) -> int:
        """How many fits ended before their loss levelled off."""
        return sum((last_fall(fit.x, fit.y) or 0.0) > SETTLED for fit in self.fits)

    @property
    def risen(self) -> int:
        """How many fits of several epochs ended with a loss that is not below the first one."""
        return sum(len(fit.x) > 1 and last_fall(fit.x, fit.y) is None for fit in self.fits)


def last_fall(epochs: Numbers, loss: Numbers) -> float | None:
    """The fall of a loss over the last tenth of its epochs as a share of its whole fall since the first epoch; negative
    if it rose at the end, None if it did not fall at all.

    >>> last_fall((1, 2, 3, 4), (9.0, 5.0, 2.0, 1.0)), last_fall((1, 2), (1.0, 1.5))
    (0.125, None)
    """
    end = epochs[-1]
    last = [y for x, y in zip(epochs, loss, strict=True) if x > 0.9 * end]
    earlier = loss[: -len(last)]
    before = [y for x, y in zip(epochs, loss, strict=True) if 0.8 * end < x <= 0.9 * end] or earlier[-1:]
    whole = loss[0] - fmean(last)
    return (fmean(before) - fmean(last)) / whole if whole > 0 else None


def training(grid: Grid, found: Evidence) -> Section | None:
    """Figures of all losses, a sentence on those that still fell, and a table; None if the store has no losses."""
    trained = list(_trained(found.trainings))
    if not trained:
        return None
    figures = [figure for name in grid.datasets for figure in _figures(grid, [t for t in trained if t.dataset == name])]
    said = (*_sentences(grid, trained), *_missing(grid, trained), *RULE)
    return Section("training", "Training", (_table(grid, trained),), said, tuple(figures))


def _trained(found: Sequence[RowEvidence[Curve]]) -> Iterator[Trained]:
    for (_, dataset), ones in groupby(found, key=lambda one: (one.style, one.dataset)):
        of_row = list(ones)
        yield Trained(of_row[0].row, dataset, {one.seed: tuple(one) for one in of_row})


# ------------------------------------------------------------------------------------------------------------- in words


def _sentences(grid: Grid, trained: Sequence[Trained]) -> Iterator[str]:
    falling = [f"{_name(grid, each)} ({each.unsettled} of {len(each.fits)} fits)" for each in trained if each.unsettled]
    rising = [f"{_name(grid, each)} ({each.risen} of {len(each.fits)} fits)" for each in trained if each.risen]
    if falling:
        yield f"The loss has not levelled off for {named(falling)}: more epochs may change these results."
    if rising:
        yield f"The loss ended no lower than it began for {named(rising)}."


def _missing(grid: Grid, trained: Sequence[Trained]) -> Iterator[str]:
    known = {each.row.label for each in trained}
    counted = {use.row.label: use.run for use in grid.counted if use.run.row["final_loss"] is not None}
    if without := [name for name in counted if name not in known]:
        yield (
            f"No losses by epoch are stored for {named(without)}: the training was before they were kept "
            "(`run --force` trains again)."
        )


def _name(grid: Grid, each: Trained) -> str:
    return of_data(grid, each.row.label, each.dataset)


def _table(grid: Grid, trained: Sequence[Trained]) -> Table:
    headings = (
        Heading("Method", numeric=False),
        Heading("Fits", hint="One for each seed, or for each seed and part of the data"),
        Heading("Epochs", hint="Passes over the training images"),
        Heading("first loss", hint="Mean over fits of the mean loss of the first epoch"),
        Heading("last loss", hint="Mean over fits of the mean loss of the last epoch"),
        Heading("last tenth", unit="%", hint="Fall over the last tenth of the epochs, in percent of the whole fall"),
        Heading("Levelled off", numeric=False),
    )
    return Table("Loss of each method", headings, tuple(_line(grid, each) for each in trained), folded=True)


def _line(grid: Grid, each: Trained) -> Line:
    fits = each.fits
    epochs = sorted({int(fit.x[-1]) for fit in fits})
    first, last = fmean(fit.y[0] for fit in fits), fmean(fit.y[-1] for fit in fits)
    shares = [share for fit in fits if len(fit.x) > 1 and (share := last_fall(fit.x, fit.y)) is not None]
    share = 100 * fmean(shares) if shares else None
    entries = (
        Entry(_name(grid, each), flag="random weights" if each.row.label in grid.random else ""),
        Entry(str(len(fits)), number=len(fits)),
        Entry(str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]}–{epochs[-1]}", number=epochs[0]),
        Entry(f"{first:.4g}", number=first),
        Entry(f"{last:.4g}", number=last),
        Entry("–" if share is None else f"{share:.1f}", number=share),
        _verdict(each),
    )
    return Line(entries)


def _verdict(each: Trained) -> Entry:
    count, open_ = len(each.fits), each.unsettled + each.risen
    if all(len(fit.x) == 1 for fit in each.fits):
        return Entry("one epoch")
    if not open_:
        return Entry("yes")
    return Entry("no" if open_ == count else f"{count - open_} of {count} fits", level="unsure")


# -------------------------------------------------------------------------------------------------------------- figures


def _figures(grid: Grid, trained: Sequence[Trained]) -> Iterator[Figure]:
    seeds = sorted({seed for each in trained for seed in each.by_seed})
    parts = blocks(len(trained), PANELS)
    for number, part in enumerate(parts, 1):
        shown, dataset = trained[part], trained[0].dataset
        panels = tuple(Panel(label(grid, each.row), tuple(_strokes(each, seeds))) for each in shown)
        divided = any(len(fits) > 1 for each in shown for fits in each.by_seed.values())
        caption = [f"Mean loss of each epoch; every panel has its own scale. Profile {grid.spec.profile}."]
        if divided:
            caption.append(
                "Of a seed with several fits, one for each part of the data, the line is the mean; the shade reaches "
                "from the lowest to the highest."
            )
        yield Figure(
            key=key(grid, "training", dataset, number),
            title=of_data(grid, part_of("Training loss", number, parts), dataset),
            description=f"Training loss by epoch, a panel for each method, a line for each seed. "
            f"{'; '.join(map(_words, shown))}.",
            caption=tuple(caption),
            stamp=stamp(grid, dataset, over(seeds)),
            drawing=Losses(panels, tuple((style, f"seed {seed}") for style, seed in enumerate(seeds))),
            folded=len(parts) > 1,
        )


def _words(each: Trained) -> str:
    first, last = (fmean(fit.y[end] for fit in each.fits) for end in (0, -1))
    state = "still falling" if each.unsettled else "risen" if each.risen else "levelled off"
    return f"{each.row.label}: from {first:.3g} to {last:.3g} in {each.fits[0].x[-1]:.0f} epochs, {state}"


def _strokes(each: Trained, seeds: Sequence[int]) -> Iterator[Stroke]:
    import numpy as np

    from afrad_bench.instruments.polyline import spread

    for seed, fits in each.by_seed.items():
        lines = [(np.array(fit.x), np.array(fit.y)) for fit in fits]
        epochs = np.array(min((fit.x for fit in fits), key=lambda x: x[-1]))
        at = epochs[np.unique(np.linspace(0, len(epochs) - 1, min(len(epochs), POINTS)).round().astype(int))]
        mean, low, high = (tuple(float(f"{y:.4g}") for y in found) for found in spread(lines, at))
        several = len(fits) > 1
        yield Stroke(seeds.index(seed), tuple(at.tolist()), mean, low if several else (), high if several else ())
