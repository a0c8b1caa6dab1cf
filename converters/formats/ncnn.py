"""ncnn writer: a text file of layers (.param) and their weights (.bin), written directly.

The layout follows two pages of ncnn's documentation: "param and model file structure", and
"operation param weight table" for the numbered parameters. In ncnn only one layer may read a blob,
so a blob with several readers passes through a Split. Feature maps are CHW without batch. The input
``image`` is normalised float32 [3, height, width], the output is ``logits``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.converters.formats.unwritable import check_layers, layer_kind
from edge_effnet.forward import LEAKY_SLOPE
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
)
from edge_effnet.model import Model

OUTPUT = "logits"

_MAGIC = 7767517
_FLOAT32, _FLOAT16 = 0, 0x01306B47  # the four bytes before a weight, which give its type
#: Activation -> layer and its parameters. HardSwish has 0.2 instead of 1/6 by default.
_ACTIVATIONS: dict[str, tuple[str, dict[int, object]]] = {
    "swish": ("Swish", {}),
    "sigmoid": ("Sigmoid", {}),
    "relu": ("ReLU", {}),
    "relu6": ("Clip", {0: "0.0", 1: "6.0"}),
    "hard_swish": ("HardSwish", {0: f"{1 / 6:.9g}", 1: "0.5"}),
    "tanh": ("TanH", {}),
    "gelu": ("GELU", {0: 0}),  # 0: exact, not the tanh approximation
    "leaky_relu": ("ReLU", {0: LEAKY_SLOPE}),
}
_ADD, _MULTIPLY = 0, 2  # op_type of BinaryOp
_MEAN = 3  # operation of Reduction


def check_network(model: Model) -> None:
    """Raise `UsageError` if ncnn has no form of a layer of ``model``, whose BN is folded."""
    check_layers(model.graph, "ncnn", _holds)


def _holds(node: Node) -> bool:
    if isinstance(node, Activation):
        return node.kind in _ACTIVATIONS
    if isinstance(node, LayerNorm):
        return node.center
    return isinstance(node, (Conv, Dense, Add, Mul, GlobalAveragePool, MaxPool))


def write(model: Model, card: ModelCard, folder: Path) -> None:
    """Write a model with BN folded: ``model.ncnn.param``, ``.bin`` and, for the card, ``.json``.

    fp16 stores the weights as float16. The compute precision is chosen when ncnn loads the file.
    """
    emitter = _Emitter(model, card.precision == "fp16")
    emitter.layer("Input", model.graph.input, (), model.graph.input)
    emitter.share(model.graph.input)
    for node in model.graph:
        emitter.emit(node)
    (folder / "model.ncnn.param").write_text(emitter.param(), "utf-8")
    (folder / "model.ncnn.bin").write_bytes(b"".join(emitter.numbers))
    (folder / "model.ncnn.json").write_text(card.to_json(), "utf-8")


@dataclass
class _Emitter:
    """The lines of the .param and the weights of the .bin, in the same order."""

    model: Model
    half: bool
    lines: list[str] = field(default_factory=list)
    blobs: int = 0
    numbers: list[bytes] = field(default_factory=list)
    copies: dict[str, list[str]] = field(default_factory=dict)  # tensor -> blobs not yet read

    @property
    def graph(self) -> Graph:
        return self.model.graph

    def param(self) -> str:
        """The text of the .param."""
        return "\n".join([str(_MAGIC), f"{len(self.lines)} {self.blobs}", *self.lines, ""])

    def emit(self, node: Node) -> None:
        """Append the layer of ``node``, its weights, and a Split if several layers read it."""
        if isinstance(node, Conv):
            kind = "Convolution" if node.groups == 1 else "ConvolutionDepthWise"
            weight = self.model.weights[f"{node.name}.weight"]
            top, left, bottom, right = node.pads
            parameters = {0: node.channels, 1: node.kernel, 3: node.stride}
            parameters |= {4: left, 14: top, 15: right, 16: bottom}
            parameters |= {5: int(node.bias), 6: weight.size}
            self.add_layer(node, kind, parameters | ({7: node.groups} if node.groups > 1 else {}))
            self.store(node, weight)
        elif isinstance(node, Dense):
            weight = self.model.weights[f"{node.name}.weight"]
            self.add_layer(node, "InnerProduct", {0: node.units, 1: int(node.bias), 2: weight.size})
            self.store(node, weight)
        elif isinstance(node, Activation) and node.kind in _ACTIVATIONS:
            self.add_layer(node, *_ACTIVATIONS[node.kind])
        elif isinstance(node, LayerNorm) and node.center:
            scale, shift = (self.model.weights[f"{node.name}.{p}"] for p in ("weight", "bias"))
            self.add_layer(node, "LayerNorm", {0: scale.size, 1: f"{node.eps:.9g}", 2: 1})
            self.numbers += [scale.astype("<f4").tobytes(), shift.astype("<f4").tobytes()]
        elif isinstance(node, Add):
            self.add_layer(node, "BinaryOp", {0: _ADD})
        elif isinstance(node, Mul):
            self.add_layer(node, "BinaryOp", {0: _MULTIPLY})
        elif isinstance(node, GlobalAveragePool) and node.keepdims:
            # Pooling returns a vector, which would scale columns. Reduction keeps [channels, 1, 1].
            axes: Mapping[int, object] = {0: _MEAN, 1: 0, -23303: "2,1,2", 4: 1, 5: 1}
            self.add_layer(node, "Reduction", axes)
        elif isinstance(node, GlobalAveragePool):
            self.add_layer(node, "Pooling", {0: 1, 4: 1})
        elif isinstance(node, MaxPool):
            top, left, bottom, right = node.pads
            parameters = {0: 0, 1: node.kernel, 2: node.stride, 5: 1}
            self.add_layer(node, "Pooling", parameters | {3: left, 13: top, 14: right, 15: bottom})
        else:
            raise TypeError(
                f"{node.name}: ncnn has no {layer_kind(node)}, which `check_network` refuses"
            )

    def add_layer(self, node: Node, kind: str, parameters: Mapping[int, object]) -> None:
        """Append a layer that reads the node's inputs and computes its tensor."""
        inputs = [self.copies[name].pop(0) for name in node.inputs]
        output = OUTPUT if node.name == self.graph.output else node.name
        self.layer(kind, node.name, inputs, output, parameters=parameters)
        self.share(node.name)

    def layer(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        *outputs: str,
        parameters: Mapping[int, object] | None = None,
    ) -> None:
        """Append a line of the .param."""
        values = [f"{key}={value}" for key, value in (parameters or {}).items()]
        counts = [str(len(inputs)), str(len(outputs))]
        self.lines.append(" ".join([kind, name, *counts, *inputs, *outputs, *values]))
        self.blobs += len(outputs)

    def share(self, name: str) -> None:
        """Append a Split so that each reader of tensor ``name`` has its own blob."""
        readers = len(self.graph.consumers[name])
        if readers > 1:
            self.copies[name] = [f"{name}.{index}" for index in range(readers)]
            self.layer("Split", f"{name}.split", [name], *self.copies[name])
        else:
            self.copies[name] = [name]

    def store(self, node: Conv | Dense, weight: NDArray[np.float32]) -> None:
        """Append the bias and the weight in the file's precision, padded to four bytes."""
        data = weight.astype("<f2" if self.half else "<f4").tobytes()
        flag = struct.pack("<I", _FLOAT16 if self.half else _FLOAT32)
        self.numbers += [flag, data, bytes(-len(data) % 4)]
        if node.bias:
            self.numbers.append(self.model.weights[f"{node.name}.bias"].astype("<f4").tobytes())
