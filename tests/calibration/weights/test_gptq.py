"""Rounding: the pair rule always holds, and GPTQ keeps what a layer computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_effnet.calibration.weights import gptq as rounding
from edge_effnet.calibration.weights.gptq import (
    DAMPING,
    LIMIT,
    PAIR_LIMIT,
    RATIOS,
    base_scale,
    choose_scale,
    gptq,
    gptq_depthwise,
    limit_pairs,
    pair_stride,
)
from support.pairs import worst_pair

Floats = NDArray[np.float32]


def weights(seed: int, rows: int, k: int) -> Floats:
    """Rows of many kinds: smooth, heavy-tailed, nearly constant, with zeros, dead."""
    rng = np.random.default_rng(seed)
    kinds = [
        lambda: rng.normal(size=k),
        lambda: rng.standard_t(2, size=k),
        lambda: np.full(k, 0.3) + rng.normal(size=k) * 1e-3,
        lambda: rng.normal(size=k) * (rng.random(k) < 0.3),
        lambda: np.abs(rng.normal(size=k)) * 1e-6,
        lambda: np.zeros(k),
    ]
    return np.stack([kinds[int(rng.integers(len(kinds)))]() for _ in range(rows)]).astype(
        np.float32
    )


def hessian(seed: int, k: int, rank: int) -> Floats:
    """The covariance of correlated inputs; singular where ``rank`` < k."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(4 * k, rank)) @ rng.normal(size=(rank, k))
    return np.asarray(inputs.T @ inputs / len(inputs), np.float32)


layers = st.tuples(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 80), st.integers(1, 80))


# The pair rule


@pytest.mark.parametrize("step", [1, 2])
@settings(max_examples=40, deadline=None)
@given(layers)
def test_the_pair_rule_holds_for_whatever_gptq_gives(
    step: int, layer: tuple[int, int, int, int]
) -> None:
    seed, rows, k, rank = layer
    weight, h = weights(seed, rows, k), hessian(seed, k, min(rank, k))
    for scale in (base_scale(weight), choose_scale(weight, np.maximum(np.diag(h), 1e-12), step)):
        integers = gptq(weight, scale, h, step)
        assert integers.dtype == np.int8
        assert np.abs(integers.astype(int)).max() <= LIMIT
        assert worst_pair(integers, step) <= PAIR_LIMIT


@pytest.mark.parametrize("step", [1, 2])
def test_the_rule_bites(step: int) -> None:
    """Without it these weights would saturate: so the test above can fail."""
    weight = np.ones((1, 8), np.float32)
    h = np.eye(8, dtype=np.float32)
    assert worst_pair(gptq(weight, base_scale(weight), h, 0), step) == 2 * LIMIT
    assert worst_pair(gptq(weight, base_scale(weight), h, step), step) <= PAIR_LIMIT


def test_only_aligned_pairs_are_limited_with_step_two() -> None:
    weight = np.array([[0.0, 1.0, 1.0, 0.0]], np.float32)
    h = np.eye(4, dtype=np.float32)
    assert gptq(weight, base_scale(weight), h, 2).tolist() == [[0, 127, 127, 0]]
    assert gptq(weight, base_scale(weight), h, 1).tolist() != [[0, 127, 127, 0]]


def test_signs_that_differ_do_not_add_up() -> None:
    weight = np.array([[1.0, -1.0, 1.0, -1.0]], np.float32)
    found = gptq(weight, base_scale(weight), np.eye(4, dtype=np.float32), 1)
    assert found.tolist() == [[127, -127, 127, -127]]


def test_pairs_start_anywhere_with_an_odd_number_of_channels() -> None:
    assert [pair_stride(channels) for channels in (1, 3, 2, 32)] == [1, 1, 2, 2]


integer_rows = st.integers(1, 24).flatmap(
    lambda k: st.lists(
        st.lists(st.integers(-LIMIT, LIMIT), min_size=k, max_size=k), min_size=1, max_size=3
    )
)


@pytest.mark.parametrize("step", [1, 2])
@given(integer_rows, st.integers(0, 2**31))
def test_limit_pairs_only_shrinks(step: int, rows: list[list[int]], seed: int) -> None:
    integers = np.array(rows, np.float32)
    importance = np.random.default_rng(seed).random(integers.shape, np.float32) + np.float32(1e-6)
    before = integers.copy()
    limited = limit_pairs(integers, importance, step)
    assert np.array_equal(integers, before)
    assert worst_pair(limited, step) <= PAIR_LIMIT
    assert np.array_equal(limited, np.rint(limited))
    assert (np.abs(limited) <= np.abs(before)).all()
    assert (limited * before >= 0).all()
    if worst_pair(before, step) <= PAIR_LIMIT:
        assert np.array_equal(limited, before)


