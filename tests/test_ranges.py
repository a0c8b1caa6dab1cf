"""best_range: how much of what was seen a grid should cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_effnet.calibration.plan import Grid
from edge_effnet.calibration.ranges import POWER, best_range

Floats = NDArray[np.float32]


def cost(values: Floats, low: float, high: float, power: float = POWER) -> float:
    """Mean |error| ** power of a real Grid over the values."""
    grid = Grid.of_range(low, high)
    error = np.abs(grid.dequantize(grid.quantize(values)).astype(np.float64) - values)
    return float((error**power).mean())


def sample(seed: int, kind: str) -> Floats:
    rng = np.random.default_rng(seed)
    if kind == "normal":
        return rng.normal(0, 2, 20_000).astype(np.float32)
    if kind == "tails":
        return rng.standard_t(3, 20_000).astype(np.float32)
    if kind == "positive":
        return rng.exponential(1, 20_000).astype(np.float32)
    return rng.uniform(-1, 3, 20_000).astype(np.float32)


KINDS = ["normal", "tails", "positive", "uniform"]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_range_lies_within_what_was_seen_and_holds_zero(kind: str, seed: int) -> None:
    values = sample(seed, kind)
    seen = float(values.min()), float(values.max())
    low, high = best_range(values, *seen)
    assert min(seen[0], 0) <= low <= 0 <= high <= max(seen[1], 0)
    assert high > low


@pytest.mark.parametrize("kind", KINDS)
def test_the_range_costs_least(kind: str) -> None:
    values = sample(0, kind)
    seen = float(values.min()), float(values.max())
    found = cost(values, *best_range(values, *seen))
    assert found <= cost(values, *seen) * 1.01
    for share in (0.4, 0.6, 0.8):
        assert found <= cost(values, seen[0] * share, seen[1] * share) * 1.01


def test_rare_extremes_are_cut_and_the_bulk_is_kept() -> None:
    values = np.random.default_rng(1).normal(size=1 << 20).astype(np.float32)
    seen = float(values.min()), float(values.max())
    low, high = best_range(values, *seen)
    assert 4 < -low < -0.95 * seen[0]
    assert 4 < high < 0.95 * seen[1]


def test_evenly_spread_values_are_all_kept() -> None:
    values = sample(2, "uniform")
    low, high = best_range(values, -1.0, 3.0)
    assert low == pytest.approx(-1, abs=0.03)
    assert high == pytest.approx(3, abs=0.1)


def test_a_higher_power_cuts_less() -> None:
    values = sample(3, "tails")
    seen = float(values.min()), float(values.max())
    widths = [
        high - low for low, high in (best_range(values, *seen, power=p) for p in (1, 2, 3, 6))
    ]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]


@pytest.mark.parametrize("sign", [1, -1])
def test_values_of_one_sign_end_at_zero(sign: int) -> None:
    values = sign * (sample(4, "positive") + 1)
    bounds = best_range(values, float(values.min()), float(values.max()))
    assert bounds[0 if sign > 0 else 1] == 0


def test_nothing_but_zeros() -> None:
    assert best_range(np.zeros(10, np.float32), 0.0, 0.0) == (0.0, 0.0)


def test_a_constant_is_kept() -> None:
    low, high = best_range(np.full(10, 2.5, np.float32), 2.5, 2.5)
    assert low == 0
    grid = Grid.of_range(low, high)
    error = grid.dequantize(grid.quantize(np.full(1, 2.5, np.float32))) - 2.5
    assert abs(error.item()) < 0.01


def test_a_sample_that_missed_the_range_keeps_all_of_it() -> None:
    assert best_range(np.empty(0, np.float32), -1.0, 2.0) == (-1.0, 2.0)
