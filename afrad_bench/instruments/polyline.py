"""Polylines from left to right: thinned, cut off, averaged. Coordinates are float64 arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from afrad_bench.types import FloatArray


def thinned(x: FloatArray, y: FloatArray, slack: float, enough: int) -> tuple[FloatArray, FloatArray]:
    """Remove the points that matter least until `enough` are left; the end points stay.

    The area under the polyline changes by at most `slack`; if this limit is reached first, more points are left.
    Removing a point changes the area by the triangle that it forms with its neighbours. The changes of points that are
    not neighbours add up, so odd and even points take turns.

    >>> thinned(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 2.0, 2.0]), 0.0, 2)[0].tolist()
    [0.0, 2.0, 3.0]
    """
    turn, idle = 1, 0
    while idle < 2 and len(x) > enough:
        i = np.arange(turn, len(x) - 1, 2)
        triangles = np.abs((x[i + 1] - x[i - 1]) * (y[i] - y[i - 1]) - (x[i] - x[i - 1]) * (y[i + 1] - y[i - 1])) / 2
        order = triangles.argsort(kind="stable")[: len(x) - enough]
        spent = triangles[order].cumsum()
        count = int(spent.searchsorted(slack / 4, side="right"))  # the rest is for better choices in later turns
        x, y = np.delete(x, i[order[:count]]), np.delete(y, i[order[:count]])
        slack -= float(spent[count - 1]) if count else 0.0
        turn, idle = 3 - turn, 0 if count else idle + 1
    return x, y


def cut(x: FloatArray, y: FloatArray, limit: float) -> tuple[FloatArray, FloatArray]:
    """A polyline from its start to `limit`, where its height is interpolated, or to its end if that comes first.

    >>> [part.tolist() for part in cut(np.array([0.0, 1.0]), np.array([0.0, 1.0]), 0.25)]
    [[0.0, 0.25], [0.0, 0.25]]
    """
    end = int(x.searchsorted(limit, side="right"))
    if end == len(x):
        return x, y
    height = y[end - 1] + (y[end] - y[end - 1]) * (limit - x[end - 1]) / (x[end] - x[end - 1])
    return np.append(x[:end], limit), np.append(y[:end], height)


def steps(x: FloatArray, y: FloatArray, at: FloatArray) -> FloatArray:
    """Heights of a polyline at ascending x values; where it is vertical, its upper end.

    >>> steps(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.5])).tolist()
    [0.5, 0.75]
    """
    last = np.append(x[1:] != x[:-1], True)
    return np.interp(at, x[last], y[last])


def spread(lines: Sequence[tuple[FloatArray, FloatArray]], at: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mean, lowest and highest height of several polylines at each of these x values."""
    heights = np.stack([steps(x, y, at) for x, y in lines])
    return heights.mean(axis=0), heights.min(axis=0), heights.max(axis=0)
