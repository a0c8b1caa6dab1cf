"""The start of adapted and reshaped networks: mean gates, and BatchNorm statistics of photos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")
from edge_effnet import forward
from edge_effnet.apps.training.derived import derive, mean_gates, recalibrate
from edge_effnet.card import ModelInfo
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.built_in_weights import random_weights
from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, BatchNorm, Graph
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.preprocess import Preprocess
from edge_effnet.registry import get_variant
from support import small_training

SIDE = 64


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    data = small_training.photos(tmp_path_factory.mktemp("photos"))
    return [sample.path for sample in data.samples]


@pytest.fixture(scope="module")
def original(photos: list[Path]) -> Model:
    """V2-B0 with random weights and the BatchNorm statistics of the photos."""
    variant = get_variant("v2-b0")
    graph = build(variant, classes=3, resolution=SIDE)
    info = ModelInfo(
        variant.name, Preprocess(SIDE, 1.0, mean=(127,) * 3, std=(128,) * 3), ("a", "b", "c")
    )
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.2, values.shape).astype(np.float32)
        if name.endswith(("_bn.bias", "running_mean"))
        else values
        for name, values in random_weights(graph).items()
    }
    return recalibrate(Model(variant, graph, weights, info), photos)


def normalised(model: Model, photos: list[Path]) -> np.ndarray:
    pixels = np.stack([model.info.preprocess.pixels(path) for path in photos])
    return np.ascontiguousarray(
        model.info.preprocess.normalise(pixels).transpose(0, 3, 1, 2), np.float32
    )


def maps(model: Model, name: str, photos: list[Path]) -> np.ndarray:
    """The tensor ``name`` of the network for the photos."""
    index = [node.name for node in model.graph].index(name)
    graph = Graph(model.graph.input, model.graph.input_shape, model.graph.nodes[: index + 1])
    return forward.logits(graph, model.weights, normalised(model, photos))


def test_statistics_are_those_of_the_photos(original: Model, photos: list[Path]) -> None:
    """Before each BatchNorm, mean and variance of the maps; the numpy engine computes the maps."""
    few = photos[:24]  # one batch: all layers see the same statistics in training and evaluation
    model = recalibrate(original, few)
    norms = [node for node in model.graph if isinstance(node, BatchNorm)]
    # Batches are normalised with their biased variance: deeper layers differ by a few percent.
    for norm, tolerance in ((norms[0], 1e-4), (norms[3], 0.02)):
        values = maps(model, norm.inputs[0], few)
        mean, variance = values.mean((0, 2, 3)), values.var((0, 2, 3), ddof=1)
        scale = np.abs(values).max()
        assert np.abs(mean - model.weights[f"{norm.name}.running_mean"]).max() < tolerance * scale
        ratio = variance / model.weights[f"{norm.name}.running_var"]
        assert np.abs(np.median(ratio) - 1) < max(1e-3, tolerance)


def test_gates_are_the_means_over_the_photos(original: Model, photos: list[Path]) -> None:
    photos = photos[::4]
    gates = mean_gates(original, photos)
    names = [n.name for n in original.graph if isinstance(n, Activation) and n.kind == "sigmoid"]
    assert len(gates) == len(names) > 5
    name = names[3]
    expected = maps(original, name, photos).mean((0, 2, 3))
    assert np.allclose(gates[name.replace(".gate", ".scale")], expected, atol=1e-4)


@pytest.mark.parametrize("name", ["lite0-hswish", "lite0-d1-w0.9-r224"])
def test_derived_networks_are_nearer_to_the_original(name: str, photos: list[Path]) -> None:
    """Than with the original's statistics: real weights."""
    original = load("lite0", resolution=96)
    variant = get_variant(name)
    derived = derive(original, variant, photos, side=96)
    assert derived.variant == variant
    assert derived.info.untrained
    batch = normalised(original, photos[::4])
    expected = forward.logits(original.graph, original.weights, batch)

    def error(model: Model) -> float:
        return float(np.square(forward.logits(model.graph, model.weights, batch) - expected).sum())

    plain = load(name, resolution=96, notify=lambda text: None)
    assert error(derived) < 0.95 * error(plain)


def test_another_side_alone_keeps_the_statistics(original: Model, photos: list[Path]) -> None:
    model = derive(original, get_variant("v2-b0-d1-w1-r96"), photos)
    assert model.graph.input_shape[1] == 96
    assert all((model.weights[name] == values).all() for name, values in original.weights.items())


def test_folded_statistics_stay(original: Model, photos: list[Path]) -> None:
    """Identity BatchNorm is part of the function: with other statistics it would be another."""
    zeros = {
        name: np.zeros_like(values) if name.endswith("running_mean") else values
        for name, values in original.weights.items()
    }
    identity = replace(original, weights=zeros)
    assert recalibrate(identity, photos) is identity


def test_another_family_is_refused(original: Model, photos: list[Path]) -> None:
    with pytest.raises(UsageError, match="b0-hswish does not derive from efficientnetv2-b0; give"):
        derive(original, get_variant("b0-hswish"), photos)


def test_the_side_of_a_reshaped_network_can_be_chosen(original: Model, photos: list[Path]) -> None:
    model = derive(original, get_variant("v2-b0-d0.5-w0.5-r96"), photos[:8], side=48)
    assert model.graph.input_shape == (3, 48, 48)
    assert model.info.preprocess.size == 48


@pytest.mark.slow
def test_an_adapted_network_is_trained_by_its_original_and_exported(tmp_path: Path) -> None:
    """From photos to files with hard swish; the original with the classes is the teacher."""
    import edge_effnet
    from edge_effnet.apps.training.run import Run

    folder = small_training.photos(tmp_path / "photos", 12, 8).folder
    notes: list[str] = []
    run = edge_effnet.train(
        folder,
        out=tmp_path / "run",
        activation="hswish",
        resolution=64,
        epochs=1,
        int8_aware=False,
        threads=1,
        progress=False,
        notify=notes.append,
    )
    assert run.settings.variant == "efficientnet-lite0-hswish"
    assert not any("train it before use" in note for note in notes)
    teacher = load("auto", run.teacher_file)
    assert teacher.variant == get_variant("lite0")
    assert teacher.info.labels == run.class_names
    model = Run.open(tmp_path / "run").model()
    assert model.variant == get_variant("lite0-hswish")
    assert not model.info.untrained
    measured = run.metrics().of("fine_tuning", "val") or run.metrics().of("head", "val")
    assert measured is not None
    assert measured.top1 > 0.5
    (file,) = edge_effnet.export(model, formats="onnx", precisions="fp32", out=tmp_path / "out")
    assert file.name == "efficientnet-lite0-hswish-fp32.onnx"
