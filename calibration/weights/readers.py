"""Readers of tensors: functions that give the values of some samples, stored or computed anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activations.sampling import SampledPositions

#: uint8 with quantization parameters, or float16, which is finer than uint8 and needs half of
#: float32's memory.
Tensor = NDArray[Any]
#: Reads a part of a tensor: the samples of a slice.
Reader = Callable[[slice], Tensor]
#: Reads square blocks of the samples of a slice: [samples * blocks, channels, side, side]. Values
#: outside the map are 0, for uint8 the zero point.
BlockReader = Callable[[slice, SampledPositions], Tensor]


def stored_values(compute: Reader, count: int, parts: Iterable[slice]) -> Reader:
    """Compute the values of all ``count`` samples; returns their reader."""
    values: Tensor = np.empty(0)
    for part in parts:
        computed = compute(part)
        if not part.start:
            values = np.empty((count, *computed.shape[1:]), computed.dtype)
        values[part] = computed
    return values.__getitem__
