from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_effnet.benchmarks.intervals import bootstrap_median
from edge_effnet.benchmarks.latency.conditions import Monitor, spread
from edge_effnet.benchmarks.latency.energy import EnergyMeter


def put(root: Path, path: str, text: object) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"{text}\n")


def stat(root: Path, user: int, idle: int, steal: int) -> None:
    put(root, "proc/stat", f"cpu  {user} 0 0 {idle} 0 0 0 {steal} 0 0\ncpu0 1 2 3")


FREQUENCY = "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
HEAT = "sys/class/thermal/thermal_zone0/temp"


def test_a_quiet_machine_gives_no_warning(tmp_path: Path) -> None:
    stat(tmp_path, 0, 0, 0)
    put(tmp_path, FREQUENCY, 1_800_000)
    put(tmp_path, HEAT, 45_000)
    monitor = Monitor(tmp_path)
    monitor.start()
    stat(tmp_path, 500, 500, 0)
    found = monitor.finish(process_seconds=4.9)
    assert (found.steal, found.other_work) == (0, pytest.approx(0.01))
    assert found.frequency_mhz == (1800, 1800)
    assert found.temperature_c == (45, 45)
    assert found.throttled is None
    assert found.warnings == ()
    assert monitor.conditions == found


def test_each_trouble_is_named(tmp_path: Path) -> None:
    stat(tmp_path, 0, 0, 0)
    put(tmp_path, FREQUENCY, 1_800_000)
    put(tmp_path, HEAT, 60_000)
    monitor = Monitor(tmp_path)
    monitor.start()
    put(tmp_path, FREQUENCY, 1_000_000)
    put(tmp_path, HEAT, 85_000)
    monitor.sample()
    stat(tmp_path, 600, 300, 100)
    found = monitor.finish(process_seconds=2.0, spreads=[0.2, 0.01])
    assert (found.steal, found.other_work) == (0.1, 0.4)
    text = "\n".join(found.warnings)
    assert len(found.warnings) == 5
    for words in ("machine took 10%", "processes took 40%", "1800 to 1000 MHz", "85 °C", "1 of 2"):
        assert words in text


def test_a_board_that_throttles(tmp_path: Path) -> None:
    word = "sys/devices/platform/soc/soc:firmware/get_throttled"
    put(tmp_path, word, "50000")  # both happened once, before
    monitor = Monitor(tmp_path)
    monitor.start()
    assert monitor.finish(1.0).throttled is False
    put(tmp_path, word, "50005")
    monitor.start()
    put(tmp_path, word, "50000")
    found = monitor.finish(1.0)
    assert found.throttled
    assert "throttles" in found.warnings[0]


def test_a_system_that_tells_nothing(tmp_path: Path) -> None:
    monitor = Monitor(tmp_path)
    monitor.start()
    found = monitor.finish(1.0)
    assert (found.steal, found.frequency_mhz, found.temperature_c) == (None, None, None)
    assert found.warnings == ()
    assert EnergyMeter(tmp_path).joules() is None


def test_energy_of_packages_with_a_wrap(tmp_path: Path) -> None:
    zones = "sys/class/powercap/intel-rapl:"
    for zone, value in (("0", 900), ("1", 50), ("0:0", 7)):  # the subzone is inside package 0
        put(tmp_path, f"{zones}{zone}/energy_uj", value)
        put(tmp_path, f"{zones}{zone}/max_energy_range_uj", 999)
    meter = EnergyMeter(tmp_path)
    assert meter.joules() == 0
    put(tmp_path, f"{zones}0/energy_uj", 100)
    put(tmp_path, f"{zones}1/energy_uj", 60)
    put(tmp_path, f"{zones}0:0/energy_uj", 900)
    assert meter.joules() == pytest.approx((200 + 10) / 1e6)


def test_energy_of_a_boards_sensor(tmp_path: Path) -> None:
    put(tmp_path, "sys/class/hwmon/hwmon0/energy1_input", 5)
    meter = EnergyMeter(tmp_path)
    put(tmp_path, "sys/class/hwmon/hwmon0/energy1_input", 2_000_005)
    assert meter.joules() == 2


def test_spread() -> None:
    assert spread([[1.0]] * 3) == 0
    assert spread([[1.0, 9.0, 1.0]] * 8) == 0
    assert spread([[1.0], [1.0], [2.0], [2.0]]) == pytest.approx(0.5 / 1.5)


def test_bootstrap_covers_the_median_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap_median(rng.normal(5, 1, (20, 5)), draws=300)  # type: ignore[misc]
        hits += low <= 5 <= high
    assert 0.88 <= hits / 200 <= 1.0
    assert bootstrap_median([[1.0, 2.0]]) is None
    assert bootstrap_median([[1.0], [1.0]]) == (1.0, 1.0)
