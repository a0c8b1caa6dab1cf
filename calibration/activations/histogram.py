"""Histogram: the distribution of a tensor, gathered batch by batch in memory that never grows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: Bins over [-limit, limit]. The limit is at most twice the largest magnitude seen, so even a
#: one-sided tensor has 16 bins a step of the widest 8-bit grid.
BINS = 1 << 14


@dataclass
class Histogram:
    """Counts of the values added, and the exact (low, high) of all that was seen.

    The range doubles, bins merging in pairs, whenever a value lies beyond it: one pass suffices.
    """

    low: float = np.inf
    high: float = -np.inf
    limit: float = 2.0**-20
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def see(self, low: float, high: float) -> None:
        """Widen the range seen without counting values."""
        self.low, self.high = min(self.low, low), max(self.high, high)

    def add(self, values: NDArray[np.float32]) -> None:
        """Count ``values``, finite and of any shape."""
        values = values.reshape(-1)
        self.see(float(values.min()), float(values.max()))
        while max(self.high, -self.low) >= self.limit:
            merged = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.pad(merged, BINS // 4)
            self.limit *= 2
        bins = ((values + self.limit) * (BINS / 2 / self.limit)).astype(np.int64)
        self.counts += np.bincount(np.clip(bins, 0, BINS - 1), minlength=BINS)

    def occupied(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Centres of the bins that hold something, and the share of the values in each."""
        used = np.flatnonzero(self.counts)
        centres = (used + 0.5) * (2 * self.limit / BINS) - self.limit
        return np.clip(centres, self.low, self.high), self.counts[used] / self.counts.sum()

    def clipped(self, low: float, high: float) -> Histogram:
        """The histogram of the same values clipped to [low, high], which holds 0."""
        centres = (np.arange(BINS) + 0.5) * (2 * self.limit / BINS) - self.limit
        bins = (np.clip(centres, low, high) + self.limit) * (BINS / 2 / self.limit)
        counts = np.bincount(bins.astype(np.int64), self.counts, BINS).astype(np.int64)
        seen = [min(max(end, low), high) for end in (self.low, self.high)]
        return Histogram(seen[0], seen[1], self.limit, counts)
