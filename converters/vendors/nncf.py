"""NNCF's post-training quantization on the graph's OpenVINO model."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.converters.formats import onnx, openvino
from edge_effnet.converters.vendors import Files
from edge_effnet.converters.vendors.common import int8_card, quiet
from edge_effnet.errors import require
from edge_effnet.model import Model

nncf: Any = require("nncf", "nncf")
ov: Any = require("openvino", "nncf")

NAME = "nncf"
RECIPE = "nncf.quantize, preset mixed"


def quantize(model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
    """int8 .xml and .bin with float32 input and output."""
    return quantize_with(model, samples, int8_card(card, NAME, RECIPE, "normalised"))


def quantize_with(
    model: Model, samples: NDArray[np.uint8], card: ModelCard, **options: Any
) -> Files:
    """int8 .xml and .bin by ``nncf.quantize`` with the preset mixed and further ``options``."""
    normalise = model.info.preprocess.normalise
    # The ONNX graph has no card, because OpenVINO would copy the metadata into the .xml.
    proto = onnx.build(model.graph, model.weights)
    network = ov.Core().read_model(proto.SerializeToString())
    batches = [normalise(pixels)[None].transpose(0, 3, 1, 2) for pixels in samples]
    nncf.set_log_level(logging.ERROR)
    with quiet():
        quantized = nncf.quantize(
            network,
            nncf.Dataset(batches),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(samples),
            **options,
        )
    return openvino.serialise(quantized, card)
