"""Activations as TFLite operators.

An int8 hard swish is a product, a sum and a product, because XNNPACK has no int8 HARD_SWISH. On x86
TFLite's own kernel takes 1.25 ms instead of 0.016 ms for 56 x 56 x 128 values on one thread.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import HARD_SIGMOID_PARAMS, SIGMOID_PARAMS, QuantParams
from edge_effnet.converters.formats.tflite.flatbuffer import Affine, Options
from edge_effnet.forward import LEAKY_SLOPE
from edge_effnet.graph import Activation, Graph, LayerNorm, Node, Shape

_ADD = Options("AddOptions", (("FusedActivationFunction", 0),))
#: Activation -> float operator and its options.
FLOAT_OPERATORS: dict[str, tuple[str, Options | None]] = {
    "tanh": ("TANH", None),
    "hard_swish": ("HARD_SWISH", None),
    "leaky_relu": ("LEAKY_RELU", Options("LeakyReluOptions", (("Alpha", LEAKY_SLOPE),))),
    "gelu": ("GELU", Options("GeluOptions", (("Approximate", 0),))),
}


class Lowering(Protocol):
    """Appends operators and tensors; tensors are passed as indices."""

    graph: Graph
    sigmoids: dict[str, tuple[int, int]]

    def fetch(self, name: str, dtype: Any) -> int:
        """The graph's tensor ``name`` in ``dtype``."""

    def result(self, node: Node, dtype: Any) -> int:
        """Append the output tensor of ``node``."""

    def params(self, name: str) -> QuantParams:
        """Quantization parameters of tensor ``name``."""

    def tensor(self, name: str, shape: Shape, dtype: Any, params: QuantParams | None) -> int:
        """Append a tensor between two operators of the same node."""

    def constant(self, name: str, values: NDArray[np.generic], affine: Affine | None) -> int:
        """Append a constant."""

    def emit(self, code: str, inputs: list[int], output: int, options: Any = None) -> None:
        """Append an operator."""

    def multiply(self, inputs: list[int], output: int) -> None:
        """Append a MUL."""


def in_float(graph: Graph, node: Node) -> bool:
    """Whether ``node`` computes in float32 even in int8 files.

    These are layer normalisations with the activation after them, and activations of heads that
    have no int8 form. Each processes one vector per photo.
    """
    if not isinstance(node, Activation):
        return isinstance(node, LayerNorm)
    if isinstance(graph.by_name.get(node.inputs[0]), LayerNorm):
        return True
    return node.kind in FLOAT_OPERATORS and node.kind != "hard_swish"


def activation(lowering: Lowering, node: Activation, dtype: Any) -> None:
    """Append the operators of an activation that is not fused into its layer."""
    source = lowering.fetch(node.inputs[0], dtype)
    shape = lowering.graph.shapes[node.name]
    if node.kind == "sigmoid":
        lowering.emit("LOGISTIC", [source], lowering.result(node, dtype))
    elif node.kind == "swish":  # HARD_SWISH and GELU kernels exist, SWISH does not
        sigmoid = lowering.tensor(f"{node.name}.sigmoid", shape, dtype, SIGMOID_PARAMS)
        lowering.emit("LOGISTIC", [source], sigmoid)
        lowering.sigmoids[node.name] = source, sigmoid
        lowering.multiply([source, sigmoid], lowering.result(node, dtype))
    elif node.kind == "hard_swish" and dtype == "int8":
        gate = _hard_sigmoid(lowering, node, source)
        lowering.multiply([source, gate], lowering.result(node, dtype))
    elif node.kind in FLOAT_OPERATORS:
        code, options = FLOAT_OPERATORS[node.kind]
        lowering.emit(code, [source], lowering.result(node, dtype), options)
    else:
        lowering.emit(node.kind.upper(), [source], lowering.result(node, dtype))


def _hard_sigmoid(lowering: Lowering, node: Activation, source: int) -> int:
    """Append clip(x / 6 + 0.5, 0, 1) in int8 and return its tensor; quantization clips.

    x / 6 has the integers of x and a sixth of its scale, so it has no rounding error.
    """
    name, shape = node.name, lowering.graph.shapes[node.name]
    params = lowering.params(node.inputs[0])
    sixth = QuantParams(params.scale / 6, params.zero_point)
    scaled = lowering.tensor(f"{name}.sixth", shape, "int8", sixth)
    lowering.multiply([source, _constant(lowering, "sixth", 1 / 6)], scaled)
    gate = lowering.tensor(f"{name}.gate", shape, "int8", HARD_SIGMOID_PARAMS)
    lowering.emit("ADD", [scaled, _constant(lowering, "half", 0.5)], gate, _ADD)
    return gate


def _constant(lowering: Lowering, name: str, value: float) -> int:
    """The int8 constant 127 with the scale that makes it ``value``."""
    affine = Affine(np.array([value / 127], np.float32), np.zeros(1, np.int64))
    return lowering.constant(name, np.full((1, 1, 1, 1), 127, np.int8), affine)
