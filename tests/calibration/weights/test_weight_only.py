"""Weight-only quantization: what it does not take."""

from __future__ import annotations

import pytest

from edge_effnet.calibration.weights.weight_only import quantize_weights
from edge_effnet.errors import QuantizationError
from support import tflite_models as small
from support.small_plans import overflowing, samples_of

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("skimage", reason="the photos")
from edge_effnet.converters.onnx_engine import OnnxEngine


def test_a_grouped_convolution_is_refused_with_the_precisions_that_work() -> None:
    message = r"conv2: a convolution in 2 groups has no weight-only form; export int8, fp32 or fp16"
    with pytest.raises(QuantizationError, match=message):
        quantize_weights(small.baseline(), samples_of(4), OnnxEngine(1))


def test_a_tensor_that_overflows_is_named() -> None:
    name = "stages.1.blocks.0.project"
    with pytest.raises(QuantizationError, match=f"the tensor {name} holds NaN or infinite values"):
        quantize_weights(overflowing(name), samples_of(4), OnnxEngine(1))
