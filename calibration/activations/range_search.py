"""Clipping range of a tensor: the (low, high) that its quantization parameters cover.

A wide range has large quantization steps. A narrow range clips outliers, which often decide the
prediction. Criteria by name:

- min-max: the extremes of the calibration set.
- power: minimises the mean |error| ** power after the activation that follows. Power 2 is the mean
  squared error; 3 clips fewer outliers and changes fewer predictions.
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

Criterion = Literal["min-max", "power"]
Range = tuple[float, float]
Doubles = NDArray[np.float64]
Cost = Callable[[Doubles, Doubles], Doubles]  # (lows, highs) -> costs, each [candidates]

POWER = 3.0
#: Candidate limits, as fractions of the extremes.
_FRACTIONS = np.linspace(0.2, 1.0, 33)
_BINS = 4096  # 16 per quantization step of the widest candidate range, 3 of the narrowest
_ROUNDS = 3  # rounds of the coordinate descent


def choose_range(
    histogram: Histogram,
    criterion: Criterion = "power",
    *,
    power: float = POWER,
    function: ActivationFunction | None = None,
) -> Range:
    """The clipping range of the histogram's tensor; it always contains 0.

    Args:
        histogram: Distribution of the tensor.
        criterion: A criterion from the module's list.
        power: Exponent of |error| for the criterion "power".
        function: The activation after which errors are measured; None without an activation.

    Returns:
        (low, high) in the tensor's unit; (0, 0) if the extremes are not finite.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if not np.isfinite(high - low) or high - low <= 0 or not histogram.counts.any():
        return (low, high) if np.isfinite(high - low) else (0.0, 0.0)
    if criterion == "min-max":
        return low, high
    values, fractions = histogram.occupied()
    function = function or ActivationFunction()
    target = function(values)

    def cost(lows: Doubles, highs: Doubles) -> Doubles:
        error = np.abs(function(fake_quantize(values, lows, highs)) - target)
        return np.asarray(error**power @ fractions)

    return _coordinate_descent(cost, low, high)


def fake_quantize(values: Doubles, lows: Doubles, highs: Doubles) -> Doubles:
    """Quantize ``values`` [n] to uint8 and dequantize the result, for each range: [..., n].

    ``lows`` and ``highs`` are the limits of the ranges, of shape [...].
    """
    lows, highs = lows[..., None], highs[..., None]
    scale = np.maximum(highs - lows, 1e-30) / LEVELS
    zero = np.clip(np.rint(-lows / scale), 0, LEVELS)
    return np.asarray((np.clip(np.rint(values / scale) + zero, 0, LEVELS) - zero) * scale)


def _coordinate_descent(cost: Cost, low: float, high: float) -> Range:
    """The range with the least cost, by coordinate descent over its two limits.

    The candidates for each limit are fixed fractions of ``low`` and of ``high``.
    """
    best = low, high
    for _ in range(_ROUNDS):
        before = best
        if low < 0:
            best = _best_limit(partial(_of_lows, cost, best[1]), low), best[1]
        if high > 0:
            best = best[0], _best_limit(partial(_of_highs, cost, best[0]), high)
        if best == before or low == 0 or high == 0:
            break
    return best


def _of_lows(cost: Cost, high: float, lows: Doubles) -> Doubles:
    return cost(lows, np.full_like(lows, high))


def _of_highs(cost: Cost, low: float, highs: Doubles) -> Doubles:
    return cost(np.full_like(highs, low), highs)


def _best_limit(error: Callable[[Doubles], Doubles], extreme: float) -> float:
    """The fraction of ``extreme`` with the least error; in a tie, the one nearest ``extreme``."""
    errors = error(extreme * _FRACTIONS)
    return float(extreme * _FRACTIONS[np.flatnonzero(errors <= errors.min())[-1]])


def weighted_range(
    values: NDArray[np.floating[Any]],
    weights: Floats,
    low: float,
    high: float,
    *,
    function: ActivationFunction | None = None,
) -> Range:
    """The clipping range with the least squared error, weighted by channel.

    A channel's mean error is ignored because bias correction removes it.

    Args:
        values: Sampled values [channels, positions] between ``low`` and ``high``.
        weights: Channel error weights [channels].
        low: Smallest value of the tensor.
        high: Largest value of the tensor.
        function: The activation after which errors are measured; None without an activation.

    Returns:
        (low, high) in the tensor's unit; (0, 0) if the extremes are not finite.
    """
    function = function or ActivationFunction()
    low, high = min(low, 0.0), max(high, 0.0)
    if not np.isfinite(high - low) or high - low <= 0:
        return (low, high) if np.isfinite(high - low) else (0.0, 0.0)
    centres, fractions = _binned(values, low, high)
    weighted = weights @ fractions
    target = function(centres)

    def cost(lows: Doubles, highs: Doubles) -> Doubles:
        error = (function(fake_quantize(centres, lows, highs)) - target).astype(np.float32)
        return np.asarray(np.square(error) @ weighted - np.square(error @ fractions.T) @ weights)

    return _coordinate_descent(cost, low, high)


def _binned(values: NDArray[np.floating[Any]], low: float, high: float) -> tuple[Doubles, Floats]:
    """Centres [bins] of the occupied bins over [low, high], and one histogram per channel.

    The histograms are float32 [channels, bins]; each bin holds a fraction of the channel's values.
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
