"""The inputs of one layer at its sampled positions, as the rows of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import Floats
from edge_effnet.calibration.engine import in_parallel

#: Channels processed together: their outputs fit into a CPU cache.
CHANNELS = 32


@dataclass(frozen=True)
class LayerInputs:
    """Dequantized inputs minus their mean, in the order of the samples.

    The inputs of a depthwise layer have 25 times the values of its blocks, so they stay as they are
    stored and are dequantized for a few channels at a time.

    Attributes:
        rows: float32 [positions, k]. Of a depthwise layer uint8 or float16 [out, positions, k],
            from which the mean is not subtracted. k runs over (height, width, input channel).
        mean: Mean of the inputs, [k], of a depthwise layer [out, k].
        dequantize: Converts rows of a depthwise layer to float32.
    """

    rows: NDArray[Any]
    mean: Floats
    dequantize: Callable[[NDArray[Any]], Floats]

    @classmethod
    def of(cls, rows: NDArray[Any], dequantize: Callable[[NDArray[Any]], Floats]) -> LayerInputs:
        """Inputs from ``rows`` as stored, [positions, k], or [out, positions, k] if depthwise."""
        if rows.ndim == 2:
            values = dequantize(rows)
            mean = _mean(values)
            values -= mean
            return cls(values, mean, dequantize)
        means = in_parallel(
            lambda channels: _mean(dequantize(rows[channels])), channel_groups(len(rows))
        )
        return cls(rows, np.concatenate(means), dequantize)

    @property
    def depthwise(self) -> bool:
        """Whether each output channel reads one input channel."""
        return self.rows.ndim == 3

    def at(self, positions: slice) -> LayerInputs:
        """The inputs at some of the positions."""
        return LayerInputs(self.rows[..., positions, :], self.mean, self.dequantize)

    def values(self, channels: slice = slice(None)) -> Floats:
        """The inputs minus their mean, float32 [positions, k].

        Of a depthwise layer, those of some output ``channels``: [channels, positions, k].
        """
        if not self.depthwise:
            return self.rows
        values = self.dequantize(self.rows[channels])
        values -= self.mean[channels, None, :]
        return values


def channel_groups(channels: int) -> Iterator[slice]:
    """Slices of `CHANNELS` of the output channels, in order."""
    for start in range(0, channels, CHANNELS):
        yield slice(start, min(start + CHANNELS, channels))


def sum_over_positions(inputs: Floats) -> Floats:
    """Sum over the n positions, [..., n, k] -> [..., k], as a matrix product: fast for small k."""
    return np.asarray(np.ones(inputs.shape[-2], np.float32) @ inputs)


def _mean(values: Floats) -> Floats:
    return np.asarray(sum_over_positions(values) / np.float32(values.shape[-2]))
