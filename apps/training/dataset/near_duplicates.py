"""Groups of photos that look alike, by the distance of their perceptual hashes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Largest number of different bits of two photos that look alike, of 128. Measured on 1,750
#: different photos: the closest pair differs in 20 bits; halved, or saved with JPEG quality 30, a
#: photo differs from its original in at most 13 bits, and cropped by 3 % in a median of 12.
NEAR_BITS = 16
#: Photos compared with all others at a time; bounds the memory of the distance matrix.
_ROWS = 1024


def near_duplicates(hashes: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pairs (first, second) of photos whose hashes differ in at most `NEAR_BITS` bits.

    Args:
        hashes: Perceptual hashes, bool [photos, bits].
    """
    # For signs +-1 the product of two hashes is bits - 2 * distance.
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    least = hashes.shape[1] - 2 * NEAR_BITS
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(signs), _ROWS):
        rows = signs[start : start + _ROWS] @ signs[start:].T
        first, second = np.nonzero(rows >= least)
        later = second > first
        pairs += zip((first[later] + start).tolist(), (second[later] + start).tolist(), strict=True)
    return pairs


def groups(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Number of the group of each photo; photos linked by pairs share the smallest index.

    Args:
        count: Number of photos.
        pairs: Indices of photos that belong together.
    """
    parents = list(range(count))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    return [root(index) for index in range(count)]
