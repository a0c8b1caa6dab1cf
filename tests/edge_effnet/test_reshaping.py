"""Reshaped variants by name, and the weights that they inherit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet import forward
from edge_effnet.card import ModelInfo
from edge_effnet.checkpoints.built_in_weights import random_weights
from edge_effnet.errors import UsageError
from edge_effnet.graph import Add
from edge_effnet.inheritance import inherit
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess
from edge_effnet.registry import get_variant, original_of
from edge_effnet.reshaping import Reshaping
from edge_effnet.scaling import scale
from edge_effnet.variants import VARIANTS
from support import tflite_models as small

SIDE = 64


@pytest.fixture(scope="module")
def model() -> Model:
    """A small network whose BatchNorm statistics and biases all count."""
    variant = replace(small.SWISH, drop_connect=0.0)
    graph = build(variant, classes=5)
    rng = np.random.default_rng(5)
    weights = {
        name: (np.abs(values) + 0.5 if name.endswith("running_var") else values)
        + (rng.normal(0, 0.1, values.shape) if values.ndim == 1 else 0)
        for name, values in random_weights(graph).items()
    }
    weights = {
        name: np.abs(v) if name.endswith("running_var") else v for name, v in weights.items()
    }
    labels = tuple("abcde")
    info = ModelInfo(variant.name, Preprocess(SIDE, 0.875), labels)
    return Model(variant, graph, {n: v.astype(np.float32) for n, v in weights.items()}, info)


def logits(network: Model) -> np.ndarray:
    batch = np.random.default_rng(3).normal(size=(2, 3, SIDE, SIDE)).astype(np.float32)
    return forward.logits(network.graph, network.weights, batch)


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet-lite0-d0.8-w1.1-r192",
        "efficientnetv2-b0-d1-w0.75-r160-k353535-e144466",
        "efficientnet-b0-d1.25-w1-r224-e1466666-hswish-no-se",
        "mobilenet-v2-d0.5-w1-r96",
    ],
)
def test_names_are_read_back(name: str) -> None:
    variant = get_variant(name)
    assert variant.name == name
    original, reshaped, adaptation = original_of(variant)
    assert name.startswith(original.name)
    assert adaptation.variant(reshaped) == variant
    assert build(variant).params > 0


def test_a_reshaped_variant_is_the_scaled_one() -> None:
    scaled = scale(get_variant("b0"), depth=1.25, width=0.75, resolution=192 / 224)
    assert build(get_variant("b0-d1.25-w0.75-r192")) == build(scaled)


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
def test_released_variants_are_their_own_originals(variant: object) -> None:
    assert original_of(variant)[0] is variant  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lite0-d0-w1-r192", "no factor above 0"),
        ("lite0-d1-w99-r192", "no factor above 0"),
        ("lite0-d1-w1-r8", "outside 32"),
        ("lite0-d1-w1-r192-k35", "needs as many kernels"),
        ("lite0-d1-w1-r192-k4444444", "kernels are odd"),
        ("lite0-d1-w1-r192-e6666666", r"stage 1 .* expansion 1, which cannot become 6"),
        ("lite0-d1-w1-r192-e1", "needs as many"),
        ("lite9-d1-w1-r192", "unknown variant"),
    ],
)
def test_impossible_shapes_are_refused(name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        get_variant(name)


def test_larger_networks_compute_the_originals_logits(model: Model) -> None:
    """Nothing reads the new channels, rims are 0, and new blocks are the identity."""
    expected = logits(model)
    deeper = Reshaping(2.5, 1, SIDE).variant(model.variant)
    wider = Reshaping(1, 1.5, SIDE).variant(model.variant)
    kernels = Reshaping(1, 1, SIDE, kernels=(5, 3, 7)).variant(model.variant)
    expansions = Reshaping(1, 1, SIDE, expansions=(1, 6, 6)).variant(model.variant)
    together = Reshaping(2, 1.5, SIDE, (5, 5, 5), (1, 5, 6)).variant(model.variant)
    for variant in (deeper, wider, kernels, expansions, together):
        grown = inherit(model, variant)
        assert grown.graph.params > model.graph.params, variant.name
        assert grown.info.untrained
        assert np.abs(logits(grown) - expected).max() < 2e-5 * np.abs(expected).max(), variant.name
    adds = [node for node in inherit(model, deeper).graph if isinstance(node, Add)]
    assert len(adds) > sum(isinstance(node, Add) for node in model.graph)


def test_smaller_networks_keep_the_first_channels_and_blocks(model: Model) -> None:
    variant = Reshaping(0.5, 0.5, 48, (1, 1, 1), (1, 2, 2)).variant(model.variant)
    shrunk = inherit(model, variant)
    assert shrunk.graph == build(variant, classes=5)
    assert shrunk.info.preprocess.size == 48
    for name, values in shrunk.weights.items():
        assert values.shape == shrunk.graph.parameter_shapes[name]
        original = model.weights[name]
        if values.ndim < 4:
            assert (values == original[tuple(slice(n) for n in values.shape)]).all()
    centre = model.weights["stages.2.blocks.0.depthwise.weight"][: 2 * 8, :, 1:2, 1:2]
    assert (shrunk.weights["stages.2.blocks.0.depthwise.weight"] == centre).all()


def test_the_same_weights_are_inherited_every_time(model: Model) -> None:
    variant = Reshaping(2, 1.25, SIDE).variant(model.variant)
    first, second = inherit(model, variant), inherit(model, variant)
    assert all((first.weights[name] == second.weights[name]).all() for name in first.weights)


def test_a_checkpoint_loads_in_another_shape(tmp_path: Path) -> None:
    graph = build(get_variant("v2-b0"), classes=3, padding="symmetric")
    info = ModelInfo("efficientnetv2-b0", Preprocess(224, 0.875), tuple("abc"))
    path = tmp_path / "a.safetensors"
    edge_effnet.save(Model(get_variant("v2-b0"), graph, random_weights(graph), info), path)
    notes: list[str] = []
    model = edge_effnet.load("v2-b0-d0.5-w0.75-r160-relu6", path, notify=notes.append)
    assert model.graph.input_shape == (3, 160, 160)
    assert model.variant == get_variant("v2-b0-d0.5-w0.75-r160-relu6")
    assert model.info.untrained
    assert any("train it before use" in note for note in notes)
    again = edge_effnet.load("auto", edge_effnet.save(model, tmp_path / "b.safetensors"))
    assert (again.variant, again.graph) == (model.variant, model.graph)
    assert edge_effnet.load(model.variant, path, resolution=96).graph.input_shape[1] == 96
