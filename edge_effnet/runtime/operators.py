"""Operators of model files: which are refused, and their multiply-adds at batch 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_effnet.errors import require
from edge_effnet.runtime.tflite_operators import OPERATORS
from edge_effnet.runtime.tflite_verifier import Record

_CUSTOM = 32  # of the enum BuiltinOperator
#: ONNX operators that convert between float and integers and are fused into their neighbours.
CONVERSIONS = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})
_ONNX_PRODUCTS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "Gemm": 1, "MatMul": 1}


@dataclass(frozen=True)
class Operator:
    """An operator: name of its first output or node, kind, and multiply-adds of one inference."""

    name: str
    kind: str
    multiply_adds: int = 0


def check(path: Path, data: bytes, companion: bytes, allowed: Set[str]) -> None:
    """Raise `ModelFileError` for operators that no image classifier needs."""
    suffix = path.suffix.lower()
    if suffix == ".pte":  # ExecuTorch has no control flow but jumps, and verifies its programs
        return
    if suffix == ".tflite":
        from edge_effnet.runtime import tflite_operators

        tflite_operators.check(data, str(path), allowed)
    elif suffix == ".onnx":
        from edge_effnet.runtime import onnx_verifier

        onnx_verifier.check(data, str(path), allowed)
    else:
        from edge_effnet.runtime import openvino_verifier

        openvino_verifier.check(data, companion, str(path), allowed)


def of_tflite(model: Record) -> tuple[Operator, ...]:
    """The operators of a .tflite file in execution order; ``model`` is its checked Model table."""
    graph = model["subgraphs"][0]
    tensors = graph["tensors"]
    operators = []
    for operator in graph["operators"]:
        code = model["operator_codes"][operator["code"]]
        number = max(code["old_code"], code["code"])
        kind = OPERATORS.get(number, f"BUILTIN_{number}")
        kind = str(code["custom_code"]) if number == _CUSTOM else kind
        shapes = [tensors[n]["shape"].tolist() if n >= 0 else [] for n in operator["inputs"]]
        outputs = [tensors[n] for n in operator["outputs"]]
        output = outputs[0]["shape"].tolist() if outputs else []
        operators.append(
            Operator(outputs[0]["name"] if outputs else kind, kind, _products(kind, shapes, output))
        )
    return tuple(operators)


def _products(kind: str, inputs: Sequence[Sequence[int]], output: Sequence[int]) -> int:
    """Multiply-adds of a TFLite operator from the shapes of its inputs and its output."""
    if len(inputs) < 2 or not output:
        return 0
    weights = inputs[1]  # [out, height, width, in], [1, height, width, out] or [out, in]
    if kind == "CONV_2D":
        return math.prod(output) * math.prod(weights[1:])
    if kind == "DEPTHWISE_CONV_2D":
        return math.prod(output) * math.prod(weights[1:3])
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL"):
        return math.prod(output) * weights[-1]
    return 0


def of_onnx(data: bytes) -> tuple[Operator, ...]:
    """The operators of an .onnx file in its order, without conversions from and to integers.

    Raises:
        MissingExtra: The package onnx is not installed.
    """
    onnx: Any = require("onnx", "onnx")
    proto = onnx.load_model_from_string(data)
    sizes = {item.name: tuple(item.dims) for item in proto.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(proto).graph
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        dimensions = value.type.tensor_type.shape.dim
        sizes.setdefault(value.name, tuple(each.dim_value or 1 for each in dimensions))
    return tuple(
        Operator(node.name or node.output[0], node.op_type, _onnx_products(node, sizes))
        for node in proto.graph.node
        if node.op_type not in (*CONVERSIONS, "Constant")
    )


def _onnx_products(node: Any, sizes: Mapping[str, tuple[int, ...]]) -> int:
    position = _ONNX_PRODUCTS.get(node.op_type)
    if position is None or len(node.input) <= position:
        return 0
    weights = sizes.get(node.input[position], ())
    output = sizes.get(node.output[0], ())
    if not weights or not output:
        return 0
    elements = math.prod(output[1:])  # batch 1
    if "Conv" in node.op_type:
        return elements * math.prod(weights[1:])
    return elements * (math.prod(weights) // output[-1] if output[-1] else 0)
