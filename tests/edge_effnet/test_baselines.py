"""The papers' baselines: against Keras's own networks, and the same in every format."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_effnet
from edge_effnet.baselines import BASELINES
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, BatchNorm, Conv, Dense, Graph, MaxPool
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.scaling import scale
from edge_effnet.variants import VARIANTS
from support import tflite_models as small

#: Figures of the articles: multiply-adds in millions (arXiv 1704.04861, tables 6 and 8).
MOBILENET_V1 = {1.0: 569, 0.75: 325, 0.5: 149, 0.25: 41}


@pytest.mark.parametrize(
    "typed", ["resnet-50", "ResNet50", "resnet_50", "mobilenetv2", "MobileNet_V1"]
)
def test_every_spelling_finds_its_baseline(typed: str) -> None:
    assert get_variant(typed) in BASELINES.values()


def test_they_are_no_part_of_the_family() -> None:
    assert not set(BASELINES) & set(VARIANTS)
    assert all(variant.name == name for name, variant in BASELINES.items())


@pytest.mark.parametrize("width", MOBILENET_V1)
def test_mobilenet_v1_costs_what_its_article_says(width: float) -> None:
    millions = build(scale(get_variant("mobilenet-v1"), width=width)).multiply_adds / 1e6
    assert millions == pytest.approx(MOBILENET_V1[width], abs=0.55)


def test_where_resnets_stride() -> None:
    """11.3 is the article's own figure of ResNet-152 (arXiv 1512.03385, table 1: 11.3e9)."""
    late, early = build(get_variant("resnet-152")), build(get_variant("resnet-152-original"))
    assert early.params == late.params
    assert early.multiply_adds / 1e9 == pytest.approx(11.3, abs=0.05)
    strided = [node.name for node in early if isinstance(node, Conv) and node.stride == 2]
    assert strided[1:3] == ["stages.1.blocks.0.reduce", "stages.1.blocks.0.shortcut"]
    strided = [node.name for node in late if isinstance(node, Conv) and node.stride == 2]
    assert strided[1:3] == ["stages.1.blocks.0.spatial", "stages.1.blocks.0.shortcut"]


def test_shapes_of_resnet_50() -> None:
    graph = build(get_variant("resnet-50"))
    assert graph.shapes["stem.act"] == (64, 112, 112)
    assert graph.shapes["stem.pool"] == (64, 56, 56)
    ends = [graph.shapes[f"stages.{s}.blocks.{n - 1}.act"] for s, n in enumerate((3, 4, 6, 3))]
    assert ends == [(256, 56, 56), (512, 28, 28), (1024, 14, 14), (2048, 7, 7)]
    assert not any(name.startswith("head.conv") for name in graph.shapes)
    pools = [node for node in graph if isinstance(node, MaxPool)]
    assert [pool.pads for pool in pools] == [(0, 0, 1, 1)]
    symmetric = build(get_variant("resnet-50"), padding="symmetric").by_name["stem.pool"]
    assert isinstance(symmetric, MaxPool)
    assert symmetric.pads == (1, 1, 1, 1)


def test_imagenet_weights_are_not_to_be_had() -> None:
    with pytest.raises(UsageError, match="resnet-50"):
        edge_effnet.load("resnet-50")


# Against Keras


def from_keras(reference: Any, graph: Graph) -> dict[str, NDArray[np.float32]]:
    """Weights by order: both list their layers as they run."""
    keras_layers = [layer for layer in reference.layers if layer.get_weights()]
    nodes = [node for node in graph if isinstance(node, (Conv, BatchNorm, Dense))]
    found: dict[str, NDArray[np.float32]] = {}
    for node, layer in zip(nodes, keras_layers, strict=True):
        values = layer.get_weights()
        if isinstance(node, BatchNorm):
            parts = ("weight", "bias", "running_mean", "running_var")
        else:
            parts = ("weight", "bias")[: len(values)]
            kernel = values[0]
            if isinstance(node, Conv):
                order = (2, 3, 0, 1) if node.depthwise else (3, 2, 0, 1)
                kernel = kernel.transpose(order)
            else:
                kernel = kernel.reshape(-1, kernel.shape[-1]).T  # MobileNetV1's is a convolution
            values = [kernel, *values[1:]]
        for part, value in zip(parts, values, strict=True):
            found[f"{node.name}.{part}"] = np.ascontiguousarray(value, np.float32)
    return found


