"""The machine's energy counters: RAPL's packages, or a board's hwmon energy sensors -> joules.

Counters only: a sensor that tells momentary power cannot be integrated without disturbing what is
measured. They count the whole package, other work and idling included. Linux lets root alone read
RAPL since 2020 (CVE-2020-8694); an unreadable counter is as none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


class EnergyMeter:
    """Joules since the first reading; ``available`` says whether anything counts."""

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
        """Energy since this meter was made; None without a counter. Read it once a minute or so.

        Counters wrap around; each wrap is made good if it is seen.
        """
        if not self._counters:
            return None
        for index, (path, span) in enumerate(self._counters):
            value = _count(path)
            if value is None:
                continue
            step = value - self._last[index]
            self._total += step if step >= 0 else step + span
            self._last[index] = value
        return self._total / 1e6


def _rapl(root: Path) -> Sequence[tuple[Path, int]]:
    """Each package's counter in microjoules, and where it wraps. Subzones are inside packages."""
    found = []
    for zone in sorted(root.glob("sys/class/powercap/intel-rapl:[0-9]*")):
        if zone.name.count(":") == 1:
            found.append((zone / "energy_uj", (_count(zone / "max_energy_range_uj") or 0) + 1))
    return found


def _hwmon(root: Path) -> Sequence[tuple[Path, int]]:
    return [(path, 2**64) for path in sorted(root.glob("sys/class/hwmon/hwmon*/energy*_input"))]


def _count(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None
