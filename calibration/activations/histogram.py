"""Histogram of a tensor's values, accumulated batch by batch in constant memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Number of bins over [-limit, limit]. The limit is at most twice the largest magnitude. Even a
#: one-sided tensor therefore has 16 bins per quantization step of the widest 8-bit range.
BINS = 1 << 14


@dataclass
class Histogram:
    """Counts of the added values, and the exact (low, high) over all values.

    If a value exceeds ``limit``, the limit doubles and bins merge in pairs. One pass over the data
    suffices.
    """

    low: float = np.inf
    high: float = -np.inf
    limit: float = 2.0**-20
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def extend_range(self, low: float, high: float) -> None:
        """Extend the extremes to include ``low`` and ``high`` without counting values."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count ``values``, finite and of any shape."""
        values = values.reshape(-1)
        self.extend_range(float(values.min()), float(values.max()))
        while max(self.high, -self.low) >= self.limit:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.limit *= 2
        bins = ((values + self.limit) * (BINS / 2 / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the bins that hold values, and the fraction of all values in each: [bins]."""
        used = np.flatnonzero(self.counts)
        centres = (used + 0.5) * (2 * self.limit / BINS) - self.limit
        return np.clip(centres, self.low, self.high), self.counts[used] / self.counts.sum()

    def clipped(self, low: float, high: float) -> Histogram:
        """The histogram of the same values clipped to [low, high], which contains 0."""
        centres = (np.arange(BINS) + 0.5) * (2 * self.limit / BINS) - self.limit
        bins = (np.clip(centres, low, high) + self.limit) * (BINS / 2 / self.limit)
        counts = np.bincount(bins.astype(np.int64), self.counts, BINS).astype(np.int64)
        extremes = [min(max(end, low), high) for end in (self.low, self.high)]
        return Histogram(extremes[0], extremes[1], self.limit, counts)
