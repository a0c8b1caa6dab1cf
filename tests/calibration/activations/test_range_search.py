"""choose_range: the clipping range."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.activations.histogram import BINS, Histogram
from edge_effnet.calibration.activations.range_search import (
    POWER,
    Range,
    choose_range,
    weighted_range,
)
from edge_effnet.calibration.plan import QuantParams

Floats = NDArray[np.float32]


def histogram_of(values: Floats, low: float, high: float) -> Histogram:
    histogram = Histogram()
    histogram.extend_range(low, high)
    if values.size:
        histogram.add(values)
    return histogram


def best_range(values: Floats, low: float, high: float, power: float = POWER) -> Range:
    return choose_range(histogram_of(values, low, high), power=power)


def cost(values: Floats, low: float, high: float, power: float = POWER) -> float:
    """Mean |error| ** power of a real QuantParams over the values."""
    params = QuantParams.of_range(low, high)
    error = np.abs(params.dequantize(params.quantize(values)).astype(np.float64) - values)
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
    params = QuantParams.of_range(low, high)
    error = params.dequantize(params.quantize(np.full(1, 2.5, np.float32))) - 2.5
    assert abs(error.item()) < 0.01


def test_a_sample_that_missed_the_range_keeps_all_of_it() -> None:
    assert best_range(np.empty(0, np.float32), -1.0, 2.0) == (-1.0, 2.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_histogram_in_pieces_is_the_histogram_of_all(kind: str) -> None:
    """Whatever the order in which its range had to grow."""
    values = sample(5, kind)
    whole, pieces = Histogram(), Histogram()
    whole.add(values)
    for piece in np.array_split(values, 37):
        pieces.add(piece)
    assert (whole.low, whole.high) == (pieces.low, pieces.high) == (values.min(), values.max())
    assert whole.limit == pieces.limit
    assert whole.counts.sum() == pieces.counts.sum() == values.size
    assert np.abs(np.cumsum(whole.counts - pieces.counts)).max() <= 2  # rounding at edges
    assert len(pieces.counts) == BINS
    centres, shares = pieces.occupied()
    assert centres @ shares == pytest.approx(float(values.mean()), abs=2 * pieces.limit / BINS)


def test_min_max_keeps_the_extremes() -> None:
    values = sample(6, "tails")
    histogram = histogram_of(values, float(values.min()), float(values.max()))
    assert choose_range(histogram, "min-max") == (values.min(), values.max())


def test_before_a_swish_the_flat_side_is_given_up() -> None:
    """Far below zero a swish is flat: steps are better spent above."""
    values = np.random.default_rng(9).normal(-4, 6, 50_000).astype(np.float32)
    histogram = histogram_of(values, float(values.min()), float(values.max()))
    plain = choose_range(histogram, power=2)
    swish = choose_range(histogram, power=2, function=ActivationFunction("swish"))
    assert swish[0] > 0.6 * plain[0]
    goal = ActivationFunction("swish")(values)

    def error(bounds: Range) -> float:
        params = QuantParams.of_range(*bounds)
        found = ActivationFunction("swish")(params.dequantize(params.quantize(values)))
        return float(np.square(found - goal).mean())

    assert error(swish) < 0.7 * error(plain)


def test_the_weighted_range_serves_the_layers_outputs() -> None:
    """A channel that the next layer ignores may be clipped, however large it is."""
    rng = np.random.default_rng(10)
    values = np.abs(rng.normal(size=(8, 500))).astype(np.float32)
    values[3] *= 40
    weights = np.ones(8, np.float32)
    seen = float(values.max())
    weighted = weighted_range(values, weights, 0.0, seen)[1]
    weights[3] = 0
    ignored = weighted_range(values, weights, 0.0, seen)[1]
    assert weighted > 0.6 * seen
    assert ignored < 0.3 * seen


def test_an_error_that_is_always_the_same_costs_nothing() -> None:
    """A channel that is nearly constant may be clipped, however much it weighs."""
    rng = np.random.default_rng(11)
    values = rng.uniform(0, 1, (4, 500)).astype(np.float32)
    values[2] = 30
    assert weighted_range(values, np.ones(4, np.float32), 0.0, 30.0)[1] < 0.25 * 30


@given(st.integers(0, 2**31), st.sampled_from(["", "swish"]))
@settings(max_examples=20, deadline=None)
def test_the_weighted_range_is_the_cheapest_of_those_tried(seed: int, kind: str) -> None:
    """By the values themselves, not their bins, which leave some."""
    rng = np.random.default_rng(seed)
    scales = np.exp(rng.normal(0, 1, (6, 1)))
    values = (rng.standard_t(6, (6, 800)) * scales).astype(np.float32)
    weights = np.exp(rng.normal(0, 2, 6)).astype(np.float32)
    low, high = float(values.min()), float(values.max())
    function = ActivationFunction(kind)

    def cost(bottom: float, top: float) -> float:
        params = QuantParams.of_range(bottom, top)
        error = function(params.dequantize(params.quantize(values))) - function(values)
        return float(weights @ error.var(axis=1))

    found = weighted_range(values, weights, low, high, function=function)
    for share in (0.4, 0.6, 0.8, 1.0):
        assert cost(*found) <= 1.1 * cost(found[0], share * high)
        assert cost(*found) <= 1.1 * cost(share * low, found[1])


def test_a_tensor_that_never_changes_has_a_range() -> None:
    flat = np.zeros((3, 10), np.float16)
    assert weighted_range(flat, np.ones(3, np.float32), 0.0, 0.0) == (0.0, 0.0)
    assert weighted_range(flat, np.ones(3, np.float32), 0.0, np.inf) == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["", "relu", "relu6", "swish", "sigmoid"])
def test_slopes_are_the_derivatives(kind: str) -> None:
    x = np.linspace(-30, 30, 1201, dtype=np.float64) + 0.013
    function = ActivationFunction(kind)
    step = 1e-5
    measured = (function(x + step) - function(x - step)) / (2 * step)
    np.testing.assert_allclose(function.slope(x), measured, atol=1e-6)
