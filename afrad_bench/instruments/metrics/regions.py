"""Connected regions of defective pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    import numpy.typing as npt

    IntArray = npt.NDArray[np.signedinteger[Any]]


def regions(where: IntArray, height: int, width: int, connectivity: int) -> tuple[int, npt.NDArray[np.int32]]:
    """Connected regions of marked pixels: their number, and the region of each pixel; no region spans two images.

    `where` holds the ascending flat positions of the marked pixels in images of `height` x `width`. Only these few are
    looked at: cut into horizontal runs, each run is linked to those that it touches in the row above."""
    if len(where) == 0:
        return 0, np.empty(0, np.int32)
    row = where // width
    first = np.flatnonzero((np.diff(where, prepend=-2) != 1) | (np.diff(row, prepend=-1) != 0))
    length = np.diff(first, append=len(where))
    start, row = where[first], row[first]
    stop = start + length  # one past the end
    reach = 1 if connectivity == 8 else 0
    left_of_row = (row - 1) * width
    below = np.flatnonzero(row % height != 0)
    # Runs above that end right of where the run begins, and begin left of where it ends, in the row above only.
    low = np.searchsorted(stop, np.maximum(start - width - reach, left_of_row)[below], side="right")
    high = np.searchsorted(start, np.minimum(stop - width + reach, left_of_row + width)[below], side="left")
    links = np.maximum(high - low, 0)
    under = np.repeat(below, links)
    over = np.arange(len(under)) - np.repeat(np.cumsum(links) - links - low, links)
    graph = coo_array((np.ones(len(under), np.bool_), (under, over)), shape=(len(first), len(first)))
    count, region = connected_components(graph, directed=False)
    return int(count), np.repeat(region, length)
