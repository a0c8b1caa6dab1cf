"""Heads of PyTorch checkpoints: what a state dict tells is converted, the rest is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import edge_effnet
from edge_effnet import forward
from edge_effnet.checkpoints.pytorch import timm
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Activation, Add, Dense, Graph, LayerNorm, MaxPool
from edge_effnet.heads import head_nodes
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import CROP_MODES
from edge_effnet.registry import get_variant
from support import numpy_network

Tensors = dict[str, np.ndarray]
F = 1280


@pytest.fixture(scope="module")
def backbone() -> Tensors:
    """timm's Lite0 without a classifier, filled with noise."""
    graph, rng = build(get_variant("lite0")), np.random.default_rng(0)
    return {
        theirs: rng.random(graph.parameter_shapes[ours], np.float32)
        for ours, theirs in timm.names(graph).items()
        if not ours.startswith("classifier")
    }


Load = Callable[..., Model]


@pytest.fixture
def load(tmp_path: Path, backbone: Tensors) -> Load:
    """Loads ``backbone.`` beside the given tensors."""

    def loaded(
        beside: Mapping[str, np.ndarray], *, inside: Mapping[str, Any] | None = None, **options: Any
    ) -> Model:
        path = tmp_path / "net.safetensors"
        own = {f"backbone.{name}": v for name, v in (backbone | dict(inside or {})).items()}
        save_file({n: np.ascontiguousarray(v) for n, v in {**own, **beside}.items()}, path)
        options.setdefault("notify", lambda text: None)
        return edge_effnet.load("auto", path, source="timm", resolution=32, **options)

    return loaded


def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> Tensors:
    rng = np.random.default_rng(len(name) + inputs)
    weight = rng.normal(0, 0.1, (outputs, inputs)).astype(np.float32)
    found = {f"{name}.weight": weight}
    return found | ({f"{name}.bias": rng.random(outputs, np.float32)} if bias else {})


def norm(name: str, size: int) -> Tensors:
    rng = np.random.default_rng(size)
    parts = ("weight", "bias", "running_mean", "running_var")
    found = {f"{name}.{part}": rng.uniform(0.5, 1.5, size).astype(np.float32) for part in parts}
    return found | {f"{name}.num_batches_tracked": np.array(7)}


def output(model: Model, features: np.ndarray) -> np.ndarray:
    """The classifier's outputs for pooled ``features`` [n]."""
    x = features.astype(np.float64)
    for node in model.graph:
        if isinstance(node, Dense):
            x = model.weights[f"{node.name}.weight"] @ x + model.weights[f"{node.name}.bias"]
        elif isinstance(node, Activation) and node.name.startswith("head.hidden"):
            x = numpy_network.activation(node.kind, x)
    return x


def normalised(tensors: Tensors, name: str, x: np.ndarray) -> np.ndarray:
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


FEATURES = np.random.default_rng(3).uniform(0, 2, F)


def test_a_neck_of_batch_normalisation_is_folded(load: Load) -> None:
    tensors = norm("neck", F) | linear("head", F, 4)
    notes: list[str] = []
    model = load(tensors, notify=notes.append)
    assert model.classes == 4
    expected = tensors["head.weight"] @ normalised(tensors, "neck", FEATURES) + tensors["head.bias"]
    np.testing.assert_allclose(output(model, FEATURES), expected, rtol=1e-4, atol=1e-4)
    assert any("is taken for batchnorm, linear (neck, head)" in note for note in notes)


def test_a_neck_of_layer_normalisation(load: Load) -> None:
    tensors = norm("neck", F) | linear("head", F, 4)
    tensors = {n: v for n, v in tensors.items() if "running" not in n and "batches" not in n}
    model = load(tensors)
    (node,) = (node for node in model.graph if isinstance(node, LayerNorm))
    assert (node.inputs, node.eps, node.center) == (("head.pool",), 1e-5, True)
    assert np.array_equal(model.weights[f"{node.name}.weight"], tensors["neck.weight"])
    assert np.array_equal(model.weights[f"{node.name}.bias"], tensors["neck.bias"])


