"""Weight and bias of a layer as constants of a .tflite file, by precision.

fp32     float32
fp16     float16 weights behind a DEQUANTIZE, which every runtime folds at load; float32 biases,
         which are 1 % of the bytes
w8       int8 weights behind a DEQUANTIZE, computed in float32
dynamic  int8 weights for kernels that quantize their inputs at run time. Depthwise layers have no
         plan and are stored as in fp16: XNNPACK has no such depthwise kernel, and the built-in one
         is slow
int8     int8 weights and int32 biases; layers without a plan as in fp32, and float layers of mixed
         precision as in fp16
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import LayerPlan, QuantParams
from edge_effnet.converters.formats.tflite.flatbuffer import Affine, Tensor
from edge_effnet.converters.formats.unwritable import fits_half
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Weights
from edge_effnet.names import Precision


@dataclass(frozen=True)
class Parameters:
    """The constants of one layer; ``widened`` weights pass through a DEQUANTIZE to float32."""

    weight: Tensor
    bias: Tensor
    widened: bool = False


def parameters(
    node: Conv | Dense,
    weights: Weights,
    layer: LayerPlan | None,
    params: QuantParams | None,
    precision: Precision,
    mixed: bool = False,
) -> Parameters:
    """Weight and bias of ``node``. Every layer has a bias, because depthwise kernels need one.

    Args:
        node: The layer.
        weights: Float weights of the network.
        layer: The layer's plan; None for float.
        params: Quantization parameters of the input; None for float.
        precision: Precision of the file.
        mixed: Whether this is a float layer of mixed precision.

    Raises:
        QuantizationError: A weight is beyond float16's range.
    """
    order, axis = _layout(node)
    if layer is not None:
        scale = layer.file_scale.reshape(-1)
        zeros = np.zeros(scale.size, np.int64)
        integers, affine = layer.weight.transpose(order), Affine(scale, zeros, axis)
        if precision == "w8":
            stored = _constant(node, "weight.int8", integers, affine)
            return Parameters(stored, _float_bias(node, weights), widened=True)
        kernel = _constant(node, "weight", integers, affine)
        if params is None:
            return Parameters(kernel, _float_bias(node, weights))
        unit = Affine(np.float32(params.scale) * scale, zeros)
        return Parameters(kernel, _constant(node, "bias", layer.bias, unit))
    values = weights[f"{node.name}.weight"].transpose(order)
    if precision in ("fp16", "dynamic") or (mixed and fits_half(values)):
        stored = _constant(node, "weight.float16", _narrowed(node, values))
        return Parameters(stored, _float_bias(node, weights), widened=True)
    return Parameters(_constant(node, "weight", values), _float_bias(node, weights))


def _layout(node: Conv | Dense) -> tuple[tuple[int, ...], int]:
    """Order of the weight's dimensions in the file, and index of the output dimension."""
    if isinstance(node, Dense):
        return (0, 1), 0
    return ((1, 2, 3, 0), 3) if node.depthwise else ((0, 2, 3, 1), 0)  # 1HWC, OHWI


def _float_bias(node: Conv | Dense, weights: Weights) -> Tensor:
    if node.bias:
        return _constant(node, "bias", weights[f"{node.name}.bias"])
    return _constant(node, "bias", np.zeros(len(weights[f"{node.name}.weight"]), np.float32))


def _narrowed(node: Conv | Dense, values: NDArray[np.float32]) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float16)
    if not np.isfinite(narrow).all():
        raise QuantizationError(
            f"a weight of {node.name} is beyond float16's range; export fp32 or int8 instead"
        )
    return narrow


def _constant(
    node: Conv | Dense, parameter: str, values: NDArray[np.generic], affine: Affine | None = None
) -> Tensor:
    return Tensor(f"{node.name}.{parameter}", values.shape, str(values.dtype), values, affine)
