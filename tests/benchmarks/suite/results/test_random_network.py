"""Random networks: BatchNorm statistics match the photos, and quantization noise stays small."""

from __future__ import annotations

import numpy as np
import pytest

from edge_effnet.benchmarks.suite.results.random_network import random_network
from edge_effnet.checkpoints import load
from edge_effnet.graph import BatchNorm
from support.seeded_values import images

pytest.importorskip("onnxruntime", reason="the extra 'export' runs the networks")


@pytest.mark.parametrize("variant", ["lite0", "v2-b0"])
def test_activations_keep_their_spread(variant: str) -> None:
    from edge_effnet.converters.onnx_engine import OnnxEngine

    pixels = images(64, 4)
    model = random_network(variant, 64, pixels)
    norms = [node for node in model.graph if isinstance(node, BatchNorm)]
    before = [node.inputs[0] for node in norms]
    outputs = [*before, model.graph.output]
    run = OnnxEngine(1).compile_float(model.graph, model.weights, outputs)
    batch = np.stack([model.info.preprocess.normalise(each) for each in pixels])
    tensors = run(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))
    for node, name in zip(norms, before, strict=True):
        values = tensors[name].astype(np.float64)
        mean, variance = (model.weights[f"{node.name}.running_{x}"] for x in ("mean", "var"))
        scale = np.sqrt(variance.max())
        np.testing.assert_allclose(mean, values.mean(axis=(0, 2, 3)), atol=1e-3 * scale)
        np.testing.assert_allclose(
            variance, values.var(axis=(0, 2, 3)), atol=1e-3 * scale**2, rtol=1e-3
        )
    logits = tensors[model.graph.output]
    np.testing.assert_allclose(logits.mean(axis=0), 0, atol=1e-3)
    assert logits.std() > 0.1


def test_weights_are_the_same_each_time() -> None:
    pixels = images(64, 40)
    first, second = random_network("lite0", 64, pixels), random_network("lite0", 64, pixels[:32])
    assert first.weights.keys() == load("lite0", "random", resolution=64).weights.keys()
    for name, values in first.weights.items():
        np.testing.assert_array_equal(values, second.weights[name])


def test_quantization_noise_stays_small() -> None:
    """8-bit weights alone leave more than 18 dB on photos that the statistics are not of."""
    from edge_effnet.converters.onnx_engine import OnnxEngine

    pixels = images(64, 16)
    model = random_network("b1", 64, pixels[:8])
    rounded = dict(model.weights)
    for name, values in rounded.items():
        if values.ndim == 4:
            step = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
            rounded[name] = (np.round(values / step) * step).astype(np.float32)
    batch = np.stack([model.info.preprocess.normalise(each) for each in pixels[8:]])
    batch = np.ascontiguousarray(batch.transpose(0, 3, 1, 2))
    engine = OnnxEngine(1)
    exact, noisy = (
        engine.compile_float(model.graph, weights, [model.graph.output])(batch)[model.graph.output]
        for weights in (model.weights, rounded)
    )
    centred = exact - exact.mean(axis=0)
    sqnr = 10 * np.log10((centred**2).sum() / ((noisy - exact) ** 2).sum())
    assert sqnr > 18