#: Keras's MobileNet truncates widths that give no multiple of 8, as 1.4 does.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ours", "width"),
    [
        *(("MobileNet", "mobilenet-v1", width) for width in (1.0, 0.5)),
        *(("MobileNetV2", "mobilenet-v2", width) for width in (1.0, 0.5, 1.4)),
    ],
)
def test_logits_are_those_of_keras(name: str, ours: str, width: float) -> None:
    from support import keras_models

    ort = pytest.importorskip("onnxruntime")
    from edge_effnet.converters.formats import onnx

    side = keras_models.SIDE
    options = {"weights": None, "input_shape": (side, side, 3), "classifier_activation": None}
    reference = getattr(keras_models.keras.applications, name)(alpha=width, **options)
    keras_models.randomise(reference)
    variant = replace(scale(get_variant(ours), width=width), resolution=side)
    graph = build(variant)
    weights = from_keras(reference, graph)
    assert {key: value.shape for key, value in weights.items()} == graph.parameter_shapes
    card = small.model_of(small.LITE).info
    folded = fold_batch_norm(Model(variant, graph, weights, card))
    proto = onnx.build(folded.graph, folded.weights, batch="n")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    images = keras_models.pixels()
    (got,) = session.run(None, {graph.input: images.astype(np.float32).transpose(0, 3, 1, 2)})
    wanted = keras_models.answers(reference, images)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error < 1e-4
    assert error < np.abs(wanted[0] - wanted[1]).max() / np.abs(wanted).max() / 20


# In every format

TINY = {
    "resnet": scale(get_variant("resnet-50"), width=0.25, resolution=0.3),
    "resnet-original": scale(
        get_variant("resnet-50-original"), depth=0.5, width=0.25, resolution=0.29
    ),
    "mobilenet-v1": scale(get_variant("mobilenet-v1"), width=0.25, resolution=0.3),
    "mobilenet-v2": scale(get_variant("mobilenet-v2"), width=0.35, resolution=0.3),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "padding"),
    [
        ("resnet", "same"),
        ("resnet", "symmetric"),
        ("resnet-original", "same"),
        ("mobilenet-v1", "symmetric"),
        ("mobilenet-v2", "same"),
    ],
)
def test_formats_and_frameworks_agree(name: str, padding: Any, tmp_path: Path) -> None:
    """Against plain numpy: the three files, and the PyTorch and Keras models."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("tensorflow")
    from edge_effnet.converters.frameworks import keras as to_keras
    from edge_effnet.converters.frameworks import torch as to_torch

    model = small.model_of(TINY[name], padding=padding)
    side = model.graph.input_shape[1]
    (pixels,) = small.photos(1, side)
    x = small.normalised(model, pixels)
    wanted = small.evaluate(model, x)[model.graph.output]
    atol = 2e-5 * np.abs(wanted).max()
    for path in edge_effnet.export(model, precisions=["fp32"], out=tmp_path):
        logits = edge_effnet.open(path, threads=1).logits_of_pixels(pixels)
        np.testing.assert_allclose(logits, wanted, rtol=0, atol=atol, err_msg=path.name)
    module = to_torch.build(model)
    with torch.no_grad():
        logits = module(torch.from_numpy(x[None]))[0].numpy()
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=atol)
    network = to_keras.build(model)
    logits = np.asarray(network(x.transpose(1, 2, 0)[None], training=False))[0]
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=atol)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_relu_networks(name: str) -> None:
    """So that runtimes fuse them: what a latency baseline is measured with."""
    kinds = {node.kind for node in build(get_variant(name)) if isinstance(node, Activation)}
    assert kinds == ({"relu6"} if "mobilenet" in name else {"relu"})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet", "mobilenet-v1", "mobilenet-v2"])
def test_int8_files_answer_like_the_float_ones(name: str, tmp_path: Path) -> None:
    """Max pools and sums with a relu included; random weights, so only the signal can be judged."""
    pytest.importorskip("skimage", reason="the photos")
    from edge_effnet.calibration.samples.photos import Samples
    from edge_effnet.card import CalibrationRecord

    model = small.model_of(TINY[name])
    side = model.graph.input_shape[1]
    pixels = np.stack(small.photos(24, side))
    samples = Samples(pixels, CalibrationRecord(24, 24, ""))
    files = edge_effnet.export(
        model, precisions=["fp32", "int8"], calibration=samples, out=tmp_path, force=True
    )
    logits = {}
    for path in files:
        classify = edge_effnet.open(path, threads=1)
        logits[path.name] = np.stack([classify.logits_of_pixels(image) for image in pixels])
    wanted = logits[files[0].name]
    for path in files[3:]:
        noise = ((logits[path.name] - wanted) ** 2).sum()
        assert 10 * np.log10((wanted**2).sum() / noise) > 20, path.name


def test_a_relu_after_a_sum_is_part_of_it() -> None:
    """One ADD a block in TFLite, and no RELU of its own."""
    tflite = pytest.importorskip("tflite", reason="the extra 'export'")
    from edge_effnet.converters.formats.tflite.writer import write
    from edge_effnet.runtime.tflite_verifier import parse

    model = small.model_of(TINY["resnet"])
    parsed = parse(write(model, None, small.card_of(model)))
    codes = [code["code"] for code in parsed["operator_codes"]]
    kinds = [codes[op["code"]] for op in parsed["subgraphs"][0]["operators"]]
    assert kinds.count(tflite.BuiltinOperator.ADD) == 16
    assert tflite.BuiltinOperator.RELU not in kinds
    assert kinds.count(tflite.BuiltinOperator.MAX_POOL_2D) == 1
