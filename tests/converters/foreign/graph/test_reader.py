"""Foreign graphs read as our Graph: the same logits, or the unknown layer by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")

from edge_effnet.card import ModelInfo  # noqa: E402
from edge_effnet.converters.foreign import onnx_file  # noqa: E402
from edge_effnet.converters.foreign.graph.partial_graph import UnknownLayerError  # noqa: E402
from edge_effnet.converters.foreign.graph.reader import read_model  # noqa: E402
from edge_effnet.converters.onnx_engine import OnnxEngine  # noqa: E402
from edge_effnet.graph import Activation, BatchNorm, Conv, Dense, GlobalAveragePool  # noqa: E402
from edge_effnet.model import Model  # noqa: E402
from edge_effnet.preprocess import Preprocess  # noqa: E402
from support.onnx_builder import CHANNELS, CLASSES, RNG, Builder  # noqa: E402


def read(path: Path, mean: Any = (127.5,) * 3) -> Model:
    network = onnx_file.read(path)
    preprocess = Preprocess(network.input.size[0], 1.0, mean=mean, std=(127.5,) * 3)
    labels = tuple(str(index) for index in range(network.classes))
    return read_model(network, ModelInfo(network.name, preprocess, labels))


def largest_error(path: Path, model: Model) -> float:
    """Largest difference of the logits, relative to the largest logit."""
    network = onnx_file.read(path)
    x = RNG.normal(0, 1, (1, *model.graph.input_shape)).astype(np.float32)
    theirs = x.transpose(0, 2, 3, 1) if network.input.layout == "NHWC" else x
    session = ort.InferenceSession(network.original, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {network.tensor: theirs})
    output = model.graph.output
    run = OnnxEngine(1).compile_float(model.graph, model.weights, [output])
    assert not any(isinstance(node, BatchNorm) for node in model.graph)
    assert model.graph.shapes[output] == (expected.size,)
    return float(np.abs(run(x)[output].ravel() - expected.ravel()).max() / np.abs(expected).max())


def _batch_norms(b: Builder) -> None:
    """One folds into its convolution; one stands before it, as in ResNetV2."""
    for _ in range(2):
        inner = b.conv(into=3 if b.x == "image" else CHANNELS, pads=[1] * 4)
        b.add("Relu", b.add("BatchNormalization", inner, *_statistics(b), epsilon=1e-3))
    shortcut = b.x
    b.add("BatchNormalization", b.x, *_statistics(b))
    b.add("Relu")
    b.add("Add", shortcut, b.conv(into=CHANNELS, pads=[1] * 4))


def _statistics(b: Builder) -> list[str]:
    positive = RNG.uniform(0.5, 2, CHANNELS)
    return [b.weight(CHANNELS), b.weight(CHANNELS), b.weight(CHANNELS),
            b.weight(CHANNELS, values=positive)]  # fmt: skip


def _swish(b: Builder) -> None:
    z = b.conv()
    b.add("Mul", b.add("Sigmoid"), z)


def _doubled_swish(b: Builder) -> None:
    """The gate of a swish has a factor, which the next layer absorbs."""
    z = b.conv()
    b.add("Mul", z, b.add("Mul", b.add("Sigmoid"), b.weight(values=2.0)))


def _hard_swish_in_parts(b: Builder) -> None:
    """The form x * relu6(x + 3) / 6, and x * (relu6(x + 3) / 6)."""
    for divided_last in (True, False):
        z = b.conv(into=3 if b.x == "image" else CHANNELS, pads=[1] * 4)
        gate = b.add("Add", z, b.weight(values=3.0))
        gate = b.add("Clip", gate, b.weight(values=0.0), b.weight(values=6.0))
        six = b.weight(values=6.0)
        if divided_last:
            b.add("Div", b.add("Mul", z, gate), six)
        else:
            b.add("Mul", z, b.add("Div", gate, six))


def _hard_sigmoid_gate(b: Builder) -> None:
    z = b.add("HardSwish", b.conv())
    b.add("GlobalAveragePool")
    b.add("Relu", b.conv(2, CHANNELS, 1))
    b.conv(CHANNELS, 2, 1)
    gate = b.add("HardSigmoid", b.x, alpha=1 / 6, beta=0.5)
    product = b.add("Mul", gate, z)
    b.conv(into=CHANNELS)
    # Read twice: by a convolution, which absorbs the factor, and by a sum, which cannot.
    b.add("Add", b.x, b.add("Conv", product, b.weight(CHANNELS, CHANNELS, 3, 3)))


def _padding(b: Builder) -> None:
    """Pad before a convolution and, after a ReLU, before a max pooling; SAME; rounding up."""
    pads = b.integers(0, 0, 0, 1, 0, 0, 1, 2)
    b.add("Pad", b.x, pads)
    b.add("Relu", b.conv(strides=[2, 2]))
    b.add("Pad", b.x, b.integers(0, 0, 1, 1, 0, 0, 1, 1))
    b.add("MaxPool", b.x, kernel_shape=[3, 3], strides=[1, 1])
    b.conv(into=CHANNELS, auto_pad="SAME_LOWER", strides=[2, 2])
    b.add("MaxPool", b.x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)


def _pooling(b: Builder) -> None:
    b.conv(pads=[1] * 4)
    b.add("AveragePool", b.x, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    z = b.x
    b.add("AveragePool", z, kernel_shape=[6, 6])
    b.add("Mul", z, b.add("Sigmoid"))


def _scales(b: Builder) -> None:
    """Normalisation in the graph, a layer scale, a temperature, and constants on the left."""
    b.add("Sub", b.x, b.weight(3, 1, 1))
    b.add("Div", b.x, b.weight(1, 3, 1, 1, values=RNG.uniform(1, 2, (1, 3, 1, 1))))
    z = b.conv(pads=[1] * 4)
    b.add("Mul", b.weight(CHANNELS, 1, 1), b.conv(into=CHANNELS, pads=[1] * 4))
    b.add("Add", z, b.x)
    b.add("Sub", b.weight(values=1.0), b.x)
    b.add("Mul", b.x, b.weight(values=-0.3))
    b.add("LeakyRelu", b.x, alpha=0.01)


def _activations(b: Builder) -> None:
    """Activations that do not stand alone behind a layer."""
    z = b.conv(pads=[1] * 4)
    b.add("Tanh")
    b.add("Add", z, b.x)
    b.add("MaxPool", b.x, kernel_shape=[2, 2], strides=[2, 2])
    b.add("Sigmoid")
    b.add("Clip", b.x, b.weight(values=0.0), b.weight(values=1.0))


def _dropout(b: Builder) -> None:
    b.conv()
    b.add("Dropout")
    b.add("Identity")


def _concatenations(b: Builder) -> None:
    """Branches, one with a factor; a dense block; a vector beside another."""
    z = b.conv(pads=[1] * 4)
    scaled = b.add("Mul", z, b.weight(values=0.5))
    b.add("Concat", z, b.add("Relu", z), scaled, axis=1)
    b.add("Concat", b.x, b.conv(2, 3 * CHANNELS, 1), axis=-3)
    b.conv(into=3 * CHANNELS + 2)
    pooled = b.add("GlobalAveragePool")
    other = b.add("Flatten", b.conv(2, CHANNELS, 1))
    b.add("Concat", b.add("Flatten", pooled), other, axis=-1)
    b.add("Reshape", b.x, b.integers(1, CHANNELS + 2, 1, 1))
    b.conv(into=CHANNELS + 2, kernel=1)


def _groups(b: Builder) -> None:
    """Convolutions in groups; the second has two output channels for each input channel."""
    b.conv()
    b.conv(into=CHANNELS // 4, group=4)
    b.conv(2 * CHANNELS, 1, group=CHANNELS)
    b.conv(into=2 * CHANNELS // 4, group=4, kernel=1)


def _empty_bias(b: Builder) -> None:
    """A dense layer whose optional bias is an empty name."""
    b.conv()
    b.add("GlobalAveragePool")
    b.add("Flatten")
    b.add("Gemm", b.x, b.weight(CHANNELS, CHANNELS), "")
    b.add("Reshape", b.x, b.integers(1, CHANNELS, 1, 1))


BODIES: list[Callable[[Builder], None]] = [
    _batch_norms, _swish, _doubled_swish, _hard_swish_in_parts, _hard_sigmoid_gate, _padding,
    _pooling, _scales, _activations, _concatenations, _dropout, _groups, _empty_bias,
]  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_bodies(body: Callable[[Builder], None], tmp_path: Path) -> None:
    builder = Builder()
    body(builder)
    builder.head()
    path = builder.save(tmp_path / "net.onnx")
    model = read(path)
    assert largest_error(path, model) < 1e-5
    for node in model.graph:  # what calibration requires
        if isinstance(node, Activation):
            source = node.inputs[0]
            assert len(model.graph.consumers[source]) == 1
            assert not isinstance(model.graph.by_name[source], (GlobalAveragePool, Activation))


def test_hard_swish_is_one_activation(tmp_path: Path) -> None:
    builder = Builder()
    _hard_swish_in_parts(builder)
    builder.head()
    model = read(builder.save(tmp_path / "net.onnx"))
    assert [n.kind for n in model.graph if isinstance(n, Activation)] == ["hard_swish"] * 2
    assert sum(isinstance(node, Conv) for node in model.graph) == 2


def test_input_with_channels_last(tmp_path: Path) -> None:
    builder = Builder(last=True)
    builder.add("Transpose", builder.x, perm=[0, 3, 1, 2])
    builder.conv()
    builder.head()
    path = builder.save(tmp_path / "net.onnx")
    assert largest_error(path, read(path)) < 1e-5


def test_dense_layers_over_a_map(tmp_path: Path) -> None:
    """VGG: the first dense layer reads all pixels; Reshape and MatMul in place of Gemm."""
    builder = Builder()
    builder.add("Relu", builder.conv(strides=[2, 2], pads=[1] * 4))
    builder.add("Reshape", builder.x, builder.integers(0, -1))
    weight = builder.weight(CHANNELS * 36, 5)
    builder.add("Relu", builder.add("Add", builder.add("MatMul", builder.x, weight),
                                    builder.weight(5)))  # fmt: skip
    builder.add("Gemm", builder.x, builder.weight(CLASSES, 5), transB=1)
    path = builder.save(tmp_path / "net.onnx")
    model = read(path)
    assert largest_error(path, model) < 1e-5
    assert isinstance(model.graph.by_name[model.graph.output], Dense)


def test_several_readers_of_the_input(tmp_path: Path) -> None:
    """A normalisation that differs between the channels needs one convolution that reads it."""
    builder = Builder()
    first = builder.conv(pads=[1] * 4)
    builder.x = "image"
    builder.add("Add", first, builder.conv(kernel=1))
    builder.head()
    path = builder.save(tmp_path / "net.onnx")
    model = read(path, mean=(123.0, 116.0, 103.0))
    assert len(model.graph.consumers[model.graph.input]) == 1
    assert largest_error(path, model) < 1e-5
    assert len(read(path).graph.consumers[model.graph.input]) == 2


def _concat_of_rows(b: Builder) -> None:
    z = b.conv()
    b.add("Concat", z, z, axis=2)


def _one_output_a_group(b: Builder) -> None:
    b.conv(2 * CHANNELS)
    b.conv(CHANNELS, 2, group=CHANNELS)


def _dilated(b: Builder) -> None:
    b.conv(dilations=[2, 2])


def _oblong(b: Builder) -> None:
    b.add("Conv", b.x, b.weight(CHANNELS, 3, 1, 3))


def _odd_clip(b: Builder) -> None:
    b.add("Clip", b.conv(), b.weight(values=0.0), b.weight(values=4.0))


def _two_maps(b: Builder) -> None:
    z = b.conv()
    b.add("Mul", z, b.add("Relu"))


def _mean_of_channels(b: Builder) -> None:
    z = b.conv()
    b.add("Sub", z, b.add("ReduceMean", z, axes=[1]))


@pytest.mark.parametrize(
    ("body", "layer"),
    [
        (_concat_of_rows, r"Concat t1 \(of another axis than the channels\)"),
        (_one_output_a_group, r"Conv t1 \(one output channel a group\)"),
        (_dilated, r"Conv t0 \(dilation\)"),
        (_oblong, r"Conv t0 \(a window that is no square\)"),
        (_odd_clip, r"Clip t1 \(limits 0 and 4\)"),
        (_two_maps, r"Mul t2 \(of two feature maps\)"),
        (_mean_of_channels, r"ReduceMean t1 \(over other axes"),
    ],
)
def test_unknown_layers(body: Callable[[Builder], None], layer: str, tmp_path: Path) -> None:
    builder = Builder()
    body(builder)
    builder.head()
    with pytest.raises(UnknownLayerError, match=layer):
        read(builder.save(tmp_path / "net.onnx"))