def test_the_less_important_member_gives_way_more() -> None:
    (row,) = limit_pairs(np.float32([[100, 100]]), np.float32([[9, 1]]), 2)
    assert row.sum() == PAIR_LIMIT
    assert row[0] > 90
    assert row[1] < 40


# Scales


@pytest.mark.parametrize("pairs", [0, 1, 2])
@settings(max_examples=30, deadline=None)
@given(layers)
def test_no_scale_clips_a_weight(pairs: int, layer: tuple[int, int, int, int]) -> None:
    seed, rows, k, _ = layer
    weight = weights(seed, rows, k)
    importance = np.random.default_rng(seed).random(k, np.float32) + np.float32(1e-6)
    scale = choose_scale(weight, importance, pairs)
    assert scale.dtype == np.float32
    assert (scale > 0).all()
    assert (np.abs(weight / scale[:, None]) <= LIMIT * 1.00001).all()
    ratios = scale / base_scale(weight)
    assert np.isclose(ratios[:, None], RATIOS, rtol=1e-5).any(axis=1).all()


@settings(max_examples=20, deadline=None)
@given(layers)
def test_the_widest_scale_obeys_the_rule_by_itself(layer: tuple[int, int, int, int]) -> None:
    weight = weights(*layer[:3])
    scale = base_scale(weight) * np.float32(RATIOS[-1])
    assert worst_pair(np.rint(weight / scale[:, None]), 1) <= PAIR_LIMIT


def test_the_scale_with_the_least_weighted_error_is_chosen() -> None:
    weight = weights(3, 12, 32)
    importance = np.random.default_rng(0).random(32, np.float32)

    def error(scale: Floats) -> Floats:
        rounded = np.clip(np.rint(weight / scale[:, None]), -LIMIT, LIMIT)
        rounded = limit_pairs(rounded, np.broadcast_to(importance, weight.shape), 2)
        return (importance * (rounded * scale[:, None] - weight) ** 2).sum(axis=1)

    chosen = error(choose_scale(weight, importance, 2))
    every = np.stack([error(base_scale(weight) * np.float32(ratio)) for ratio in RATIOS])
    np.testing.assert_allclose(chosen, every.min(axis=0), rtol=1e-3, atol=1e-12)
    assert len(set(every.argmin(axis=0))) > 1  # different rows want different scales


def test_dead_channels_are_harmless() -> None:
    weight = np.random.default_rng(0).normal(size=(3, 10)).astype(np.float32)
    weight[1] = 0
    assert base_scale(weight)[1] == 1.0
    scale = choose_scale(weight, np.ones(10, np.float32), 2)
    assert np.isfinite(scale).all()
    for integers in (
        gptq(weight, scale, hessian(0, 10, 10), 2),
        gptq_depthwise(weight, scale, np.stack([hessian(0, 10, 10)] * 3)),
    ):
        assert not integers[1].any()
        assert integers[0].any()


def test_inputs_that_never_vary_are_harmless() -> None:
    """Dead inputs: rows and columns of zeros, or nothing but zeros."""
    weight = weights(1, 4, 12)
    scale = base_scale(weight)
    h = hessian(1, 12, 12)
    h[5], h[:, 5] = 0, 0
    nearest = np.rint(weight / scale[:, None])
    assert np.array_equal(gptq(weight, scale, h, 0)[:, 5], nearest[:, 5])
    assert np.array_equal(gptq(weight, scale, np.zeros_like(h), 0), nearest)
    assert np.array_equal(gptq_depthwise(weight, scale, np.zeros((4, 12, 12), np.float32)), nearest)


# GPTQ


def one_by_one(weight: Floats, scale: Floats, h: Floats) -> NDArray[np.float64]:
    """The same by its definition, in float64: after each column is rounded, the open ones move to
    where the error is least.
    """
    k = weight.shape[1]
    damped = h.astype(np.float64) + DAMPING * np.trace(h) / k * np.eye(k)
    rest = weight.astype(np.float64) / scale[:, None]
    for column in range(k):
        rounded = np.clip(np.rint(rest[:, column]), -LIMIT, LIMIT)
        error = rest[:, column] - rounded
        rest[:, column] = rounded
        if column + 1 < k:
            move = np.linalg.solve(damped[column + 1 :, column + 1 :], damped[column + 1 :, column])
            rest[:, column + 1 :] += error[:, None] * move
    return rest


