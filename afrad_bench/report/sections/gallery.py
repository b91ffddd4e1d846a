"""The gallery (Figs. 5 and 6 of the paper): test images, their ground truth, and the heat map of each method below.

Scales of anomaly maps cannot be compared between methods, so each method has its own, by the same rule: for each
category, from the lowest to the highest value of the method's maps of the chosen images, normal images included. So a
map is never scaled alone, and it is visible if a method marks normal images as strongly as defects."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from afrad_bench.report.basis import evidence
from afrad_bench.report.basis.evidence import Evidence, RowEvidence
from afrad_bench.report.basis.figures import blocks, key, label, named, of_data, packed, part_of, stamp
from afrad_bench.report.basis.grid import Grid
from afrad_bench.report.drawing.shapes import Column, Figure, Gallery, Tile
from afrad_bench.report.model import Section
from afrad_bench.types import Example, Role, Score

COLUMNS = 8
"""Maximum number of columns of a figure, so that it fits on a page."""

SCALE = "colour, for each method and category: from the lowest to the highest value of its maps of the chosen images"
COLOURS = (
    "Colour: scales of different methods cannot be compared, so for every method and category the darkest stands for "
    "the lowest and the brightest for the highest value of that method's maps of that category's chosen images, normal "
    "ones included; a map is never stretched alone."
)
READING = (
    "The images are chosen from the data alone and are the same for every method: of each category the first defective "
    "image of each kind of defect in turn, and the first normal ones.",
    COLOURS,
    "White outlines: the ground truth.",
    "Below each map: the share of the category's normal test images to which the method gives a lower image score "
    "(for a defect 100 % would be best).",
)


def gallery(grid: Grid, found: Evidence) -> Section | None:
    """A figure with one image per category, and folded figures with the others; None if the store has no examples."""
    figures = []
    for dataset in grid.datasets:
        seen = evidence.first_seeds(found.examples, dataset)
        if seen:
            figures += _figures(grid, Shown.of(grid, found, seen), dataset)
    if not figures:
        return None
    return Section("gallery", "Gallery", (), READING, tuple(figures))


@dataclass(frozen=True)
class Shown:
    """Examples of a suite's rows on one data set, with the scales that they are drawn with."""

    grid: Grid
    rows: tuple[RowEvidence[Example], ...]
    scales: Mapping[tuple[str, str], tuple[float, float]]
    """(Row, category) -> lowest and highest value of the maps of the chosen images."""
    normal: Mapping[tuple[str, str], Sequence[float]]
    """(Row, category) -> ascending image scores of the normal test images, of the same seed."""

    @classmethod
    def of(cls, grid: Grid, found: Evidence, rows: tuple[RowEvidence[Example], ...]) -> Shown:
        scores = {(one.row.label, one.dataset, one.seed): one for one in found.scores}
        scales: dict[tuple[str, str], tuple[float, float]] = {}
        normal: dict[tuple[str, str], Sequence[float]] = {}
        for row in rows:
            mine: RowEvidence[Score] | None = scores.get((row.row.label, row.dataset, row.seed))
            for category, examples in row.by_category.items():
                chosen = [one for one in examples if one.role == "chosen"] or examples
                spans = [(one.low, one.high) for one in chosen if one.low is not None and one.high is not None]
                if spans:
                    scales[row.row.label, category] = min(low for low, _ in spans), max(high for _, high in spans)
                of_category = () if mine is None else mine.by_category.get(category, ())
                normal[row.row.label, category] = sorted(one.pred_score for one in of_category if not one.gt_label)
        return cls(grid, rows, scales, normal)

    def images(self, role: Role) -> dict[str, list[Example]]:
        """Category -> one example of each image with this role, in order of rank, from any row."""
        images: dict[str, dict[str, Example]] = {category: {} for category in evidence.categories(self.rows)}
        for row in self.rows:
            for category, examples in row.by_category.items():
                for one in sorted((one for one in examples if one.role == role), key=lambda one: one.rank):
                    images[category].setdefault(one.image_id, one)
        return {category: list(found.values()) for category, found in images.items() if found}

    def column(self, category: str, image: Example, head: str) -> Column:
        """The image, its ground truth, and the map of each row."""
        if image.mask is None:
            truth = Tile("none", text="no mask")
        else:
            truth = Tile("mask", image.mask)
        tiles = [Tile("image", image.image), truth]
        for row in self.rows:
            same = [one for one in row.by_category.get(category, ()) if one.image_id == image.image_id]
            tiles.append(self._map(row, category, same[0]) if same else Tile("none", text="not measured"))
        return Column(category, head, tuple(tiles), image.image_id)

    def _map(self, row: RowEvidence[Example], category: str, one: Example) -> Tile:
        above = self._above(row, category, one)
        if one.anomaly_map is None or one.low is None or one.high is None:
            return Tile("none", text=f"no map\n{above}".strip())
        low, high = self.scales[row.row.label, category]
        width = high - low or 1.0
        span = ((one.low - low) / width, (one.high - low) / width)
        return Tile("map", one.anomaly_map, span, one.mask or b"", above)

    def _above(self, row: RowEvidence[Example], category: str, one: Example) -> str:
        normal = self.normal[row.row.label, category]
        return f"above {bisect_left(normal, one.pred_score) / len(normal):.0%} of normal" if normal else ""


def _figures(grid: Grid, shown: Shown, dataset: str) -> list[Figure]:
    images = [[(category, one) for one in found] for category, found in shown.images("chosen").items()]
    main = [of_category[0] for of_category in images]
    made = []
    for name, title, parts, folded in (
        ("gallery", "One image of each category", [main[part] for part in blocks(len(main), COLUMNS)], False),
        ("gallery_more", "More images", packed([of_category[1:] for of_category in images], COLUMNS), True),
    ):
        for number, part in enumerate(parts, 1):
            name_of = key(grid, name, dataset, number)
            figure = _figure(grid, shown, dataset, part, name_of, part_of(title, number, parts))
            made.append(replace(figure, folded=folded))
    return made


def _figure(
    grid: Grid, shown: Shown, dataset: str, picked: Sequence[tuple[str, Example]], name: str, title: str
) -> Figure:
    columns = tuple(shown.column(category, image, image.defect) for category, image in picked)
    labels = [label(grid, row.row) for row in shown.rows]
    ids = ", ".join(image.image_id for _, image in picked)
    seeds = evidence.of_seeds(shown.rows)
    return Figure(
        key=name,
        title=of_data(grid, title, dataset),
        description=(
            f"Rows: test image, ground truth, then the anomaly map of {named(labels)}. Columns: {ids}. "
            + _scores_in_words(picked, shown)
        ),
        caption=(f"Pictures of {seeds}, profile {grid.spec.profile}.",),
        stamp=stamp(grid, dataset, seeds),
        drawing=Gallery(("image", "ground truth", *labels), columns, SCALE),
        dataset=dataset,
    )


def _scores_in_words(picked: Sequence[tuple[str, Example]], shown: Shown) -> str:
    """The texts below the maps, as a sentence."""
    texts = []
    for category, image in picked:
        column = shown.column(category, image, "")
        shares = [
            f"{row.row.label} {tile.text}"
            for row, tile in zip(shown.rows, column.tiles[2:], strict=True)
            if tile.kind == "map" and tile.text
        ]
        if shares:
            texts.append(f"{image.image_id}: {', '.join(shares)}")
    return f"Scores: {'; '.join(texts)}." if texts else ""
