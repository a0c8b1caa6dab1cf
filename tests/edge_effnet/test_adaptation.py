"""Adapted networks: names, weights, files, and the refusal to export them untrained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet import forward
from edge_effnet.adaptation import Adaptation
from edge_effnet.calibration.passes.fold import fold_structure
from edge_effnet.card import ModelCard, ModelInfo, Source
from edge_effnet.checkpoints.built_in_weights import random_weights
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Activation
from edge_effnet.heads import Function, Head, Linear, attach, trunk
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess
from edge_effnet.registry import get_variant
from edge_effnet.scaling import scale
from edge_effnet.variants import VARIANTS, Variant
from support import tflite_models as small

SIDE = 64


def model_of(variant: Variant, classes: int = 5) -> Model:
    """A network with BatchNorm and seeded random weights."""
    graph = build(variant, classes=classes, resolution=SIDE)
    labels = tuple(f"class {n}" for n in range(classes))
    info = ModelInfo(variant.name, Preprocess(SIDE, 0.875), labels, Source("timm", "a.pth", "0"))
    return Model(variant, graph, random_weights(graph), info)


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "activation", "squeezed"),
    [
        ("v2-b0-hswish", "hard_swish", True),
        ("efficientnetv2-b0-relu6-no-se", "relu6", False),
        ("B0_no_se", "swish", False),
        ("lite0-hswish", "hard_swish", False),
        ("edgetpu-s-relu6", "relu6", False),
        ("mobilenet-v2-hswish", "hard_swish", False),
    ],
)
def test_names_end_with_the_changes(name: str, activation: str, squeezed: bool) -> None:
    variant = get_variant(name)
    assert variant.activation == activation
    assert any(stage.se_ratio for stage in variant.stages) == squeezed
    assert variant.published is None
    assert get_variant(variant.name) == variant
    assert variant.name not in VARIANTS


@pytest.mark.parametrize("name", ["lite0-relu6", "lite0-no-se", "lite0-relu6-no-se"])
def test_changes_that_a_network_has_already_change_nothing(name: str) -> None:
    assert get_variant(name) is get_variant("lite0")
    model = model_of(get_variant("lite0"))
    assert Adaptation("relu6", squeeze_excite=False).model(model) is model


def test_an_unknown_activation_is_refused() -> None:
    with pytest.raises(UsageError, match=r"'mish'.*hswish, relu6"):
        Adaptation("mish")
    with pytest.raises(UsageError, match="unknown variant 'v2-b0-mish'"):
        get_variant("v2-b0-mish")


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("adaptation", [Adaptation("hswish"), Adaptation("relu6", False)])
def test_the_graph_is_that_of_the_adapted_variant(adaptation: Adaptation, folded: bool) -> None:
    model = small.model_of(small.SWISH) if folded else model_of(small.SWISH)
    adapted = adaptation.model(model)
    expected = build(adaptation.variant(small.SWISH), classes=model.classes, resolution=SIDE)
    assert adapted.graph == (fold_structure(expected) if folded else expected)
    assert {n: v.shape for n, v in adapted.weights.items()} == adapted.graph.parameter_shapes
    assert adapted.info.untrained
    assert adapted.info.variant == adapted.variant.name
    assert not model.info.untrained


def test_the_head_keeps_its_activation() -> None:
    """The head of a user's network is no layer of the variant."""
    model = model_of(small.SWISH)
    layers = (Linear(np.ones((7, 64)), np.zeros(7)), Function("tanh"))
    head = Head((*layers, Linear(np.ones((5, 7)), np.zeros(5))))
    trunk_weights = {n: v for n, v in model.weights.items() if not n.startswith("classifier")}
    graph, weights = attach(trunk(model.graph), trunk_weights, head)
    adapted = Adaptation("hswish").model(replace(model, graph=graph, weights=weights))
    kinds = [node.kind for node in adapted.graph if isinstance(node, Activation)]
    assert kinds.count("tanh") == 1
    assert set(kinds) == {"hard_swish", "sigmoid", "tanh"}


