"""Literal types of argument values, for type checkers and editors.

At run time, values are checked against the registries. A test keeps types and registries equal.
"""

from __future__ import annotations

from typing import Literal, get_args

#: File formats (`formats.FORMATS`).
FormatName = Literal[
    "tflite", "onnx", "openvino", "coreml", "executorch", "ncnn", "rknn", "imx500"
]  # fmt: skip
#: File formats that have a Runner (`formats.RUNNABLE`).
RunnableFormat = Literal["tflite", "onnx", "openvino"]
#: Precision of a file. fp32; fp16: float16 weights; w8: int8 weights, float32 compute; dynamic:
#: int8 weights, activations quantized at run time; int8: int8 weights and activations; mixed: int8,
#: with the layers in float that add most noise.
Precision = Literal["fp32", "fp16", "w8", "dynamic", "int8", "mixed"]
#: Precisions with int8 weights and activations.
INTEGER: tuple[Precision, ...] = ("int8", "mixed")
#: Quantization recipes (`calibration.recipes.RECIPES`).
RecipeName = Literal["default", "best", "fast"]
#: Training recipes. ``head`` trains the classifier only; the others all layers after it.
TrainRecipe = Literal["default", "head", "efficientnet", "efficientnetv2"]
#: This project's quantizer and the vendors' quantizers (`converters.vendors.VENDORS`).
QuantizerName = Literal[
    "edge-effnet", "tensorflow", "ai-edge-quantizer", "onnxruntime", "nncf", "nncf-histogram"
]  # fmt: skip
#: Input and output type of an int8 file: uint8 or int8 pixels and logits, or normalised float32
#: input and float32 logits.
IO = Literal["uint8", "int8", "float32"]
#: Batch size of an .onnx or OpenVINO file: fixed, or dynamic.
Batch = int | Literal["dynamic"]
#: Activation that turns a network's outputs (logits) into predictions. softmax: probabilities of
#: mutually exclusive classes. sigmoid: each output gives the probability of one label; a single
#: output gives the probability of the second of two classes. none: the outputs are the predictions
#: (scores, regression).
OutputActivation = Literal["softmax", "sigmoid", "none"]
OUTPUT_ACTIVATIONS: tuple[OutputActivation, ...] = get_args(OutputActivation)
