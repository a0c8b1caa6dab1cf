"""Literal types of argument values, for type checkers and editors.

The registries are checked at run time; a test keeps both equal.
"""

from __future__ import annotations

from typing import Literal, get_args

#: File formats (`formats.FORMATS`).
FormatName = Literal["tflite", "onnx", "openvino", "coreml", "executorch", "ncnn"]
#: Those that a Runner opens (`formats.RUNNABLE`).
RunnableFormat = Literal["tflite", "onnx", "openvino"]
#: How a file computes. fp32; fp16: float16 weights; w8: int8 weights, computed in float32; dynamic:
#: int8 weights, and inputs that kernels quantize at run time; int8: integers throughout.
Precision = Literal["fp32", "fp16", "w8", "dynamic", "int8"]
#: Quantization recipes (`calibration.recipes.RECIPES`).
RecipeName = Literal["default", "best", "fast"]
#: Our own quantizer and the vendors' (`converters.vendors.VENDORS`).
QuantizerName = Literal[
    "edge-effnet", "tensorflow", "ai-edge-quantizer", "onnxruntime", "nncf"
]  # fmt: skip
#: What an int8 file takes and gives: uint8 or int8 pixels and logits, or normalised float32.
IO = Literal["uint8", "int8", "float32"]
#: Images an .onnx or OpenVINO file takes at once: a fixed number, or any.
Batch = int | Literal["dynamic"]
#: Turns a network's outputs (logits) into predictions. softmax: probabilities of classes, one of
#: which applies. sigmoid: each output is the probability of its own label; a single output is that
#: of the second of two classes. none: the outputs are the prediction (scores, a regression).
OutputActivation = Literal["softmax", "sigmoid", "none"]
OUTPUT_ACTIVATIONS: tuple[OutputActivation, ...] = get_args(OutputActivation)
