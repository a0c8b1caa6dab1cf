"""Grid and QuantPlan: what the integers stand for, and the plan on disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    LEVELS,
    SIGMOID_PARAMS,
    LayerPlan,
    QuantParams,
    QuantPlan,
)
from edge_effnet.card import CalibrationRecord

limits = st.floats(-1e6, 1e6, width=32)
ranges = st.tuples(limits, limits).map(sorted)
quant_params = ranges.map(lambda pair: QuantParams.of_range(*pair))


@given(ranges)
def test_a_grid_covers_its_range_and_zero(pair: list[float]) -> None:
    low, high = pair
    params = QuantParams.of_range(low, high)
    assert params.scale > 0
    assert params.scale == np.float32(params.scale)
    assert 0 <= params.zero_point <= LEVELS
    slack = params.scale * 0.5001 + 1e-6 * (high - low)  # the zero point is rounded
    assert params.low <= min(low, 0) + slack
    assert params.high >= max(high, 0) - slack


def test_no_product_of_sigmoids_is_at_a_rounding_tie() -> None:
    """Where kernels would go apart: half a step away from every index, within float32's error."""
    every = np.arange(256, dtype=np.int64)
    products = np.outer(every, every) / 257
    assert np.abs(products - np.floor(products) - 0.5).min() > 1e-3
    assert FUSED_SIGMOID_PARAMS.scale == 257 * SIGMOID_PARAMS.scale**2
    assert FUSED_SIGMOID_PARAMS.high >= (SIGMOID_PARAMS.high**2) - FUSED_SIGMOID_PARAMS.scale / 2


@given(quant_params)
def test_zero_is_exact(params: QuantParams) -> None:
    zero = params.quantize(np.zeros(1, np.float32))
    assert zero.tolist() == [params.zero_point]
    assert params.dequantize(zero).tolist() == [0.0]


@given(quant_params)
def test_every_index_comes_back(params: QuantParams) -> None:
    every = np.arange(256, dtype=np.uint8)
    values = params.dequantize(every)
    assert (values.dtype, params.quantize(values).dtype) == (np.float32, np.uint8)
    assert np.array_equal(params.quantize(values), every)
    assert values[0] == pytest.approx(params.low, rel=1e-6)
    assert values[-1] == pytest.approx(params.high, rel=1e-6)


@given(quant_params, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_within_the_range_half_a_step_is_lost_at_most(
    params: QuantParams, shares: list[float]
) -> None:
    x = (params.low + np.array(shares) * (params.high - params.low)).astype(np.float32)
    error = np.abs(params.dequantize(params.quantize(x)).astype(np.float64) - x)
    assert (error <= params.scale / 2 * (1 + 1e-3)).all()


@given(quant_params, st.floats(1, 1e6))
def test_beyond_the_range_it_saturates(params: QuantParams, factor: float) -> None:
    far = np.float32(params.scale * 256 * factor)
    assert params.quantize(np.array([-far, far])).tolist() == [0, 255]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 6.0, QuantParams(float(np.float32(6 / 255)), 0)),
        (-1.0, 0.0, QuantParams(float(np.float32(1 / 255)), 255)),
        (2.0, 5.1, QuantParams(float(np.float32(5.1 / 255)), 0)),  # widened to hold 0
        (-5.1, -2.0, QuantParams(float(np.float32(5.1 / 255)), 255)),
        (-1.0, 2.0, QuantParams(float(np.float32(3 / 255)), 85)),
    ],
)
def test_grids_of_known_ranges(low: float, high: float, expected: QuantParams) -> None:
    assert QuantParams.of_range(low, high) == expected


def test_an_empty_range_is_harmless() -> None:
    params = QuantParams.of_range(0.0, 0.0)
    assert params.scale > 0
    assert np.isfinite(params.dequantize(np.arange(256, dtype=np.uint8))).all()


def test_quantize_leaves_its_input_alone() -> None:
    values = np.array([0.5, 1.5], np.float32)
    params = QuantParams(1.0, 3)
    assert params.quantize(values).tolist() == [3, 5]  # ties to even
    assert values.tolist() == [0.5, 1.5]


def test_what_a_layers_integers_stand_for() -> None:
    layer = LayerPlan(
        np.array([[[[3]]], [[[-127]]]], np.int8),
        np.array([0.5, 2.0], np.float32),
        np.array([10, -4], np.int32),
    )
    assert layer.float_weight().tolist() == [[[[1.5]]], [[[-254.0]]]]
    assert layer.float_bias(0.25).tolist() == [10 * 0.125, -4 * 0.5]
    dense = replace(layer, weight=np.array([[1, 2], [3, 4]], np.int8))
    assert dense.float_weight().tolist() == [[0.5, 1.0], [6.0, 8.0]]


HALF = np.full(2, 0.5, np.float32)


def plan(record: bool = True) -> QuantPlan:
    rng = np.random.default_rng(0)

    def layer(*shape: int) -> LayerPlan:
        return LayerPlan(
            rng.integers(-127, 128, shape).astype(np.int8),
            rng.random(shape[0], np.float32),
            rng.integers(-(2**30), 2**30, shape[0]).astype(np.int32),
        )

    manifest = (("a.jpg", "1" * 64), ("unter/b.jpg", "2" * 64))
    return QuantPlan(
        {"stem.conv": layer(4, 3, 3, 3), "classifier": layer(2, 4)},
        {"image": QuantParams(1 / 128, 127), "stem.act": QuantParams(float(np.float32(0.1)), 0)},
        "default",
        CalibrationRecord(2, 8, "3" * 64, manifest) if record else None,
        avx2_safe=False,
        float_layers=frozenset({"head.conv"}),
        weights={"head.conv.weight": np.ones((2, 2, 1, 1), np.float32), "head.conv.bias": HALF},
        biases={"openvino": {"stem.conv": np.arange(4, dtype=np.int32), "head.conv": HALF + 1}},
        fused_gates=frozenset({"se.scale"}),
    )


def test_a_placement_has_its_own_biases_and_nobody_elses() -> None:
    made = plan()
    there = made.for_format("openvino")
    assert there.layers["stem.conv"].bias.tolist() == [0, 1, 2, 3]
    assert there.weights["head.conv.bias"].tolist() == [1.5, 1.5]
    for name, layer in made.layers.items():
        assert there.layers[name].weight is layer.weight
        assert there.layers[name].scale is layer.scale
    assert there.layers["classifier"].bias is made.layers["classifier"].bias
    assert made.for_format("tflite") is made.for_format("onnx") is made
    assert not there.fused_gates
