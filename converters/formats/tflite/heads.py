"""Layer normalisation of classifier heads: float32 operators in every precision.

These operators process one vector per photo, so integer kernels would gain nothing. In int8 files
a DEQUANTIZE precedes them and a QUANTIZE follows, as in calibration.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.formats.tflite.flatbuffer import Options
from edge_effnet.graph import LayerNorm, Node, Shape
from edge_effnet.model import Weights

_NOT_FUSED = ("FusedActivationFunction", 0)


class Lowering(Protocol):
    """Appends operators and tensors; tensors are passed as indices."""

    def fetch(self, name: str, form: Any) -> int:
        """The graph's tensor ``name`` in the type ``form``."""

    def result(self, node: Node, form: Any) -> int:
        """Append the output tensor of ``node``."""

    def tensor(self, name: str, shape: Shape, form: Any) -> int:
        """Append a tensor between two operators of the same node."""

    def constant(self, name: str, values: NDArray[np.generic]) -> int:
        """Append a constant."""

    def emit(self, code: str, inputs: list[int], output: int, options: Any = None) -> None:
        """Append an operator."""


def layer_norm(lowering: Lowering, node: LayerNorm, weights: Weights) -> None:
    """Append the operators of a layer normalisation.

    Subtract the mean if ``node.center``, divide by sqrt(mean square + eps), multiply by the weight,
    add the bias.
    """
    name, (features,) = node.name, weights[f"{node.name}.weight"].shape
    mean = Options("ReducerOptions", (("KeepDims", 1),))
    axis = lowering.constant("feature_axis", np.array([1], np.int32))

    def step(code: str, part: str, *inputs: int, size: int = features, options: str = "") -> int:
        output = lowering.tensor(f"{name}.{part}", (size,), "float32")
        table = Options(options, (_NOT_FUSED,)) if options else None
        lowering.emit(code, list(inputs), output, mean if code == "MEAN" else table)
        return output

    x = lowering.fetch(node.inputs[0], "float32")
    if node.center:
        centre = step("MEAN", "mean", x, axis, size=1)
        x = step("SUB", "centred", x, centre, options="SubOptions")
    square = step("MUL", "square", x, x, options="MulOptions")
    variance = step("MEAN", "variance", square, axis, size=1)
    eps = lowering.constant(f"{name}.eps", np.array([node.eps], np.float32))
    total = step("ADD", "sum", variance, eps, size=1, options="AddOptions")
    unit = step("MUL", "unit", x, step("RSQRT", "root", total, size=1), options="MulOptions")
    weight = lowering.constant(f"{name}.weight", weights[f"{name}.weight"])
    bias = lowering.constant(f"{name}.bias", weights[f"{name}.bias"])
    scaled = step("MUL", "scaled", unit, weight, options="MulOptions")
    output = lowering.result(node, "float32")
    lowering.emit("ADD", [scaled, bias], output, Options("AddOptions", (_NOT_FUSED,)))
