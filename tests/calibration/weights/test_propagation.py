"""Propagated integers against ONNX Runtime's kernels, for every uint8 value."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import fusable_gates
from edge_effnet.calibration.weights.activation_tables import activation_table
from edge_effnet.calibration.weights.propagation import PropagatedTensors
from edge_effnet.graph import Activation, Conv, GlobalAveragePool, Graph, MaxPool, Mul
from edge_effnet.model import Model
from support import tflite_models as small

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from edge_effnet.converters.formats.onnx import build
from edge_effnet.converters.onnx_engine import OnnxEngine


@given(st.floats(0.5, 40), st.floats(0.3, 12), st.floats(0.01, 40))
@settings(max_examples=15, deadline=None)
def test_fused_sigmoid_gating_equals_integer_kernels(high: float, low: float, top: float) -> None:
    """Propagation against ONNX Runtime's kernels, for every uint8 value.

    A tie of a rounding may go either way, and each of the sigmoids' is a step of their product.
    """
    conv = Conv(name="conv", inputs=("image",), channels=256, kernel=1, groups=256, bias=True)
    act = Activation(name="act", inputs=("conv",), kind="swish")
    pool = GlobalAveragePool(name="pool", inputs=("image",), keepdims=True)
    gate = Activation(name="gate", inputs=("pool",), kind="sigmoid")
    scale = Mul(name="scale", inputs=("act", "gate"))
    graph = Graph("image", (256, 1, 1), (conv, act, pool, gate, scale))
    assert fusable_gates(graph) == {"scale"}
    assert not fusable_gates(graph, frozenset({"conv", "act"}))
    params = QuantParams.of_range(-low, high)
    quant_params = dict.fromkeys(("image", "conv", "act", "pool"), params)
    quant_params |= {"gate": SIGMOID_PARAMS, "scale": QuantParams.of_range(-0.28, top)}
    ones = np.ones(256, np.float32)
    layer = LayerPlan(np.ones((256, 1, 1, 1), np.int8), ones, np.zeros(256, np.int32))
    plan = QuantPlan({"conv": layer}, quant_params, "", fused_gates=frozenset({"scale"}))
    proto = build(graph, {}, plan, placement="tflite", integer_output=True)
    session = import_module("onnxruntime").InferenceSession(proto.SerializeToString())
    every = np.arange(256, dtype=np.uint8).reshape(1, 256, 1, 1)
    (found,) = session.run(None, {"image": every})
    propagated = PropagatedTensors(
        Model(small.LITE, graph, {}, small.model_of(small.LITE).info),
        OnnxEngine(1),
        quant_params,
        np.zeros((1, 1, 1, 256), np.uint8),
        fused_gates=plan.fused_gates,
    )
    sigmoids = SIGMOID_PARAMS.quantize(ActivationFunction("sigmoid")(params.dequantize(every)))
    propagated.tensors = {"act": every.__getitem__, "gate": sigmoids.__getitem__}
    propagated.swish_inputs["act"] = every.__getitem__
    propagated.propagate(scale)
    apart = np.abs(
        found.reshape(-1).astype(int) - propagated.tensors["scale"](slice(0, 1)).reshape(-1)
    )
    step = (
        np.abs(params.dequantize(every.reshape(-1)))
        * FUSED_SIGMOID_PARAMS.scale
        / quant_params["scale"].scale
    )
    assert (apart <= 1 + 2 * step).all()
    assert (apart > 0).mean() < 0.05


@given(st.floats(0.5, 40), st.floats(0.3, 12), st.floats(0.3, 40))
@settings(max_examples=15, deadline=None)
def test_the_table_of_a_swish_is_what_integer_kernels_make(
    high: float, low: float, top: float
) -> None:
    """Against ONNX Runtime's kernels, for every index; a tie of a rounding may go either way."""
    act = Activation(name="act", inputs=("conv",), kind="swish")
    conv = Conv(name="conv", inputs=("image",), channels=3, kernel=1, bias=True)
    graph = Graph("image", (3, 4, 64), (conv, act))
    params = QuantParams.of_range(-low, high)
    weight = np.eye(3, dtype=np.int8).reshape(3, 3, 1, 1)
    layer = LayerPlan(weight, np.ones(3, np.float32), np.zeros(3, np.int32))
    quant_params = {"image": params, "conv": params, "act": QuantParams.of_range(-0.28, top)}
    plan = QuantPlan({"conv": layer}, quant_params, "")
    proto = build(graph, {}, plan, placement="tflite", integer_output=True)
    session = import_module("onnxruntime").InferenceSession(proto.SerializeToString())
    every = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(1, 1, 4, 64), (1, 3, 4, 64))
    (found,) = session.run(None, {"image": np.ascontiguousarray(every)})
    table = np.frombuffer(
        activation_table("swish", quant_params["conv"], quant_params["act"]), np.uint8
    )
    apart = np.abs(found[0, 0].reshape(-1).astype(int) - table)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 0.05


def test_a_max_pool_among_float_layers_pools_float_values() -> None:
    """Neither padding nor the other quantization parameters of its output touch the values."""
    conv = Conv(name="conv", inputs=("image",), channels=4, kernel=3, pads=(1,) * 4, bias=True)
    pool = MaxPool(name="pool", inputs=("conv",), kernel=3, stride=2, pads=(1,) * 4)
    graph = Graph("image", (3, 8, 8), (conv, pool))
    model = small.random_model(small.LITE, graph)
    weights = {**model.weights, "conv.bias": np.full(4, -20, np.float32)}  # all values below 0
    model = replace(model, weights=weights)
    names = frozenset({"conv", "pool"})
    params = QuantParams.of_range(-40, 0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    propagated = PropagatedTensors(
        model,
        OnnxEngine(1),
        {"image": QuantParams(1 / 128, 127), "conv": params, "pool": QuantParams.of_range(-80, 0)},
        pixels,
        placement="onnx",
        float_layers=names,
    )
    propagated.propagate_layer(conv, weights)
    propagated.propagate(pool)
    found = propagated.tensors["pool"](slice(0, 2))
    expected = [small.evaluate(model, small.normalised(model, each))["pool"] for each in pixels]
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, np.stack(expected), rtol=2e-3)
