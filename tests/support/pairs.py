"""The rule of adjacent weights, checked by brute force."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def worst_pair(integers: NDArray[np.generic], step: int) -> int:
    """The largest same-sign sum of neighbours that start at multiples of ``step``, brute force."""
    worst = 0
    for row in integers.astype(int).tolist():
        for start in range(0, len(row) - 1, step):
            first, second = row[start], row[start + 1]
            if first * second > 0:
                worst = max(worst, abs(first + second))
    return worst