def test_a_cosine_head_needs_its_scale(load: Load) -> None:
    own = linear("arc", F, 4, bias=False)
    with pytest.raises(UsageError, match="says no scale"):
        load(own, head="cosine")
    model = load(own, head="cosine:30")
    maps = np.broadcast_to(FEATURES.astype(np.float32)[:, None, None], (F, 2, 2))
    graph = Graph("x", maps.shape, tuple(head_nodes(model.graph)))
    graph = replace(graph, nodes=(replace(graph.nodes[0], inputs=("x",)), *graph.nodes[1:]))
    rows = own["arc.weight"] / np.linalg.norm(own["arc.weight"], axis=1, keepdims=True)
    expected = 30 * rows @ (FEATURES / np.linalg.norm(FEATURES))
    logits = forward.logits(graph, model.weights, maps[None])[0]
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_hidden_layers_need_to_be_named(load: Load) -> None:
    tensors = norm("head.0", F) | linear("head.1", F, 16)
    tensors |= norm("head.2", 16) | linear("head.4", 16, 4)
    with pytest.raises(CheckpointError) as caught:
        load(tensors)
    text = str(caught.value)
    assert "which activation stands between" in text
    assert "head.1.weight [16, 1280]" in text
    assert "head='batchnorm, linear, batchnorm, relu, linear'" in text, "3 is not in the file"
    assert "torch.onnx.export" in text
    model = load(tensors, head="batchnorm, linear, batchnorm, silu, dropout, linear")
    x = normalised(tensors, "head.0", FEATURES)
    x = normalised(tensors, "head.2", tensors["head.1.weight"] @ x + tensors["head.1.bias"])
    x = numpy_network.activation("swish", x)
    expected = tensors["head.4.weight"] @ x + tensors["head.4.bias"]
    np.testing.assert_allclose(output(model, FEATURES), expected, rtol=1e-4, atol=1e-4)


def test_the_librarys_classifier_may_be_a_stack(load: Load) -> None:
    inside = linear("classifier.0", F, 8) | linear("classifier.3", 8, 4)
    with pytest.raises(CheckpointError, match="head='linear, relu, linear'"):
        load({}, inside=inside)
    assert load({}, inside=inside, head="linear, relu, linear").classes == 4


def test_imagenets_classifier_may_be_left_in(load: Load) -> None:
    notes: list[str] = []
    own = linear("head", F, 4)
    model = load(own, inside=linear("classifier", F, 1000), notify=notes.append)
    assert np.array_equal(model.weights["classifier.weight"], own["head.weight"])
    assert model.info.labels[0] == "class 0"
    assert any("classifier backbone.classifier in" in note for note in notes)


