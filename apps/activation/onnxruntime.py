"""Class activation maps from .onnx files: the feature map is added as an output in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.activation.maps import no_map, rows_of, weigh
from edge_effnet.errors import require
from edge_effnet.runtime.base import class_rows, filled
from edge_effnet.runtime.onnxruntime import OnnxRuntimeRunner

_POOLINGS, _DENSE = ("GlobalAveragePool", "ReduceMean"), ("Gemm", "MatMul", "Conv")
_PASSING = (
    "Add", "Cast", "DequantizeLinear", "Flatten", "Identity", "QuantizeLinear", "Reshape",
    "Softmax", "Squeeze",
)  # fmt: skip


class OnnxActivation(OnnxRuntimeRunner):
    """An `OnnxRuntimeRunner` with the feature map as its second output.

    A quantized feature map is output as integers, before DequantizeLinear. The integer kernels
    therefore do not change.
    """

    def __init__(self, data: bytes, threads: int, name: str) -> None:
        onnx = require("onnx", "onnx")
        graph = _Graph(onnx.load_from_string(data), name)
        feature, weight = graph.find()
        super().__init__(graph.with_output(graph.stored(feature)), threads, name)
        self._scale, self._zero = graph.quant_params(feature)
        self._weights = graph.constant(weight)
        self._features: NDArray[np.float32] | None = None
        self._rows: NDArray[np.float32] | None = None

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Logits, float32 [1, classes], of one input tensor [1, ...]."""
        size = self.input.batch
        *outputs, features = self._session.run(None, {self._name: filled(batch, size)})
        self._features = (features[0].astype(np.float32) - self._zero) * self._scale
        return class_rows(self._file, outputs[0], size)[:1]

    def activation(self, label: int) -> NDArray[np.float32]:
        """The class activation map of the last `run`, float32 [height, width]."""
        if self._features is None:
            raise ValueError("there is no activation before the first run")
        if self._rows is None:
            self._rows = rows_of(self._weights, len(self._features), self._file)
        return weigh(self._features, self._rows[label])


class _Graph:
    """An ONNX model, with lookup of the last feature map and the classifier's weight."""

    def __init__(self, proto: Any, name: str) -> None:
        self.proto, self.name = proto, name
        self.makers = {output: node for node in proto.graph.node for output in node.output}

    def find(self) -> tuple[str, str]:
        """Names of the last feature map and of the dense layer's weight."""
        value, weight = self.proto.graph.output[0].name, ""
        while value in self.makers:
            node = self.makers[value]
            if not weight and node.op_type in _DENSE:
                weight = node.input[1]
            elif weight and node.op_type in _POOLINGS:
                return node.input[0], weight
            elif node.op_type not in _PASSING:
                raise no_map(self.name, f"it ends in {node.op_type}")
            value = node.input[0]
        raise no_map(self.name, "it has no such layers")

    def stored(self, value: str) -> str:
        """The quantized tensor's name if ``value`` is a DequantizeLinear output, else ``value``."""
        node = self.makers.get(value)
        return str(node.input[0]) if node and node.op_type == "DequantizeLinear" else value

    def quant_params(self, value: str) -> tuple[Any, Any]:
        """Scale and zero point of the tensor ``value``; 1 and 0 for a float tensor."""
        node = self.makers.get(value)
        if node is None or node.op_type != "DequantizeLinear":
            return np.float32(1), np.float32(0)
        scale, zero = (self.constant(name).astype(np.float32) for name in node.input[1:3])
        return scale, zero

    def with_output(self, value: str) -> bytes:
        """The serialized model with the tensor ``value`` added as its last output."""
        onnx = require("onnx", "onnx")
        copy = type(self.proto)()
        copy.CopyFrom(self.proto)
        copy.graph.output.append(onnx.ValueInfoProto(name=value))
        return bytes(copy.SerializeToString())

    def constant(self, value: str) -> NDArray[Any]:
        """Value of the constant tensor ``value``, computed from initializers."""
        onnx, ort = require("onnx", "onnx"), require("onnxruntime", "onnx")
        initializers = {item.name: item for item in self.proto.graph.initializer}
        if value in initializers:
            return np.asarray(onnx.numpy_helper.to_array(initializers[value]))
        needed, pending = {value}, [value]
        while pending:
            name = pending.pop()
            if name not in initializers and name not in self.makers:
                raise no_map(self.name, "its weights are not constant")
            inputs = set() if name in initializers else {*self.makers[name].input} - {"", *needed}
            needed |= inputs
            pending.extend(inputs)
        part = type(self.proto)()
        part.CopyFrom(self.proto)
        part.graph.Clear()
        part.graph.name = "constant"
        part.graph.node.extend(
            node for node in self.proto.graph.node if needed.intersection(node.output)
        )
        part.graph.initializer.extend(item for name, item in initializers.items() if name in needed)
        part.graph.output.append(onnx.ValueInfoProto(name=value))
        session = ort.InferenceSession(part.SerializeToString(), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {})[0])
