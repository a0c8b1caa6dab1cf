"""Layer normalisation and further activations as operators of ONNX opset 13."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import HARD_SIGMOID_PARAMS, QuantParams
from edge_effnet.forward import LEAKY_SLOPE
from edge_effnet.graph import LayerNorm


class Emitter(Protocol):
    """Collects nodes and constants; `op` and `constant` return the name of the new value."""

    known: set[str]  # names of the constants

    def op(self, kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        """Add an operator."""

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant; the same name is added once."""

    def quantize_dequantize(self, value: str, name: str, params: QuantParams) -> str:
        """Quantize and dequantize ``value``."""

    def dequantize(self, indices: str, name: str, params: QuantParams) -> str:
        """Dequantize ``indices``."""


def layer_norm(emitter: Emitter, node: LayerNorm, value: str, weight: str, bias: str) -> str:
    """Append the operators of a layer normalisation; returns the name of its output.

    Subtract the mean if ``node.center``, divide by sqrt(mean square + eps), multiply by ``weight``,
    add ``bias``.
    """
    name, mean = node.name, {"axes": [1], "keepdims": 1}
    if node.center:
        centre = emitter.op("ReduceMean", [value], f"{name}/mean", **mean)
        value = emitter.op("Sub", [value, centre], f"{name}/centred")
    square = emitter.op("Mul", [value, value], f"{name}/square")
    variance = emitter.op("ReduceMean", [square], f"{name}/variance", **mean)
    eps = emitter.constant(f"{name}/eps", np.array(node.eps, np.float32))
    root = emitter.op("Sqrt", [emitter.op("Add", [variance, eps], f"{name}/sum")], f"{name}/root")
    scaled = emitter.op("Div", [value, root], f"{name}/unit")
    scaled = emitter.op("Mul", [scaled, weight], f"{name}/scaled")
    return emitter.op("Add", [scaled, bias], name)


def _gelu(emitter: Emitter, name: str, value: str) -> str:
    factor = emitter.constant("gelu/factor", np.array(1 / math.sqrt(2), np.float32))
    half, one = (emitter.constant(f"gelu/{n}", np.array(n, np.float32)) for n in (0.5, 1.0))
    scaled = emitter.op("Mul", [value, factor], f"{name}/argument")
    erf = emitter.op("Erf", [scaled], f"{name}/erf")
    share = emitter.op("Add", [erf, one], f"{name}/share")
    halved = emitter.op("Mul", [value, half], f"{name}/half")
    return emitter.op("Mul", [halved, share], name)


def _hard_swish(emitter: Emitter, name: str, value: str) -> str:
    gate = emitter.op("HardSigmoid", [value], f"{name}/gate", alpha=1 / 6, beta=0.5)
    return emitter.op("Mul", [value, gate], name)


def integer_hard_swish(emitter: Emitter, name: str, value: str, params: QuantParams) -> str:
    """Append x * clip(x / 6 + 0.5, 0, 1) in integer kernels, as in TFLite; quantization clips.

    ONNX Runtime has no integer kernel of HardSigmoid. x / 6 has the integers of x.

    Args:
        emitter: Collects the operators.
        name: Name of the activation and of its output.
        value: Dequantized input x.
        params: Quantization parameters of x.
    """
    sixth = QuantParams(params.scale / 6, params.zero_point)
    scaled = emitter.op("Mul", [value, _integer(emitter, "sixth", 1 / 6)], f"{name}/sixth")
    scaled = emitter.quantize_dequantize(scaled, f"{name}/sixth", sixth)
    gate = emitter.op("Add", [scaled, _integer(emitter, "half", 0.5)], f"{name}/gate")
    gate = emitter.quantize_dequantize(gate, f"{name}/gate", HARD_SIGMOID_PARAMS)
    return emitter.op("Mul", [value, gate], name)


def _integer(emitter: Emitter, name: str, constant: float) -> str:
    """A uint8 constant of 255 with the scale that makes it ``constant``, dequantized."""
    name = f"hard_sigmoid/{name}"
    if name not in emitter.known:
        return emitter.dequantize(
            emitter.constant(name, np.array(255, np.uint8)), name, QuantParams(constant / 255, 0)
        )
    return f"{name}/dq"


#: Activation -> function that writes its operators, from the node's name and its input value.
HEAD_FUNCTIONS: dict[str, Callable[[Emitter, str, str], str]] = {
    "tanh": lambda emitter, name, value: emitter.op("Tanh", [value], name),
    "leaky_relu": lambda emitter, name, value: emitter.op(
        "LeakyRelu", [value], name, alpha=LEAKY_SLOPE
    ),
    "gelu": _gelu,
    "hard_swish": _hard_swish,
}
