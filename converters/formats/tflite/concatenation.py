"""Concatenation along the channels; int8 kernels need all tensors in the output's parameters."""

from __future__ import annotations

from typing import Any, Protocol

from edge_effnet.calibration.plan import QuantParams
from edge_effnet.converters.formats.tflite.flatbuffer import Options
from edge_effnet.graph import Concat, Graph, Node, Shape


class Lowering(Protocol):
    """Appends operators and tensors; tensors are passed as indices."""

    graph: Graph

    def fetch(self, name: str, form: Any) -> int:
        """The graph's tensor ``name`` in the type ``form``."""

    def result(self, node: Node, form: Any) -> int:
        """Append the output tensor of ``node``."""

    def tensor(self, name: str, shape: Shape, form: Any, params: QuantParams | None = None) -> int:
        """Append a tensor between two operators of the same node."""

    def params(self, name: str) -> QuantParams:
        """Quantization parameters of the graph's tensor ``name``."""

    def emit(self, code: str, inputs: list[int], output: int, options: Any = None) -> None:
        """Append an operator."""


def concatenation(lowering: Lowering, node: Concat, dtype: Any) -> None:
    """Append a CONCATENATION, after a QUANTIZE of each input with other parameters."""
    sources, shapes = [], lowering.graph.shapes
    for number, name in enumerate(node.inputs):
        source = lowering.fetch(name, dtype)
        if dtype != "float32" and lowering.params(name) != lowering.params(node.name):
            requantized = lowering.tensor(
                f"{node.name}.input{number}", shapes[name], dtype, lowering.params(node.name)
            )
            lowering.emit("QUANTIZE", [source], requantized)
            source = requantized
        sources.append(source)
    axis = len(shapes[node.name])  # the last one, after the batch
    options = Options("ConcatenationOptions", (("Axis", axis), ("FusedActivationFunction", 0)))
    lowering.emit("CONCATENATION", sources, lowering.result(node, dtype), options)
