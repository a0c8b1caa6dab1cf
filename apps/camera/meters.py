"""Meters in constant memory: rates, quantiles, smoothed probabilities."""

from __future__ import annotations

import math
import threading
from collections import deque

import numpy as np
from numpy.typing import NDArray


class Rate:
    """Events per second over the last ``window`` seconds."""

    def __init__(self, window: float = 2.0) -> None:
        self._window = window
        self._times: deque[float] = deque(maxlen=4096)
        self._lock = threading.Lock()

    def tick(self, now: float) -> None:
        """Count one event."""
        with self._lock:
            self._times.append(now)
            while self._times[0] < now - self._window:
                self._times.popleft()

    def __call__(self, now: float) -> float:
        """The rate at the time ``now``; 0 with fewer than two events in the window."""
        with self._lock:
            times = [time for time in self._times if time >= now - self._window]
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])


class Durations:
    """Quantiles of the last ``size`` durations, in seconds."""

    def __init__(self, size: int = 8192) -> None:
        self._values = np.zeros(size)
        self.count = 0

    def add(self, seconds: float) -> None:
        """Add one duration."""
        self._values[self.count % len(self._values)] = seconds
        self.count += 1

    def quantile(self, share: float) -> float:
        """Quantile ``share`` (0..1) of the durations in seconds; 0 without durations."""
        values = self._values[: min(self.count, len(self._values))]
        return float(np.quantile(values, share)) if len(values) else 0.0

    def as_json(self) -> dict[str, float]:
        """Median, 90th and 99th percentile in milliseconds."""
        shares = {"median": 0.5, "p90": 0.9, "p99": 0.99}
        return {name: round(self.quantile(share) * 1e3, 3) for name, share in shares.items()}


class Recent:
    """Median of the last few durations, which ignores outliers."""

    def __init__(self, size: int = 9) -> None:
        self._values: deque[float] = deque(maxlen=size)

    def add(self, seconds: float) -> None:
        """Add one duration."""
        self._values.append(seconds)

    def __call__(self) -> float:
        """The median in seconds; 0 without durations."""
        values = sorted(self._values)
        return values[len(values) // 2] if values else 0.0


class Smoothed:
    """Exponentially smoothed probabilities with a time constant in seconds; 0 does not smooth."""

    def __init__(self, constant: float) -> None:
        self._constant = constant
        self._values: NDArray[np.float32] | None = None
        self._time = 0.0

    def restart(self) -> None:
        """Forget all values so far."""
        self._values = None

    def update(self, values: NDArray[np.float32], now: float) -> NDArray[np.float32]:
        """Smoothed probabilities, float32 [classes], after the input ``values`` at time ``now``."""
        if self._values is None or self._constant == 0:
            self._values = values
        else:
            share = 1 - math.exp(-max(now - self._time, 0.0) / self._constant)
            self._values = self._values + np.float32(share) * (values - self._values)
        self._time = now
        return self._values