def test_a_head_on_the_1000_outputs_is_asked_for(load: Load) -> None:
    own, inside = linear("head", 1000, 4), linear("classifier", F, 1000)
    with pytest.raises(CheckpointError, match="2 linear layers"):
        load(own, inside=inside)
    model = load(own, inside=inside, head="linear, linear")
    x = inside["classifier.weight"] @ FEATURES + inside["classifier.bias"]
    expected = own["head.weight"] @ x + own["head.bias"]
    np.testing.assert_allclose(output(model, FEATURES), expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("beside", "reason"),
    [
        (linear("head", F, 4) | linear("colour", F, 3), "colour, head all read its 1280 features"),
        (linear("head", F, 4, bias=False), "may be a linear layer or a cosine layer"),
        (linear("fc", 2 * F, 4), "does not say which"),
        (linear("head", F, 4) | {"pool.p": np.ones(1, np.float32)}, r"pool\.p \[1\]"),
        (linear("head", F, 4) | {"temperature": np.ones(1, np.float32)}, r"temperature \[1\]"),
        (
            linear("head", F, 4) | {"aux.conv.weight": np.ones((3, F, 3, 3), np.float32)},
            r"aux\.conv\.weight \[3, 1280, 3, 3\]",
        ),
        ({"loss.weight": np.ones((4, F), np.float32)}, "cosine layer"),
    ],
    ids=("two tasks", "no bias", "two poolings", "GeM", "temperature", "convolution", "ArcFace"),
)
def test_what_is_not_known_is_named(load: Load, beside: Tensors, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        load(beside)
    assert "torch.onnx.export(model.eval()" in str(caught.value)


def test_state_of_the_training_does_not_matter(load: Load) -> None:
    training = {
        "criterion.weight": np.ones(4, np.float32),
        "train_acc.correct": np.array(3),
        "val_f1.tp": np.ones(4, np.float32),
        "center_loss.centers": np.ones((4, F), np.float32),
        "ema.n_averaged": np.array(1),
    }
    assert load(linear("head", F, 4) | training).classes == 4


def test_a_normalisation_in_the_module_must_be_the_assumed_one(load: Load) -> None:
    def buffers(mean: tuple[float, ...], std: tuple[float, ...]) -> Tensors:
        shape = (1, 3, 1, 1)
        parts = {"normalize.mean": mean, "normalize.std": std}
        return {n: np.array(v, np.float32).reshape(shape) for n, v in parts.items()}

    usual = buffers((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert load(linear("head", F, 4) | usual).classes == 4
    halves = buffers((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(CheckpointError, match="a normalisation of its own"):
        load(linear("head", F, 4) | halves)
    assert load(linear("head", F, 4) | halves, mean=127.5, std=127.5).classes == 4


def test_several_networks_in_a_file(load: Load, backbone: Tensors) -> None:
    beside = linear("head", F, 4)
    with pytest.raises(CheckpointError, match=r"holds 2 networks \(other, backbone\)"):
        load({f"other.{name}": values for name, values in backbone.items()} | beside)
    notes: list[str] = []
    copy = {f"teacher.{name}": values + 1 for name, values in backbone.items()}
    model = load(copy | beside, notify=notes.append)
    assert np.array_equal(model.weights["stem.conv.weight"], backbone["conv_stem.weight"])
    assert any("teacher left out" in note for note in notes)


def test_timms_concatenated_pooling(load: Load) -> None:
    inside = linear("classifier", 2 * F, 4)
    model = load({}, inside=inside)
    average, maximum = (model.weights[f"classifier.{kind}.weight"] for kind in ("avg", "max"))
    assert np.array_equal(np.hstack([average, maximum]), inside["classifier.weight"])
    swapped = load({}, inside=inside, head="maxpool+avgpool, linear")
    assert np.array_equal(swapped.weights["classifier.max.weight"], average)


def test_fastais_head_is_known(tmp_path: Path, backbone: Tensors) -> None:
    head = norm("1.2", 2 * F) | linear("1.4", 2 * F, 8, bias=False)
    head |= norm("1.6", 8) | linear("1.8", 8, 4, bias=False)
    path = tmp_path / "fastai.safetensors"
    save_file({**{f"0.model.{name}": v for name, v in backbone.items()}, **head}, path)
    model = edge_effnet.load("auto", path, source="timm", notify=lambda text: None)
    assert [type(node).__name__ for node in head_nodes(model.graph)] == [
        *("MaxPool", "GlobalAveragePool", "Dense", "GlobalAveragePool", "Dense"),
        *("Add", "Activation", "Dense"),
    ]
    assert model.classes == 4


def whole(tensors: Tensors, **parts: Any) -> Any:
    """A torch module with these parameters, and modules of its own in the place of some."""
    torch = pytest.importorskip("torch")
    root = torch.nn.Module()
    for name, values in tensors.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in dict(module.named_children()):
                module.add_module(part, torch.nn.Module())
            module = module.get_submodule(part)
        module.register_buffer(last, torch.from_numpy(values.copy()))
    for name, module in parts.items():
        root.add_module(name, module)
    return root


def test_a_network_saved_whole_tells_its_head(tmp_path: Path, backbone: Tensors) -> None:
    torch = pytest.importorskip("torch")
    nn, path = torch.nn, tmp_path / "whole.pt"
    head = nn.Sequential(
        *(nn.Dropout(0.1), nn.Linear(F, 8), nn.BatchNorm1d(8, eps=0.1), nn.ReLU6()),
        *(nn.Linear(8, 4), nn.LogSoftmax(1)),
    )
    torch.save(whole(backbone, classifier=head), path)
    notes: list[str] = []
    model = edge_effnet.load("auto", path, resolution=32, notify=notes.append)
    assert any("batchnorm (classifier.2), relu6, linear (classifier.4)" in note for note in notes)
    with torch.no_grad():
        expected = head.eval()[:-1](torch.from_numpy(FEATURES.astype(np.float32))[None])[0]
    np.testing.assert_allclose(output(model, FEATURES), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["PReLU", "ELU", "Mish", "Softplus"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_layer_of_a_whole_network_is_named(
    tmp_path: Path, backbone: Tensors, kind: str, first: int
) -> None:
    """``first`` moves the layer to the place of torchvision's classifier, ``classifier.1``."""
    torch = pytest.importorskip("torch")
    nn, path = torch.nn, tmp_path / "whole.pt"
    layers = [nn.Dropout(0.1), nn.Linear(F, 8), getattr(nn, kind)(), nn.Linear(8, 4)]
    torch.save(whole(backbone, classifier=nn.Sequential(*layers[1 - first :])), path)
    with pytest.raises(CheckpointError, match=rf"classifier\.{1 + first}, {kind}\(") as caught:
        edge_effnet.load("auto", path, resolution=32, notify=lambda text: None)
    assert "torch.onnx.export" in str(caught.value)


def test_a_pooling_of_timms_is_obeyed(tmp_path: Path, backbone: Tensors) -> None:
    torch = pytest.importorskip("torch")
    pool, path = torch.nn.Module(), tmp_path / "whole.pt"
    pool.pool_type = "max"
    torch.save(whole(backbone | linear("classifier", F, 4), global_pool=pool), path)
    model = edge_effnet.load("auto", path, resolution=32, notify=lambda text: None)
    assert isinstance(head_nodes(model.graph)[0], MaxPool)
    state = tmp_path / "state.safetensors"
    save_file(backbone | linear("classifier", F, 4), state)
    config = {"architecture": "efficientnet_lite0", "global_pool": "avgmax"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = edge_effnet.load("auto", state, resolution=32, notify=lambda text: None)
    assert isinstance(model.graph.by_name["head.pool"], Add)
    (tmp_path / "config.json").write_text(json.dumps(config | {"global_pool": "attn"}))
    with pytest.raises(CheckpointError, match="pooling 'attn' cannot be converted"):
        edge_effnet.load("auto", state, notify=lambda text: None)


@pytest.mark.parametrize("mode", ["squash", "border", "center", "unheard of"])
def test_a_crop_mode_and_class_names_of_timms_are_obeyed(
    tmp_path: Path, backbone: Tensors, mode: str
) -> None:
    state = tmp_path / "model.safetensors"
    save_file(backbone | linear("classifier", F, 3), state)
    config = {
        "architecture": "efficientnet_lite0",
        "label_names": ["1", "10", "2"],
        "pretrained_cfg": {"crop_mode": mode, "crop_pct": 1.0, "input_size": [3, 32, 32]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = edge_effnet.load("auto", state, notify=lambda text: None)
    assert model.info.preprocess.crop_mode == (mode if mode in CROP_MODES else "center")
    assert model.info.labels == ("1", "10", "2")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("linear, mish, linear", "unknown layer 'mish'"),
        ("relu", "has no linear layer"),
        ("linear, relu, linear", "no layers of the head 'linear, relu, linear'"),
    ],
)
def test_words_that_do_not_fit(load: Load, words: str, reason: str) -> None:
    with pytest.raises((UsageError, CheckpointError), match=reason):
        load(linear("head", F, 4), head=words)


def test_saved_weights_keep_the_head(load: Load, tmp_path: Path) -> None:
    tensors = linear("a", 2 * F, 8) | linear("b", 8, 4)
    model = load(tensors, head="avgpool+maxpool, linear, relu, linear")
    path = edge_effnet.save(model, tmp_path / "own.safetensors")
    again = edge_effnet.load("auto", path)
    assert again.graph == model.graph
    assert all(np.array_equal(again.weights[name], v) for name, v in model.weights.items())
    larger = edge_effnet.load("auto", path, resolution=64)
    assert larger.graph.shapes["head.pool.max.largest"] == (F, 1, 1)