@pytest.mark.parametrize("k", [5, 64, 150])  # within a block, a whole one, over several
def test_gptq_is_the_published_algorithm(k: int) -> None:
    weight, h = weights(5, 8, k), hessian(5, k, k)
    scale = base_scale(weight)
    expected = one_by_one(weight, scale, h)
    found = gptq(weight, scale, h, 0)
    assert (found == expected).mean() > 0.995  # float32 may round a tie the other way
    assert np.abs(found - expected).max() <= 1
    if k > 5:
        assert (found != np.rint(weight / scale[:, None])).mean() > 0.05


def weighted_error(weight: Floats, scale: Floats, integers: Floats, h: Floats) -> float:
    """Mean squared error of the layer's outputs over the inputs behind ``h``."""
    error = (integers * scale[:, None] - weight).astype(np.float64)
    return float(np.einsum("oi,ij,oj->", error, h, error))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_gptq_beats_rounding_to_nearest(step: int) -> None:
    gains = []
    for seed in range(8):
        weight, h = weights(seed, 16, 48), hessian(seed, 48, 24)
        scale = choose_scale(weight, np.maximum(np.diag(h), 1e-12), step)
        nearest = np.clip(np.rint(weight / scale[:, None]), -LIMIT, LIMIT)
        if step:
            nearest = limit_pairs(nearest, np.broadcast_to(np.diag(h), weight.shape), step)
        ours = weighted_error(weight, scale, gptq(weight, scale, h, step), h)
        gains.append(ours / weighted_error(weight, scale, nearest, h))
    assert np.mean(gains) < 0.7


def test_without_correlation_it_is_rounding_to_nearest() -> None:
    weight = weights(2, 5, 70)
    scale = base_scale(weight)
    found = gptq(weight, scale, np.eye(70, dtype=np.float32), 0)
    assert np.array_equal(found, np.rint(weight / scale[:, None]))


def test_depthwise_channels_are_solved_each_by_itself() -> None:
    weight = weights(4, 6, 25)
    scale = base_scale(weight)
    h = np.stack([hessian(seed, 25, 9) for seed in range(6)])
    found = gptq_depthwise(weight, scale, h)
    for channel in range(6):
        row = slice(channel, channel + 1)
        assert np.array_equal(found[row], gptq(weight[row], scale[row], h[channel], 0))


def test_arguments_are_left_alone() -> None:
    weight, h = weights(6, 4, 20), hessian(6, 20, 20)
    scale = base_scale(weight)
    before = weight.copy(), scale.copy(), h.copy()
    gptq(weight, scale, h, 1)
    choose_scale(weight, np.diag(h), 1)
    for array, copy in zip((weight, scale, h), before, strict=True):
        assert np.array_equal(array, copy)


def test_a_pair_sum_of_the_limit_cannot_saturate() -> None:
    """uint8 inputs times the worst pair stay within 16 bits."""
    assert 255 * PAIR_LIMIT < 2**15 <= 255 * (PAIR_LIMIT + 1) + 255
    assert rounding.LIMIT <= 127


def test_a_covariance_that_cancellation_made_indefinite_is_repaired() -> None:
    """As computed from float32 moments with a large mean and almost no variance."""
    h = hessian(3, 12, 12)
    values, vectors = np.linalg.eigh(h.astype(np.float64))
    values[:4] = -values[-1]
    indefinite = ((vectors * values) @ vectors.T).astype(np.float32)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(rounding.damp(indefinite, DAMPING))
    weight = weights(3, 5, 12)
    scale = base_scale(weight)
    repaired = ((vectors * np.maximum(values, 0)) @ vectors.T).astype(np.float32)
    assert np.array_equal(gptq(weight, scale, indefinite, 0), gptq(weight, scale, repaired, 0))
    stacked = np.stack([indefinite] * 5)
    expected = gptq_depthwise(weight, scale, np.stack([repaired] * 5))
    assert np.array_equal(gptq_depthwise(weight, scale, stacked), expected)


def test_negative_eigenvalues_are_repaired_in_each_of_several_hessians() -> None:
    """Depthwise layers have one Hessian per channel; each keeps its own eigenvectors."""
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(3, 4, 4)))[0]
    values = np.array([[-0.5, 1, 2, 3], [0.1, 1, 2, 3], [-2, -1, 5, 6]])
    hessians = vectors * values[:, None, :] @ vectors.transpose(0, 2, 1)
    expected = vectors * np.maximum(values, 0)[:, None, :] @ vectors.transpose(0, 2, 1)
    repaired = rounding._positive_semidefinite(hessians.astype(np.float32))
    np.testing.assert_allclose(repaired, expected, atol=1e-6)
