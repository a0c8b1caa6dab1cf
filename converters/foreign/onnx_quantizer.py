"""fp16 and int8 .onnx graphs of foreign networks; OpenVINO files are read from the same graphs.

V2-B0 as a foreign .onnx, calibrated on 125 photos and measured on 150 others: NNCF keeps 13.4 dB
and 97 to 98 % top-1 agreement in both formats, ONNX Runtime's quantizer 8.7 to 8.9 dB and 95 to
97 %. NNCF on the OpenVINO model keeps 11.9 dB.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.foreign.onnx_file import Network, onnx
from edge_effnet.converters.vendors.common import quiet
from edge_effnet.errors import MissingExtra, QuantizationError, require

Quantizer = Literal["nncf", "onnxruntime"]
#: The quantizers and their recipes.
RECIPES: dict[Quantizer, str] = {
    "nncf": "nncf.quantize, preset mixed",
    "onnxruntime": "quantize_static, QDQ, per channel, min-max",
}
#: Smaller constants, such as the limits of a Clip, stay float32.
_LEAST_ELEMENTS = 16


def check_nncf() -> None:
    """Raise `MissingExtra` if the quantizer NNCF is not installed; called before calibration."""
    try:
        require("nncf", "nncf")
    except MissingExtra as error:
        raise MissingExtra(
            error.message, hint="or use the less accurate quantizer='onnxruntime'"
        ) from error


def latency_warning(network: Network, quantizer: str) -> str:
    """Warning that the int8 .onnx file may be slower than fp32; empty if it does not apply.

    ONNX Runtime runs a convolution in int8 only if its output is quantized, and NNCF puts no
    quantizer between a convolution and its swish. Smallest latency of V2-B0 on one thread, ms:
    fp32 12.8, NNCF 21.9, ONNX Runtime's quantizer 5.6.
    """
    has_swish = any(node.op_type in ("Sigmoid", "Swish") for node in network.proto.graph.node)
    if quantizer != "nncf" or not has_swish:
        return ""
    return (
        "the int8 .onnx file of a network with swish may be slower than fp32 in ONNX Runtime "
        "(EfficientNetV2-B0: 1.7 times), although not in OpenVINO; the quantizer onnxruntime "
        "makes a faster, less accurate file"
    )


def quantize(
    network: Network, batches: Iterable[NDArray[np.float32]], quantizer: Quantizer = "nncf"
) -> Any:
    """int8 graph in QDQ form; its input and output are float32.

    Args:
        network: The float network.
        batches: Normalised inputs [1, ...] in its layout, for calibration.
        quantizer: NNCF, or ONNX Runtime's quantizer.

    Raises:
        QuantizationError: The quantizer fails.
        MissingExtra: The quantizer is not installed.
    """
    feed = ({network.tensor: batch} for batch in batches)
    try:
        if quantizer == "nncf":
            return _by_nncf(network.proto, list(feed))
        from edge_effnet.converters.vendors.onnxruntime import quantize_proto

        return quantize_proto(network.proto, feed)
    except MissingExtra:
        raise
    except Exception as error:  # foreign code: its errors share no base
        raise QuantizationError(
            f"the quantizer {quantizer} failed on {network.file} ({type(error).__name__}: {error})",
            hint="export precisions=['fp16'] instead",
        ) from error


def _by_nncf(proto: Any, feed: list[dict[str, NDArray[np.float32]]]) -> Any:
    """NNCF's post-training quantization with its defaults, but for asymmetric activations."""
    nncf: Any = require("nncf", "nncf")
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    nncf.set_log_level(logging.ERROR)
    with quiet():
        return nncf.quantize(
            copy,
            nncf.Dataset(feed),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(feed),
        )


def store_half(network: Network) -> Any:
    """The graph with float16 weights, which are cast to float32 at load: half the size.

    Weights beyond the range of float16 stay float32.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(network.proto)
    casts = []
    for tensor in proto.graph.initializer:
        is_float = tensor.data_type == onnx.TensorProto.FLOAT
        if not is_float or math.prod(tensor.dims) < _LEAST_ELEMENTS:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        if not np.abs(values).max() <= np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(
            onnx.helper.make_node("Cast", [f"{name}/half"], [name], to=onnx.TensorProto.FLOAT)
        )
    names = {node.output[0] for node in casts}
    inputs = [value for value in proto.graph.input if value.name not in names]  # of old files
    nodes = list(proto.graph.node)
    del proto.graph.input[:], proto.graph.node[:]
    proto.graph.input.extend(inputs)
    proto.graph.node.extend((*casts, *nodes))
    return proto