@pytest.mark.parametrize("given", [True, False])
def test_mean_gates_replace_squeeze_excite_where_gates_are_constant(given: bool) -> None:
    """Zero weights make the gates sigmoid(bias): no photo changes them."""
    model = model_of(small.SWISH)
    weights, gates = dict(model.weights), {}
    rng = np.random.default_rng(1)
    for name in weights:
        if ".se.expand.weight" in name:
            weights[name] = np.zeros_like(weights[name])
        elif ".se.expand.bias" in name:
            bias = rng.normal(size=weights[name].shape) if given else np.zeros(len(weights[name]))
            weights[name] = bias.astype(np.float32)
            gates[name.replace("expand.bias", "scale")] = 1 / (1 + np.exp(-bias))
    model = replace(model, weights=weights)
    adapted = Adaptation(squeeze_excite=False).model(model, gates if given else None)
    expected = forward.logits(model.graph, model.weights, images())
    ours = forward.logits(adapted.graph, adapted.weights, images())
    assert np.abs(ours - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    "variant",
    [
        get_variant("v2-b0-hswish"),
        get_variant("b0-relu6-no-se"),
        scale(get_variant("lite0"), depth=0.5, width=0.5),
    ],
    ids=lambda variant: variant.name,
)
def test_a_saved_network_is_read_as_what_it_is(variant: Variant, tmp_path: Path) -> None:
    model = model_of(variant)
    path = edge_effnet.save(model, tmp_path / "mine.safetensors")
    for again in (edge_effnet.load("auto", path), edge_effnet.load(variant, path)):
        assert again.variant == variant
        assert again.graph == model.graph
        assert again.info.variant == variant.name
        assert not again.info.untrained
    with pytest.raises(CheckpointError, match=f"holds {variant.name}, not efficientnet-b0"):
        edge_effnet.load("b0", path)


def test_a_file_of_an_untrained_network_says_so(tmp_path: Path) -> None:
    """A released network's file is as before: earlier releases read it; they refuse the other."""
    pytest.importorskip("safetensors")
    from safetensors import safe_open

    model = model_of(get_variant("b0"))
    adapted = Adaptation("hswish").model(model)
    paths = [
        edge_effnet.save(each, tmp_path / f"{n}.safetensors")
        for n, each in enumerate((model, adapted))
    ]
    assert [edge_effnet.load("auto", path).info.untrained for path in paths] == [False, True]
    schemas = []
    for path in paths:
        with safe_open(path, framework="numpy") as file:
            schemas.append(json.loads(file.metadata()["edge_effnet"])["schema"])
    assert schemas == [1, 2]


@pytest.mark.parametrize("damage", ["{", "[]", '{"name": "x"}', '{"stages": 3}'])
def test_a_damaged_description_is_refused(damage: str, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    path = edge_effnet.save(model_of(get_variant("b0-hswish")), tmp_path / "a.safetensors")
    with safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = {**file.metadata(), "variant": damage}
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match=r"the record in .* cannot be read"):
        edge_effnet.load("auto", path)


def test_a_checkpoint_loads_as_its_adapted_variant(tmp_path: Path) -> None:
    """The original's weights fit hard swish by name and shape: the result must not seem trained."""
    model = model_of(get_variant("b0"))
    path = edge_effnet.save(model, tmp_path / "b0.safetensors")
    notes: list[str] = []
    adapted = edge_effnet.load("b0-hswish", path, notify=notes.append)
    assert adapted.variant.name == "efficientnet-b0-hswish"
    assert adapted.info.untrained
    assert any("train it before use" in note for note in notes)
    without = edge_effnet.load("b0-no-se", path, notify=notes.append)
    assert not any(".se." in name for name in without.weights)
    assert without.info.untrained


def test_an_untrained_network_is_not_exported_by_mistake(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    adapted = Adaptation("hswish").model(model_of(small.SWISH))
    with pytest.raises(UsageError, match=r"would be wrong; train it .*force=True"):
        edge_effnet.export(adapted, formats="tflite", precisions="fp32", out=tmp_path)
    assert not list(tmp_path.iterdir())
    notes: list[str] = []
    (path,) = edge_effnet.export(
        adapted, formats="tflite", precisions="fp32", out=tmp_path, force=True, notify=notes.append
    )
    assert path.name == "tiny-swish-hswish-fp32.tflite"
    assert any("predictions are wrong" in note for note in notes)
    assert edge_effnet.open(path).card.untrained
    trained = replace(adapted, info=replace(adapted.info, untrained=False))
    (path,) = edge_effnet.export(
        trained, formats="tflite", precisions="fp32", out=tmp_path / "trained"
    )
    assert not edge_effnet.open(path).card.untrained


def test_the_card_of_a_trained_network_does_not_mention_it() -> None:
    card = model_of(small.SWISH).info.card()
    assert "untrained" not in card.to_json()
    changed = card.with_(untrained=True)
    assert ModelCard.from_json(changed.to_json()) == changed
