"""Energy counters of the machine in joules: RAPL packages, or hwmon energy sensors of a board.

The counters include other work and idle time of the whole package. Power sensors are not used:
reading power often enough to integrate it would disturb the measurement. Since 2020 Linux lets only
root read RAPL (CVE-2020-8694); an unreadable counter is treated as missing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class EnergyMeter:
    """Meter of the energy in joules consumed since its creation."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        counters = _rapl(Path(root)) or _hwmon(Path(root))
        first = [(path, _count(path), span) for path, span in counters]
        self._counters = [(path, span) for path, value, span in first if value is not None]
        self._last = [value for _, value, _ in first if value is not None]
        self._total = 0

    @property
    def available(self) -> bool:
        """Whether there is a readable counter."""
        return bool(self._counters)

    def joules(self) -> float | None:
        """Joules since the meter was created; None without a counter.

        Counters overflow. One overflow between two calls is corrected, so call this method about
        once a minute.
        """
        if not self._counters:
            return None
        for index, (path, span) in enumerate(self._counters):
            value = _count(path)
            if value is None:
                continue
            difference = value - self._last[index]
            self._total += difference if difference >= 0 else difference + span
            self._last[index] = value
        return self._total / 1e6


def _rapl(root: Path) -> Sequence[tuple[Path, int]]:
    """(Path of the microjoule counter, counter modulus) of each package; subzones are skipped."""
    counters = []
    for zone in sorted(root.glob("sys/class/powercap/intel-rapl:[0-9]*")):
        if zone.name.count(":") == 1:
            counters.append((zone / "energy_uj", (_count(zone / "max_energy_range_uj") or 0) + 1))
    return counters


def _hwmon(root: Path) -> Sequence[tuple[Path, int]]:
    return [(path, 2**64) for path in sorted(root.glob("sys/class/hwmon/hwmon*/energy*_input"))]


def _count(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
