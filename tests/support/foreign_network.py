"""A small classifier as a foreign .onnx file, and its own probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx")
ort: Any = pytest.importorskip("onnxruntime")

from edge_effnet.converters.foreign.preparation import Preparation  # noqa: E402

SIDE, CLASSES = 48, 5
SAID = Preparation(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375), crop=0.9)

Change = Callable[[Any], None]


def network(
    batch: object = "n",
    side: object = SIDE,
    softmax: bool = True,
    last: bool = False,
    groups: tuple[int, ...] = (1, 4, 16),
    gate: bool = False,
) -> Any:
    """A residual network with max pooling, hard swish and grouped convolutions, seeded."""
    rng = np.random.default_rng(0)
    nodes, weights = [], []

    def add(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(onnx.helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def weight(name: str, *shape: int) -> str:
        values = rng.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        weights.append(onnx.numpy_helper.from_array(values, name))
        return name

    x = add("Transpose", ["image"], "chw", perm=[0, 3, 1, 2]) if last else "image"
    stem = [x, weight("w0", 16, 3, 7, 7), weight("b0", 16)]
    x = add("Relu", [add("Conv", stem, "c0", strides=[2, 2], pads=[3] * 4)], "r0")
    x = add("MaxPool", [x], "p0", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for i, group in enumerate(groups):
        inner = [x, weight(f"w{i}a", 16, 16 // group, 3, 3), weight(f"b{i}a", 16)]
        y = add("HardSwish", [add("Conv", inner, f"a{i}", pads=[1] * 4, group=group)], f"h{i}")
        if gate:
            pooled = [add("GlobalAveragePool", [y], f"g{i}"), weight(f"w{i}g", 16, 16, 1, 1)]
            factor = add("HardSigmoid", [add("Conv", pooled, f"k{i}")], f"s{i}", alpha=1 / 6)
            y = add("Mul", [y, factor], f"m{i}")
        outer = [y, weight(f"w{i}b", 16, 16, 1, 1), weight(f"b{i}b", 16)]
        x = add("Relu", [add("Add", [x, add("Conv", outer, f"d{i}")], f"e{i}")], f"f{i}")
    x = add("Flatten", [add("GlobalAveragePool", [x], "gap")], "flat")
    x = add("Gemm", [x, weight("w9", CLASSES, 16), weight("b9", CLASSES)], "scores", transB=1)
    x = add("Softmax", [x], "probabilities", axis=1) if softmax else x
    shape = [batch, side, side, 3] if last else [batch, 3, side, side]
    value, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        nodes, "foreign", [value("image", float32, shape)], [value(x, float32, [batch, CLASSES])],
        weights,
    )  # fmt: skip
    opsets = [onnx.helper.make_opsetid("", 17)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def reference(path: Path, photo: Path, card: Any, last: bool = False) -> Any:
    """The author's own file on a photo: probabilities."""
    values = card.preprocess.normalise(card.preprocess.pixels(photo))[None]
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": values if last else values.transpose(0, 3, 1, 2)})[0][0]
