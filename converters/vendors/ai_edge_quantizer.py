"""Google's ai-edge-quantizer, now litert-quantizer, on our float32 .tflite file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.converters.formats.tflite import writer
from edge_effnet.converters.formats.tflite.flatbuffer import SIGNATURE
from edge_effnet.converters.vendors import Files
from edge_effnet.converters.vendors.common import int8_card, quiet, require_google, with_card
from edge_effnet.errors import require
from edge_effnet.model import Model

_EXTRA = "ai-edge-quantizer"
quantizer: Any = require_google("quantizer")
flatbuffer_utils: Any = require("ai_edge_litert.tools.flatbuffer_utils", _EXTRA)
recipes: Any = require_google("recipe")

NAME = "ai-edge-quantizer"
RECIPE = "static_wi8_ai8"


def quantize(model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
    """Full int8 .tflite file, with int8 input and output."""
    normalise = model.info.preprocess.normalise
    data = writer.write(model, None, model.info.card())
    feed = [{model.graph.input: normalise(pixels)[None]} for pixels in samples]
    with quiet():
        tool = quantizer.Quantizer(data, recipes.static_wi8_ai8())
        ranges = tool.calibrate({SIGNATURE: feed})
        result = tool.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    card = int8_card(card, NAME, RECIPE, "normalised")
    return with_card(bytes(result.quantized_model), card, flatbuffer_utils), b""
