"""ONNX Runtime's quantize_static on our float32 .onnx file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.formats import onnx as ours
from edge_effnet.converters.formats.model_api import model_info
from edge_effnet.converters.vendors import Files
from edge_effnet.converters.vendors.common import int8_card, quiet
from edge_effnet.errors import require
from edge_effnet.model import Model

onnx: Any = require("onnx", "export")
quantization: Any = require("onnxruntime.quantization", "export")
preparation: Any = require("onnxruntime.quantization.shape_inference", "export")

NAME = "onnxruntime"
RECIPE = "quantize_static, QDQ, per channel, min-max"


def quantize(model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
    """int8 .onnx file in QDQ form, with float32 input and output.

    Weights have one scale per channel. All other options are the defaults of quantize_static: int8
    activations, min-max ranges. As ONNX Runtime's documentation asks, quant_pre_process runs first.
    Shapes are static.
    """
    proto = ours.build(model.graph, model.weights)
    with tempfile.TemporaryDirectory() as name, quiet():
        prepared, quantized = Path(name, "prepared.onnx"), Path(name, "quantized.onnx")
        preparation.quant_pre_process(proto, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            _Reader(model, samples),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
        )
        result = onnx.load(quantized)
    card = int8_card(card, NAME, RECIPE, "normalised")
    onnx.helper.set_model_props(result, {CARD_KEY: card.to_json(), **model_info(card)})
    return bytes(result.SerializeToString(deterministic=True)), b""


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped package
    """Returns the calibration samples one by one, then None."""

    def __init__(self, model: Model, samples: NDArray[np.uint8]) -> None:
        self._feed = _feed(model, samples)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._feed, None)


def _feed(model: Model, samples: NDArray[np.uint8]) -> Iterator[dict[str, NDArray[np.float32]]]:
    for pixels in samples:
        batch = model.info.preprocess.normalise(pixels)[None].transpose(0, 3, 1, 2)
        yield {model.graph.input: np.ascontiguousarray(batch)}
