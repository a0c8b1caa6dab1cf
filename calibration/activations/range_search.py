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
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import ActivationFunction, Floats
from edge_effnet.calibration.activations.histogram import Histogram
from edge_effnet.calibration.plan import LEVELS

Observer = Literal["min-max", "percentile", "power", "entropy"]
Range = tuple[float, float]
Doubles = NDArray[np.float64]

POWER = 3.0
#: Shares of the observed extremes that are tried as limits.
_SHARES = np.linspace(0.2, 1.0, 33)
_BINS = 4096  # 16 a step of the widest grid, 3 of the narrowest
_ROUNDS = 3  # of alternating between the two limits


def choose_range(
    histogram: Histogram,
    observer: Observer = "power",
    *,
    power: float = POWER,
    percentile: float = 99.99,
    function: ActivationFunction | None = None,
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
    function = function or ActivationFunction()
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


def _descend(cost: Callable[[Doubles, Doubles], Doubles], low: float, high: float) -> Range:
    """The cheapest limits among shares of (low, high), each in turn while the other stands."""
    found = low, high
    for _ in range(_ROUNDS):
        before = found
        if low < 0:
            found = _cheapest(partial(_of_lows, cost, found[1]), low), found[1]
        if high > 0:
            found = found[0], _cheapest(partial(_of_highs, cost, found[0]), high)
        if found == before or low == 0 or high == 0:
            break
    return found


def _of_lows(cost: Callable[[Doubles, Doubles], Doubles], high: float, lows: Doubles) -> Doubles:
    return cost(lows, np.full_like(lows, high))


def _of_highs(cost: Callable[[Doubles, Doubles], Doubles], low: float, highs: Doubles) -> Doubles:
    return cost(np.full_like(highs, low), highs)


def _cheapest(cost: Callable[[Doubles], Doubles], end: float) -> float:
    """The cheapest share of ``end``, the largest where several share it."""
    costs = cost(end * _SHARES)
    return float(end * _SHARES[np.flatnonzero(costs <= costs.min())[-1]])


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


def weighted_range(
    values: NDArray[np.floating[Any]],
    weights: Floats,
    low: float,
    high: float,
    *,
    function: ActivationFunction | None = None,
) -> Range:
    """The range with the least error in what layers make of a tensor.

    ``values`` [channels, positions] are some of it, between ``low`` and ``high``; ``weights``
    [channels] say what one of each channel's energy is worth. Of the errors, after the activation
    ``function`` that alone reads the tensor, a channel's mean does not count: biases take it back.
    """
    function = function or ActivationFunction()
    low, high = min(low, 0.0), max(high, 0.0)
    if not np.isfinite(high - low) or high - low <= 0:
        return (low, high) if np.isfinite(high - low) else (0.0, 0.0)
    centres, shares = _binned(values, low, high)
    together = weights @ shares
    goal = function(centres)

    def cost(lows: Doubles, highs: Doubles) -> Doubles:
        error = (function(round_to_grid(centres, lows, highs)) - goal).astype(np.float32)
        return np.asarray(np.square(error) @ together - np.square(error @ shares.T) @ weights)

    return _descend(cost, low, high)


def _binned(values: NDArray[np.floating[Any]], low: float, high: float) -> tuple[Doubles, Floats]:
    """Centres of bins over [low, high] that hold values, and each channel's share in them.

    The shares are float32 [channels, bins].
    """
    channels, positions = values.shape
    width = np.float32((high - low) / _BINS)
    bins = ((values.astype(np.float32) - np.float32(low)) / width).astype(np.int32)
    np.clip(bins, 0, _BINS - 1, out=bins)
    bins += (np.arange(channels, dtype=np.int32) * _BINS)[:, None]
    counts = np.bincount(bins.reshape(-1), minlength=channels * _BINS).reshape(channels, _BINS)
    used = np.flatnonzero(counts.any(axis=0))
    centres = np.asarray(low + (used + 0.5) * float(width), np.float64)
    return centres, (counts[:, used] / np.float32(positions)).astype(np.float32)
