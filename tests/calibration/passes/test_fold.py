"""fold_batch_norm: the same function without batch normalisation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.passes.fold import fold_batch_norm, fold_structure
from edge_effnet.card import ModelCard
from edge_effnet.graph import Activation, BatchNorm, Conv, Dense, GlobalAveragePool, Graph
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess
from edge_effnet.variants import Variant
from support import tflite_models as small

CARD = ModelCard("made-up", Preprocess(small.SIDE, 0.875), ())


def unfolded(graph: Graph, variant: Variant = small.SWISH) -> Model:
    """Random weights; the statistics are far from those of an identity."""
    rng, weights = np.random.default_rng(11), {}
    for name, shape in graph.parameter_shapes.items():
        if len(shape) > 1:
            values = rng.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)
        elif name.endswith(("running_var", "bn.weight")):
            values = rng.uniform(0.3, 3.0, shape)
        else:
            values = rng.normal(0, 0.5, shape)
        weights[name] = values.astype(np.float32)
    return Model(variant, graph, weights, CARD)


def run(model: Model, batch: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    from edge_effnet.converters.formats import onnx

    proto = onnx.build(model.graph, model.weights, batch="n")
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {model.graph.input: batch})[0])


def batch_of(graph: Graph, count: int = 3) -> np.ndarray:
    shape = (count, *graph.input_shape)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("variant", [small.SWISH, small.LITE], ids=["swish-se-fused", "lite"])
@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_folding_keeps_the_function(variant: Variant, padding: str) -> None:
    model = unfolded(build(variant, classes=10, padding=padding), variant)
    folded = fold_batch_norm(model)
    batch = batch_of(model.graph)
    expected = run(model, batch)
    assert np.abs(expected).max() > 0.1
    assert np.abs(run(folded, batch) - expected).max() < 1e-4 * np.abs(expected).max()


def test_nothing_but_the_normalisation_goes() -> None:
    model = unfolded(build(small.SWISH, classes=10))
    folded = fold_batch_norm(model)
    kept = [node.name for node in model.graph if not isinstance(node, BatchNorm)]
    assert [node.name for node in folded.graph] == kept
    assert all(node.bias for node in folded.graph if isinstance(node, (Conv, Dense)))
    assert list(folded.weights) == list(folded.graph.parameter_shapes)
    assert all(values.dtype == np.float32 for values in folded.weights.values())
    assert (folded.info, folded.variant) == (model.info, model.variant)


def test_the_model_folded_is_left_as_it_was() -> None:
    model = unfolded(build(small.LITE, classes=10))
    before = {name: values.copy() for name, values in model.weights.items()}
    fold_batch_norm(model)
    assert list(model.weights) == list(before)
    assert all(np.array_equal(values, before[name]) for name, values in model.weights.items())


def test_folding_twice_changes_nothing() -> None:
    folded = fold_batch_norm(unfolded(build(small.LITE, classes=10)))
    again = fold_batch_norm(folded)
    assert again.graph == folded.graph
    assert all(np.array_equal(again.weights[name], folded.weights[name]) for name in folded.weights)


def test_a_convolution_that_has_a_bias_already() -> None:
    nodes = (
        Conv(name="c", inputs=("x",), channels=4, kernel=3, bias=True),
        BatchNorm(name="c_bn", inputs=("c",), eps=1e-3),
        GlobalAveragePool(name="pool", inputs=("c_bn",)),
        Dense(name="fc", inputs=("pool",), units=2),
    )
    model = unfolded(Graph("x", (3, 8, 8), nodes))
    folded = fold_batch_norm(model)
    assert folded.graph.by_name["pool"].inputs == ("c",)
    batch = batch_of(model.graph)
    np.testing.assert_allclose(run(folded, batch), run(model, batch), rtol=1e-4, atol=1e-5)


def test_normalisation_that_follows_no_convolution_stays() -> None:
    nodes = (
        Conv(name="c", inputs=("x",), channels=4, kernel=3),
        Activation(name="act", inputs=("c",), kind="relu"),
        BatchNorm(name="act_bn", inputs=("act",), eps=1e-3),
    )
    model = unfolded(Graph("x", (3, 8, 8), nodes))
    folded = fold_batch_norm(model)
    assert folded.graph == model.graph
    batch = batch_of(model.graph)
    np.testing.assert_array_equal(run(folded, batch), run(model, batch))


def test_normalisation_of_the_input_stays() -> None:
    nodes = (
        BatchNorm(name="image_bn", inputs=("x",), eps=1e-3),
        Conv(name="c", inputs=("image_bn",), channels=4, kernel=3),
    )
    model = unfolded(Graph("x", (3, 8, 8), nodes))
    assert fold_batch_norm(model).graph == model.graph
    assert [node.name for node in fold_structure(model.graph)] == ["c"]


def test_a_convolution_that_others_read_too_is_not_changed_under_them() -> None:
    from edge_effnet.graph import Add

    nodes = (
        Conv(name="c", inputs=("x",), channels=4, kernel=3),
        BatchNorm(name="c_bn", inputs=("c",), eps=1e-3),
        Add(name="sum", inputs=("c", "c_bn")),
    )
    model = unfolded(Graph("x", (3, 8, 8), nodes))
    batch = batch_of(model.graph)
    np.testing.assert_allclose(
        run(fold_batch_norm(model), batch), run(model, batch), rtol=1e-4, atol=1e-5
    )


def test_a_tiny_variance_is_held_by_epsilon() -> None:
    """Epsilon of 1e-3 where a channel never varied: folding must not blow up, nor drop it."""
    model = unfolded(build(small.LITE, classes=10))
    variances = {
        name: np.zeros_like(values)
        for name, values in model.weights.items()
        if name.endswith("stem.bn.running_var")
    }
    assert variances
    still = replace(model, weights={**model.weights, **variances})
    folded = fold_batch_norm(still)
    gamma, kernel = still.weights["stem.bn.weight"], still.weights["stem.conv.weight"]
    expected = kernel * (gamma / math.sqrt(1e-3))[:, None, None, None]
    np.testing.assert_allclose(folded.weights["stem.conv.weight"], expected, rtol=1e-5)


def test_classes() -> None:
    assert unfolded(build(small.LITE, classes=7)).classes == 7
