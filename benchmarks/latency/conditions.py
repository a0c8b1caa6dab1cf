"""State of the machine during a measurement: `Monitor` -> `Conditions`, with warnings.

Sources: /proc/stat (core time, and steal: core time given to other virtual machines), cpufreq and
thermal zones under /sys, and the Raspberry Pi firmware's throttling word. A value that the system
does not report is None. No source needs root.
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
_SLOWED = 0.9  # ratio of the last to the first frequency
_HOT = 80.0  # degrees Celsius: a Raspberry Pi begins to throttle
_UNSTEADY = 0.05  # relative spread of the rounds' medians, as in `spread`
#: Current-state bits of the Raspberry Pi firmware: under-voltage, capped, throttled, soft limit.
_THROTTLED_NOW = 0xF
_FIRMWARE = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Monitor:
    """Monitor of the machine: `start`, then `sample` once a round, then `finish`."""

    def __init__(self, root: str | os.PathLike[str] = "/") -> None:
        self._root = Path(root)
        self.conditions: Conditions | None = None

    def start(self) -> None:
        """Take the first readings."""
        self._begin, self._clock = self._stat(), time.monotonic()
        self._frequencies: list[float] = []
        self._temperatures: list[float] = []
        self._throttled: bool | None = None
        self.sample()

    def sample(self) -> None:
        """Record frequency, temperature and throttling; takes well under a millisecond per core."""
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

    def finish(self, process_seconds: float, spreads: Sequence[float] = ()) -> Conditions:
        """Conditions since `start`; also stored in the attribute ``conditions``.

        Args:
            process_seconds: CPU time of the measured processes.
            spreads: Result of `spread` for each file.
        """
        self.sample()
        seconds = time.monotonic() - self._clock
        steal = other = None
        last = self._stat()
        if self._begin is not None and last is not None:
            total, idle, stolen = (b - a for a, b in zip(self._begin, last, strict=True))
            if total > 0:
                steal = max(0.0, stolen / total)
                other = max(0.0, (total - idle - stolen - process_seconds * _ticks()) / total)
        conditions = Conditions(
            seconds=round(seconds, 1),
            steal=_rounded(steal),
            other_work=_rounded(other),
            frequency_mhz=_first_and_last(self._frequencies),
            temperature_c=(
                (self._temperatures[0], max(self._temperatures)) if self._temperatures else None
            ),
            throttled=self._throttled,
        )
        self.conditions = Conditions(
            **{**vars(conditions), "warnings": tuple(_warnings(conditions, spreads))}
        )
        return self.conditions

    def _stat(self) -> tuple[float, float, float] | None:
        """CPU ticks of all cores since boot: (total, idle, steal); user time includes guests."""
        fields = _read(self._root / "proc/stat").partition("\n")[0].split()[1:]
        if len(fields) < 8:
            return None
        ticks = [float(field) for field in fields[:8]]
        return sum(ticks), ticks[3] + ticks[4], ticks[7]

    def _glob(self, pattern: str) -> list[Path]:
        return sorted(self._root.glob(pattern))


def spread(rounds: Sequence[Sequence[float]]) -> float:
    """Relative spread: half the interquartile range of the rounds' medians over their median."""
    medians = [statistics.median(times) for times in rounds if times]
    if len(medians) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(medians, n=4, method="inclusive")
    return (high - low) / 2 / middle if middle > 0 else 0.0


def together(measurements: Sequence[Conditions]) -> Conditions | None:
    """The conditions of several measurements as one; None without measurements.

    Shares are averaged over time. The lowest final frequency and the highest temperature count.
    """
    if not measurements:
        return None
    seconds = sum(measurement.seconds for measurement in measurements)

    def share(name: str) -> float | None:
        known = [
            measurement for measurement in measurements if getattr(measurement, name) is not None
        ]
        total = sum(measurement.seconds for measurement in known)
        return _rounded(sum(getattr(p, name) * p.seconds for p in known) / total) if total else None

    frequencies = [
        measurement.frequency_mhz for measurement in measurements if measurement.frequency_mhz
    ]
    temperatures = [
        measurement.temperature_c for measurement in measurements if measurement.temperature_c
    ]
    throttled = [
        measurement.throttled for measurement in measurements if measurement.throttled is not None
    ]
    return Conditions(
        seconds=round(seconds, 1),
        steal=share("steal"),
        other_work=share("other_work"),
        frequency_mhz=(frequencies[0][0], min(last for _, last in frequencies))
        if frequencies
        else None,
        temperature_c=(
            (temperatures[0][0], max(high for _, high in temperatures)) if temperatures else None
        ),
        throttled=any(throttled) if throttled else None,
        warnings=tuple(
            dict.fromkeys(text for measurement in measurements for text in measurement.warnings)
        ),
    )


def _warnings(conditions: Conditions, spreads: Sequence[float]) -> list[str]:
    warnings = []
    if conditions.steal is not None and conditions.steal > _STEAL:
        warnings.append(
            f"another virtual machine took {conditions.steal:.0%} of the processor's time: trust "
            "the ratios between files more than the times"
        )
    if conditions.other_work is not None and conditions.other_work > _OTHER:
        warnings.append(
            f"other processes took {conditions.other_work:.0%} of the processor's time: end them "
            "and measure again"
        )
    if conditions.frequency_mhz is not None:
        begin, last = conditions.frequency_mhz
        if last < _SLOWED * begin:
            warnings.append(
                f"the processor slowed down from {begin:.0f} to {last:.0f} MHz: cool it, or fix "
                "its governor, and measure again"
            )
    if conditions.throttled:
        warnings.append("the board throttles (heat or a weak power supply): its times are too long")
    elif conditions.temperature_c is not None and conditions.temperature_c[1] >= _HOT:
        warnings.append(
            f"the processor reached {conditions.temperature_c[1]:.0f} °C: it may throttle"
        )
    unsteady = sum(value > _UNSTEADY for value in spreads)
    if unsteady:
        warnings.append(
            f"the times of {unsteady} of {len(spreads)} files vary by more than "
            f"{_UNSTEADY:.0%} between rounds: more runs= on a quiet machine would settle them"
        )
    return warnings


def _first_and_last(values: Sequence[float]) -> tuple[float, float] | None:
    if not values:
        return None
    third = max(1, len(values) // 3)
    return round(statistics.median(values[:third])), round(statistics.median(values[-third:]))


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
