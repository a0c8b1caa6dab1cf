"""Blocks divided into groups of channels: the same function, with scales of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes import channel_groups
from edge_effnet.calibration.passes.channel_groups import divide_channels, large_channels
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.graph import Conv
from edge_effnet.model import Model
from support.small_plans import samples_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
from edge_effnet.converters.onnx_engine import OnnxEngine

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
LOUD = [3, 17, 30]


def network(variant: str = "b0", factor: float = 30.0) -> Model:
    """Random network at 64 pixels; a few channels of the first layer are ``factor`` as large."""
    model = prepare(edge_effnet.load(variant, "random", resolution=64)).reference
    weights = {name: values.copy() for name, values in model.weights.items()}
    for part in ("weight", "bias"):
        weights[f"stem.conv.{part}"][LOUD] *= factor
    return replace(model, weights=weights)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide a block even if rounding its wide tensor changes little, as in random networks."""
    monkeypatch.setattr(channel_groups, "_GOOD_SQNR", np.inf)


def divided(model: Model) -> Model:
    return divide_channels(prepare(model), PICTURES, OnnxEngine(1)).reference


def logits(model: Model) -> np.ndarray:
    run = OnnxEngine(1).compile_float(model.graph, model.weights, [model.graph.output])
    values = model.info.preprocess.normalise(PICTURES).transpose(0, 3, 1, 2)
    return run(np.ascontiguousarray(values))[model.graph.output]


@pytest.mark.usefixtures("eager")
def test_the_network_computes_the_same() -> None:
    model = network()
    made = divided(model)
    assert len(made.graph.nodes) > len(model.graph.nodes)
    expected = logits(model)
    assert np.abs(logits(made) - expected).max() <= 1e-5 * np.abs(expected).max()
    assert made.graph.multiply_adds == model.graph.multiply_adds


@pytest.mark.usefixtures("eager")
def test_the_large_channels_are_in_their_own_group() -> None:
    model = network()
    made = divided(model)
    others, large = (made.weights[f"stem.conv{suffix}.weight"] for suffix in ("", "_large"))
    assert len(large) % 8 == 0
    rows = {row.tobytes() for row in large}
    assert all(model.weights["stem.conv.weight"][channel].tobytes() in rows for channel in LOUD)
    assert len(others) + len(large) == len(model.weights["stem.conv.weight"])
    by_name = made.graph.by_name
    depthwise = by_name["stages.0.blocks.0.depthwise_large"]
    assert isinstance(depthwise, Conv)
    assert depthwise.groups == depthwise.channels == len(large)


@pytest.mark.usefixtures("eager")
def test_even_channels_are_left_alone() -> None:
    model = network(factor=1.0)
    weights = {
        name: np.ones_like(values) if name.startswith("stem") else values
        for name, values in model.weights.items()
    }
    made = divided(replace(model, weights=weights))
    assert "stem.conv_large" not in made.graph.by_name


@pytest.mark.usefixtures("eager")
def test_networks_that_clip_are_left_alone() -> None:
    prepared = prepare(network("lite0"))
    assert divide_channels(prepared, PICTURES, OnnxEngine(1)) is prepared


def test_blocks_that_change_no_logits_are_left_alone() -> None:
    prepared = prepare(network())
    assert divide_channels(prepared, PICTURES, OnnxEngine(1)) is prepared


def test_groups_are_chosen_by_their_noise() -> None:
    high = np.ones(32, np.float32)
    high[[4, 9]] = 10
    gain = np.ones(32)
    chosen = large_channels((np.zeros(32, np.float32), high), gain)
    assert chosen.sum() == 8
    assert chosen[[4, 9]].all()
    unread = np.where(high > 1, 1.0, 1e-9)  # the small channels' noise does not matter
    assert not large_channels((np.zeros(32, np.float32), high), unread).any()
    assert not large_channels((np.zeros(12, np.float32), high[:12]), gain[:12]).any()


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_best_quantizes_divided_blocks() -> None:
    pytest.importorskip("skimage", reason="the photos")
    model = network()
    samples = samples_of()
    plan = calibrate(model, samples, OnnxEngine(1), recipe="best").plan
    assert isinstance(plan, QuantPlan)
    assert "stem.conv_large" in plan.layers
    assert plan.quant_params["stem.act_large"].scale > 5 * plan.quant_params["stem.act"].scale
