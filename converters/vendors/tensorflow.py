"""TensorFlow's TFLiteConverter on the graph's Keras model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it at import

from edge_effnet.card import InputKind, ModelCard
from edge_effnet.converters.frameworks.keras import build
from edge_effnet.converters.vendors import Files
from edge_effnet.converters.vendors.common import int8_card, quiet, with_card
from edge_effnet.digest import PLACEHOLDER
from edge_effnet.errors import require
from edge_effnet.model import Model

tf: Any = require("tensorflow", "tensorflow")
flatbuffer_utils: Any = require("tensorflow.lite.tools.flatbuffer_utils", "tensorflow")

NAME = "tensorflow"
RECIPE = "TFLiteConverter, full int8"


def quantize(model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
    """Full int8 .tflite file with uint8 input and output."""
    data = convert(model, "int8", samples)
    kind: InputKind = "pixels" if _takes_pixels(data, card) else "normalised"
    return with_card(data, int8_card(card, NAME, RECIPE, kind), flatbuffer_utils), b""


def convert_with_card(model: Model, card: ModelCard) -> Files:
    """TFLiteConverter's float file in the precision of ``card``, for comparison with ours."""
    data = convert(model, "fp16" if card.precision == "fp16" else "fp32")
    return with_card(data, card.with_(digest=PLACEHOLDER), flatbuffer_utils), b""


def convert(
    model: Model,
    precision: Literal["fp32", "fp16", "dynamic", "int8"],
    samples: NDArray[np.uint8] | None = None,
) -> bytes:
    """TFLiteConverter's file without a card.

    Args:
        model: The network.
        precision: Precision of the file. "dynamic": int8 weights and float32 activations. Files
            of all precisions but int8 take normalised float32.
        samples: Calibration samples for int8, uint8 [n, size, size, 3].
    """
    lite = tf.lite
    with quiet():
        converter = lite.TFLiteConverter.from_keras_model(build(model, batch=1))
        if precision != "fp32":
            converter.optimizations = [lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        if precision == "int8":
            if samples is None:
                raise ValueError("int8 needs calibration samples")
            converter.representative_dataset = lambda: _batches(model, samples)
            converter.target_spec.supported_ops = [lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        return bytes(converter.convert())


def _batches(model: Model, samples: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
    for pixels in samples:
        yield [model.info.preprocess.normalise(pixels)[None]]


def _takes_pixels(data: bytes, card: ModelCard) -> bool:
    """Whether the input's quantization parameters equal the normalisation of uint8 pixels.

    They are equal if the photos contain both 0 and 255 and all channels have one normalisation.
    Otherwise the Runner quantizes normalised values with the file's quantization parameters.
    """
    content = flatbuffer_utils.read_model_from_bytearray(bytearray(data))
    (graph,) = content.subgraphs
    tensor = graph.tensors[graph.inputs[0]]
    scale, zero_point = tensor.quantization.scale[0], tensor.quantization.zeroPoint[0]
    mean, std = card.preprocess.mean, card.preprocess.std
    return bool(
        tensor.type == flatbuffer_utils.schema_fb.TensorType.UINT8
        and all(abs(scale * value - 1.0) < 1e-5 for value in std)
        and all(zero_point == value for value in mean)
    )
