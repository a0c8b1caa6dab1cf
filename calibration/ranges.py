"""Observed values -> the range that a grid should cover.

Covering every value seen wastes steps on rare outliers; cutting too much loses them, and outliers
often carry the answer. Observers, by name:
  min-max     all that was seen
  percentile  all but a small share of the values at either end
  power       the range with the least mean |error| ** power after the activation that follows.
              Power 2 is the mean squared error; 3 keeps more of the outliers, and more of the
              answers
  entropy     the range whose quantized distribution has the least Kullback-Leibler divergence from
              the observed one (as in TensorRT's calibration, Migacz 2017)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.histogram import Histogram
from edge_effnet.calibration.plan import LEVELS
from edge_effnet.calibration.pointwise import Floats, Pointwise

Observer = Literal["min-max", "percentile", "power", "entropy"]
Range = tuple[float, float]
Doubles = NDArray[np.float64]

POWER = 3.0
#: Shares of the observed extremes that are tried as limits.
_SHARES = np.linspace(0.2, 1.0, 33)
_COARSE = 4  # of the shares one in so many is tried first where a trial is costly
_ROUNDS = 3  # of alternating between the two limits


def choose_range(
    histogram: Histogram,
    observer: Observer = "power",
    *,
    power: float = POWER,
    percentile: float = 99.99,
    function: Pointwise | None = None,
) -> Range:
    """The range, which always holds 0, that a grid for the histogram's tensor should cover.

    ``function`` is the activation that alone reads the tensor, if any: errors are weighed after it.
    ``percentile`` in percent is kept between the two ends together.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if not np.isfinite(high - low) or high - low <= 0 or not histogram.counts.any():
        return (low, high) if np.isfinite(high - low) else (0.0, 0.0)
    if observer == "min-max":
        return low, high
    values, shares = histogram.occupied()
    if observer == "percentile":
        return _percentile(values, shares, percentile)
    function = function or Pointwise()
    if observer == "entropy":
        return _descend(lambda lows, highs: _divergence(values, shares, lows, highs), low, high)
    goal = function(values)

    def cost(lows: Doubles, highs: Doubles) -> Doubles:
        error = np.abs(function(round_to_grid(values, lows, highs)) - goal)
        return np.asarray(error**power @ shares)

    return _descend(cost, low, high)


def round_to_grid(values: Doubles, lows: Doubles, highs: Doubles) -> Doubles:
    """[..., values] as the grids over [lows, highs] (each [...]) represent them."""
    lows, highs = lows[..., None], highs[..., None]
    scale = np.maximum(highs - lows, 1e-30) / LEVELS
    zero = np.clip(np.rint(-lows / scale), 0, LEVELS)
    return np.asarray((np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale)


def _descend(
    cost: Callable[[Doubles, Doubles], Doubles], low: float, high: float, coarse: int = 1
) -> Range:
    """The cheapest limits among shares of (low, high), each in turn while the other stands.

    With ``coarse`` only one in so many is tried at first, then those next to the cheapest.
    """
    found = low, high
    for _ in range(_ROUNDS):
        before = found
        if low < 0:
            found = _cheapest(partial(_of_lows, cost, found[1]), low, coarse), found[1]
        if high > 0:
            found = found[0], _cheapest(partial(_of_highs, cost, found[0]), high, coarse)
        if found == before or low == 0 or high == 0:
            break
    return found


def _of_lows(cost: Callable[[Doubles, Doubles], Doubles], high: float, lows: Doubles) -> Doubles:
    return cost(lows, np.full_like(lows, high))


def _of_highs(cost: Callable[[Doubles, Doubles], Doubles], low: float, highs: Doubles) -> Doubles:
    return cost(np.full_like(highs, low), highs)


def _cheapest(cost: Callable[[Doubles], Doubles], end: float, coarse: int) -> float:
    """The cheapest share of ``end``."""
    tried = np.arange(len(_SHARES))[::-coarse][::-1]
    costs = cost(end * _SHARES[tried])
    if coarse > 1:
        best = tried[_last_least(costs)]
        near = np.arange(max(best - coarse + 1, 0), min(best + coarse, len(_SHARES)))
        near = near[near != best]
        costs = np.concatenate([costs, cost(end * _SHARES[near])])
        tried = np.concatenate([tried, near])
        order = np.argsort(tried)
        tried, costs = tried[order], costs[order]
    return float(end * _SHARES[tried[_last_least(costs)]])


def _last_least(costs: Doubles) -> int:
    """Index of the least cost, of the widest range where several share it."""
    return int(np.flatnonzero(costs <= costs.min())[-1])


def _percentile(values: Doubles, shares: Doubles, percentile: float) -> Range:
    """The two-sided range that leaves out an equal share at either end."""
    outside = (100 - percentile) / 200
    summed = np.cumsum(shares)
    first = int(np.searchsorted(summed, outside))
    last = min(int(np.searchsorted(summed, 1 - outside)), len(values) - 1)
    return min(float(values[first]), 0.0), max(float(values[last]), 0.0)


def _divergence(values: Doubles, shares: Doubles, lows: Doubles, highs: Doubles) -> Doubles:
    """KL divergence of the distribution from its quantized form, for each candidate range.

    What is clipped counts as sitting at the limit; a level's mass spreads evenly over the values
    that round to it.
    """
    found = []
    for low, high in zip(lows, highs, strict=True):
        scale = (high - low) / LEVELS
        levels = np.clip(np.rint((values - low) / scale), 0, LEVELS).astype(np.intp)
        inside = (values >= low) & (values <= high)
        mass = np.bincount(levels, shares * inside, LEVELS + 1)
        width = np.bincount(levels, inside, LEVELS + 1)
        spread = (mass / np.maximum(width, 1))[levels[inside]]
        clipped = shares.copy()
        for limit, beyond in ((low, values < low), (high, values > high)):
            if beyond.any() and inside.any():
                clipped[np.argmin(np.where(inside, np.abs(values - limit), np.inf))] += shares[
                    beyond
                ].sum()
        kept = clipped[inside]
        total = max(float(spread.sum()), 1e-12)
        ratio = kept / np.maximum(spread / total, 1e-12)
        found.append(float((kept * np.log(np.maximum(ratio, 1e-12))).sum()))
    return np.array(found)


def output_weighted_range(rows: Floats, weight: Floats, low: float, high: float) -> Range:
    """The range for the inputs of a 1x1 layer by the squared error of the layer's outputs.

    ``rows`` are inputs [positions, channels], ``weight`` is [out, channels].
    """
    across = np.ascontiguousarray(weight.T)

    def cost(lows: Doubles, highs: Doubles) -> Doubles:
        found = []
        for bottom, top in zip(lows, highs, strict=True):
            scale = np.float32(max(top - bottom, 1e-30) / LEVELS)
            zero = np.float32(np.clip(np.rint(-bottom / scale), 0, LEVELS))
            error = rows / scale
            np.rint(error, out=error)
            np.clip(error, -zero, LEVELS - zero, out=error)
            error *= scale
            error -= rows
            found.append(float(np.square(error @ across).sum(dtype=np.float64)))
        return np.array(found)

    return _descend(cost, min(low, 0.0), max(high, 0.0), coarse=_COARSE)
