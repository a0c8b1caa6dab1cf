"""Float layers of mixed-precision files hold float16 weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.model import Model
from support import tflite_models as small

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")
from edge_effnet.converters.artifact import Artifact
from edge_effnet.converters.quantize import OurQuantized
from edge_effnet.runtime.opening import open_model

LAYER = "stages.1.blocks.0.expand"
SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}


def network(factor: float = 1.0) -> tuple[Model, QuantPlan]:
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(4))
    float_layers = frozenset(node.name for node in model.graph if node.name.startswith(LAYER))
    weights = dict(model.weights)
    weights[f"{LAYER}.weight"] = weights[f"{LAYER}.weight"] * np.float32(factor)
    return replace(model, weights=weights), replace(plan, float_layers=float_layers)


def content(model: Model, plan: QuantPlan, format: str) -> tuple[bytes, bytes]:
    card = small.card_of(model, precision="int8", input="pixels")
    quantized = OurQuantized({"int8": QuantizedModel(model, plan, model.info)})
    return quantized.write(format, "uint8", card)


@pytest.mark.parametrize("format", SUFFIXES)
def test_float_layers_take_two_bytes_per_weight(format: str) -> None:
    """A weight beyond float16's range keeps the layer in float32."""
    pytest.importorskip({"tflite": "tflite"}.get(format, format))
    halves, floats = (sum(map(len, content(*network(factor), format))) for factor in (1.0, 1e8))
    weights = network()[0].weights[f"{LAYER}.weight"].size
    assert weights > 2000
    assert floats - halves == pytest.approx(2 * weights, rel=0.2)


@pytest.mark.parametrize("format", SUFFIXES)
def test_logits_are_those_of_the_float_weights(format: str, tmp_path: Path) -> None:
    pytest.importorskip({"tflite": "ai_edge_litert"}.get(format, format))
    model, plan = network()
    card = small.card_of(model, precision="int8", input="pixels")
    path = Artifact(f"net{SUFFIXES[format]}", *content(model, plan, format), card).save(tmp_path)
    opened = open_model(path, threads=1)
    for pixels in small.photos(3):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        error = opened.logits_of_pixels(pixels) - expected
        assert np.square(expected).sum() > 100 * np.square(error).sum()
