"""NNCF's post-training quantization with clipping ranges from histograms of the activations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.converters.vendors import Files
from edge_effnet.converters.vendors.common import int8_card
from edge_effnet.converters.vendors.nncf import nncf, quantize_with
from edge_effnet.errors import require
from edge_effnet.model import Model

ranges: Any = require("nncf.quantization.range_estimator", "nncf")

NAME = "nncf-histogram"
RECIPE = "nncf.quantize, preset mixed, histogram ranges"


def quantize(model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
    """int8 .xml and .bin with float32 input and output."""
    parameters = nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=ranges.RangeEstimatorParametersSet.HISTOGRAM
    )
    return quantize_with(
        model,
        samples,
        int8_card(card, NAME, RECIPE, "normalised"),
        advanced_parameters=parameters,
    )
