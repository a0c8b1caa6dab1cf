"""Activations on quantized tensors: lookup tables of 256 bytes, as integer kernels compute."""

from __future__ import annotations

import numpy as np

from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.engine import Floats, Indices
from edge_effnet.calibration.plan import HARD_SIGMOID_PARAMS, SIGMOID_PARAMS, QuantParams


def activation_table(
    kind: str, before: QuantParams, after: QuantParams, *, exact_swish: bool = False
) -> bytes:
    """The activation's uint8 output for each of the 256 uint8 inputs.

    A swish is computed as in integer kernels: as the product of input and quantized sigmoid. A
    hard swish is the product of input and quantized hard sigmoid.

    Args:
        kind: Name of the activation.
        before: Quantization parameters of the input.
        after: Quantization parameters of the output.
        exact_swish: Whether a swish has an unquantized sigmoid.
    """
    values = before.dequantize(np.arange(256, dtype=np.uint8))
    if kind == "swish" and not exact_swish:
        outputs = values * quantized_sigmoids(before)
    elif kind == "hard_swish":
        gates = HARD_SIGMOID_PARAMS.quantize(values / np.float32(6) + np.float32(0.5))
        outputs = values * HARD_SIGMOID_PARAMS.dequantize(gates)
    else:
        outputs = ActivationFunction(kind)(values)
    return after.quantize(outputs).tobytes()


def quantized_sigmoids(params: QuantParams) -> Floats:
    """The sigmoid of each of the 256 uint8 values, quantized and dequantized: [256]."""
    values = params.dequantize(np.arange(256, dtype=np.uint8))
    return SIGMOID_PARAMS.dequantize(SIGMOID_PARAMS.quantize(ActivationFunction("sigmoid")(values)))


def looked_up(values: Indices, table: bytes) -> Indices:
    """Replace every uint8 value with its entry in the 256-byte ``table``."""
    output = np.empty_like(values)
    for sample, out in zip(values, output, strict=True):
        out[:] = np.frombuffer(sample.tobytes().translate(table), np.uint8).reshape(out.shape)
    return output
