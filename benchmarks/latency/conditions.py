"""What else the machine did while it was measured: Monitor -> Conditions, with plain warnings.

Sources: /proc/stat (time of all cores, and steal: time a hypervisor gave to others), cpufreq and
thermal zones under /sys, and the Raspberry Pi firmware's throttling word. What a system does not
tell stays None; nothing here needs root.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from edge_effnet.benchmarks.records import Conditions

_STEAL = 0.01  # share of the cores' time
_OTHER = 0.05  # share of the cores' time
_SLOWED = 0.9  # frequency at the end over that at the beginning
_HOT = 80.0  # degrees Celsius: where a Raspberry Pi begins to slow down
_UNSTEADY = 0.05  # half the range of the middle half of the rounds, over their median
#: Bits of the firmware's word that speak of now: under-voltage, capped, throttled, soft limit.
_THROTTLED_NOW = 0xF
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Monitor:
    """Watches the machine: `start`, `sample` once a round, `finish`."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self._root = Path(root)
        self.conditions: Conditions | None = None

    def start(self) -> None:
        """Begin to count."""
        self._begin, self._clock = self._stat(), time.monotonic()
        self._frequencies: list[float] = []
        self._temperatures: list[float] = []
        self._throttled: bool | None = None
        self.sample()

    def sample(self) -> None:
        """Note frequency, temperature and throttling; takes well under a millisecond a core."""
        frequencies = [
            float(text) / 1000
            for path in self._glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
            if (text := _read(path))
        ]
        if frequencies:
            self._frequencies.append(max(frequencies))
        temperatures = [
            int(text) / 1000
            for path in self._glob("sys/class/thermal/thermal_zone*/temp")
            if (text := _read(path)).lstrip("-").isdigit()
        ]
        if temperatures:
            self._temperatures.append(max(temperatures))
        word = _read(self._root / _FIRMWARE)
        if word:
            self._throttled = bool(self._throttled) or bool(int(word, 16) & _THROTTLED_NOW)

    def finish(self, own_seconds: float, spreads: Sequence[float] = ()) -> Conditions:
        """What happened since `start`, kept in ``conditions`` as well.

        ``own_seconds`` is the CPU time of the measured processes themselves; ``spreads`` is
        `spread` of each file.
        """
        self.sample()
        seconds = time.monotonic() - self._clock
        steal = other = None
        end = self._stat()
        if self._begin is not None and end is not None:
            total, idle, stolen = (b - a for a, b in zip(self._begin, end, strict=True))
            if total > 0:
                steal = max(0.0, stolen / total)
                other = max(0.0, (total - idle - stolen - own_seconds * _ticks()) / total)
        found = Conditions(
            seconds=round(seconds, 1),
            steal=_rounded(steal),
            other_work=_rounded(other),
            frequency_mhz=_ends(self._frequencies),
            temperature_c=(
                (self._temperatures[0], max(self._temperatures)) if self._temperatures else None
            ),
            throttled=self._throttled,
        )
        self.conditions = Conditions(
            **{**vars(found), "warnings": tuple(_warnings(found, spreads))}
        )
        return self.conditions

    def _stat(self) -> tuple[float, float, float] | None:
        """Ticks of all cores since boot: (all, idle, stolen). Guest time is within user time."""
        fields = _read(self._root / "proc/stat").partition("\n")[0].split()[1:]
        if len(fields) < 8:
            return None
        ticks = [float(field) for field in fields[:8]]
        return sum(ticks), ticks[3] + ticks[4], ticks[7]

    def _glob(self, pattern: str) -> list[Path]:
        return sorted(self._root.glob(pattern))


def spread(rounds: Sequence[Sequence[float]]) -> float:
    """How far rounds of times disagree: half their medians' interquartile range over the median."""
    medians = [statistics.median(times) for times in rounds if times]
    if len(medians) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(medians, n=4, method="inclusive")
    return (high - low) / 2 / middle if middle > 0 else 0.0


def together(parts: Sequence[Conditions]) -> Conditions | None:
    """Several measurements' conditions as one: shares by time, the worst of the rest."""
    if not parts:
        return None
    seconds = sum(part.seconds for part in parts)

    def share(name: str) -> float | None:
        known = [part for part in parts if getattr(part, name) is not None]
        total = sum(part.seconds for part in known)
        return _rounded(sum(getattr(p, name) * p.seconds for p in known) / total) if total else None

    frequencies = [part.frequency_mhz for part in parts if part.frequency_mhz]
    temperatures = [part.temperature_c for part in parts if part.temperature_c]
    throttled = [part.throttled for part in parts if part.throttled is not None]
    return Conditions(
        seconds=round(seconds, 1),
        steal=share("steal"),
        other_work=share("other_work"),
        frequency_mhz=(frequencies[0][0], min(end for _, end in frequencies))
        if frequencies
        else None,
        temperature_c=(
            (temperatures[0][0], max(high for _, high in temperatures)) if temperatures else None
        ),
        throttled=any(throttled) if throttled else None,
        warnings=tuple(dict.fromkeys(text for part in parts for text in part.warnings)),
    )


def _warnings(found: Conditions, spreads: Sequence[float]) -> list[str]:
    said = []
    if found.steal is not None and found.steal > _STEAL:
        said.append(
            f"another virtual machine took {found.steal:.0%} of the processor's time: trust the "
            "ratios between files more than the times"
        )
    if found.other_work is not None and found.other_work > _OTHER:
        said.append(
            f"other processes took {found.other_work:.0%} of the processor's time: end them and "
            "measure again"
        )
    if found.frequency_mhz is not None:
        begin, end = found.frequency_mhz
        if end < _SLOWED * begin:
            said.append(
                f"the processor slowed down from {begin:.0f} to {end:.0f} MHz: cool it, or fix its "
                "governor, and measure again"
            )
    if found.throttled:
        said.append("the board throttles (heat or a weak power supply): its times are too long")
    elif found.temperature_c is not None and found.temperature_c[1] >= _HOT:
        said.append(f"the processor reached {found.temperature_c[1]:.0f} °C: it may throttle")
    unsteady = sum(value > _UNSTEADY for value in spreads)
    if unsteady:
        said.append(
            f"the times of {unsteady} of {len(spreads)} files vary by more than "
            f"{_UNSTEADY:.0%} between rounds: more runs= on a quiet machine would settle them"
        )
    return said


def _ends(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    part = max(1, len(values) // 3)
    return round(statistics.median(values[:part])), round(statistics.median(values[-part:]))


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
