"""Scales without rounding ties: sums and means round the same with and without fused arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_effnet.calibration.activations.tie_free_scales import tie_free
from edge_effnet.calibration.plan import QuantParams
from edge_effnet.graph import Activation, Add, Conv, GlobalAveragePool, Graph

scales = st.floats(1e-4, 10.0)


def residual() -> Graph:
    """Two additions in a row, then a mean over 7 x 7 pixels."""

    def conv(name: str, source: str) -> Conv:
        return Conv(name=name, inputs=(source,), channels=3, kernel=1)

    return Graph(
        "x",
        (3, 7, 7),
        (
            conv("a", "x"),
            conv("b", "a"),
            Add(name="first", inputs=("a", "b")),
            conv("c", "first"),
            Add(name="second", inputs=("first", "c")),
            conv("d", "second"),
            Activation(name="act", inputs=("d",), kind="relu6"),
            GlobalAveragePool(name="mean", inputs=("act",)),
        ),
    )


@given(st.lists(scales, min_size=5, max_size=5))
def test_a_sum_is_never_near_a_tie(values: list[float]) -> None:
    quant_params = grids_of(dict(zip(("a", "b", "first", "c", "second"), values, strict=True)))
    made = tie_free(residual(), quant_params)
    for left, right, out in (("a", "b", "first"), ("first", "c", "second")):
        ratios = [Fraction(made[name].scale) / Fraction(made[out].scale) for name in (left, right)]
        nearest = min(
            abs((ratios[0] * p + ratios[1] * q) % 1 - Fraction(1, 2))
            for p in (1, 2, 37, 128, 255)
            for q in range(256)
        )
        assert nearest >= Fraction(1, 2**12)


@given(scales, scales)
def test_a_mean_is_never_near_a_tie(source: float, scale: float) -> None:
    assume(scale <= 2 * source)  # a mean lies within the range of what it is taken over
    quant_params = grids_of({"act": source, "mean": scale})
    made = tie_free(residual(), quant_params)
    assert made["act"] == quant_params["act"]  # its range is the clip of ReLU6
    ratio = float(np.float64(made["act"].scale) / np.float64(made["mean"].scale)) / 49
    sums = np.arange(0, 255 * 49 + 1)
    near = np.abs((sums * ratio) % 1 - 0.5)[sums * ratio < 255]
    # float32 rounds the scale, and with it results of up to 255, by 2**-24.
    assert near.min() > 1 / (2 * 49 * 129) - 255 * 2**-24
    assert made["mean"].scale == pytest.approx(scale, rel=0.016)


def test_scales_move_little_and_zero_points_stay() -> None:
    quant_params = grids_of(
        {"a": 0.031, "b": 0.022, "first": 0.04, "c": 0.013, "second": 0.05, "x": 1 / 128}
    )
    made = tie_free(residual(), quant_params)
    assert made["x"] == quant_params["x"]
    for name in ("a", "b", "first", "c", "second"):
        assert made[name].scale == pytest.approx(quant_params[name].scale, rel=4e-3)
        assert made[name].zero_point == quant_params[name].zero_point
        assert made[name].scale == float(np.float32(made[name].scale))
    assert made != quant_params


def test_additions_of_activations_are_left_alone() -> None:
    graph = Graph(
        "x",
        (3, 4, 4),
        (
            Conv(name="a", inputs=("x",), channels=3, kernel=1),
            Activation(name="act", inputs=("a",), kind="relu6"),
            Add(name="sum", inputs=("act", "x")),
        ),
    )
    quant_params = grids_of({"x": 0.01, "act": 6 / 255, "sum": 0.03})
    assert tie_free(graph, quant_params) == quant_params


def grids_of(of: dict[str, float]) -> dict[str, QuantParams]:
    return {name: QuantParams(float(np.float32(scale)), 100) for name, scale in of.items()}
