"""Small .onnx classifiers, written node by node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx: Any = pytest.importorskip("onnx")

SIDE, CHANNELS, CLASSES = 12, 8, 4
RNG = np.random.default_rng(0)


class Builder:
    """An .onnx graph that is written node by node; ``x`` is the last tensor."""

    def __init__(self, last: bool = False, side: int = SIDE) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.x = "image"
        self.shape = [1, side, side, 3] if last else ["n", 3, side, side]

    def weight(self, *shape: int, values: Any = None) -> str:
        name = f"w{len(self.weights)}"
        if values is None:
            values = RNG.normal(0, max(1, np.prod(shape[1:])) ** -0.5, shape)
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def integers(self, *values: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(np.asarray(values, np.int64), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        output = f"t{len(self.nodes)}"
        inputs = inputs or (self.x,)
        self.nodes.append(onnx.helper.make_node(op, inputs, [output], output, **attributes))
        self.x = output
        return output

    def conv(self, out: int = CHANNELS, into: int = 3, kernel: int = 3, **attributes: Any) -> str:
        weights = self.weight(out, into, kernel, kernel), self.weight(out)
        return self.add("Conv", self.x, *weights, **attributes)

    def head(self) -> None:
        self.add("GlobalAveragePool")
        self.add("Flatten")
        weights = self.weight(CLASSES, CHANNELS), self.weight(CLASSES)
        self.add("Gemm", self.x, *weights, transB=1)

    def save(self, path: Path, opset: int = 17) -> Path:
        value, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self.nodes, "foreign", [value("image", kind, self.shape)],
            [value(self.x, kind, None)], self.weights,
        )  # fmt: skip
        opsets = [onnx.helper.make_opsetid("", opset)]
        proto = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
        path.write_bytes(onnx.shape_inference.infer_shapes(proto).SerializeToString())
        return path
