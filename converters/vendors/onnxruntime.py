"""ONNX Runtime's quantize_static on our float32 .onnx file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
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

Feed = dict[str, NDArray[np.float32]]


def quantize(model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
    """int8 .onnx file in QDQ form, with float32 input and output."""
    proto = ours.build(model.graph, model.weights)
    result = quantize_proto(proto, _feed(model, samples))
    card = int8_card(card, NAME, RECIPE, "normalised")
    onnx.helper.set_model_props(result, {CARD_KEY: card.to_json(), **model_info(card)})
    return bytes(result.SerializeToString(deterministic=True)), b""


def quantize_proto(proto: Any, feed: Iterable[Feed]) -> Any:
    """QDQ form of a float ModelProto; ``feed`` are its inputs for calibration.

    The defaults of quantize_static except per-channel weights: int8 activations, min-max ranges.
    quant_pre_process runs first, as its documentation asks; shapes are static.
    """
    with tempfile.TemporaryDirectory() as name, quiet():
        prepared, quantized = Path(name, "prepared.onnx"), Path(name, "quantized.onnx")
        preparation.quant_pre_process(proto, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            _Reader(feed),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
        )
        return onnx.load(quantized)


class _Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # untyped package
    """Returns the calibration inputs one by one, then None."""

    def __init__(self, feed: Iterable[Feed]) -> None:
        self._feed = iter(feed)

    def get_next(self) -> Feed | None:
        return next(self._feed, None)


def _feed(model: Model, samples: NDArray[np.uint8]) -> Iterator[Feed]:
    for pixels in samples:
        batch = model.info.preprocess.normalise(pixels)[None].transpose(0, 3, 1, 2)
        yield {model.graph.input: np.ascontiguousarray(batch)}
