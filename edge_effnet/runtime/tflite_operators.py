"""Operators that a .tflite file from a stranger may have, and the quantization of their tensors."""

from __future__ import annotations

from collections.abc import Set

from edge_effnet.errors import ModelFileError
from edge_effnet.runtime.tflite_verifier import Record, parse

#: Value of the enum BuiltinOperator -> name, for the operators that image classifiers consist of:
#: without control flow, variables, hash tables, random numbers, recurrence, detection and text.
OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D",
    5: "DEPTH_TO_SPACE", 6: "DEQUANTIZE", 8: "FLOOR", 9: "FULLY_CONNECTED",
    11: "L2_NORMALIZATION", 12: "L2_POOL_2D", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL",
    19: "RELU", 20: "RELU_N1_TO_1", 21: "RELU6", 22: "RESHAPE", 23: "RESIZE_BILINEAR",
    25: "SOFTMAX", 26: "SPACE_TO_DEPTH", 28: "TANH", 34: "PAD", 36: "GATHER", 39: "TRANSPOSE",
    40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE", 45: "STRIDED_SLICE", 47: "EXP", 49: "SPLIT",
    50: "LOG_SOFTMAX", 53: "CAST", 54: "PRELU", 55: "MAXIMUM", 57: "MINIMUM", 59: "NEG",
    60: "PADV2", 65: "SLICE", 67: "TRANSPOSE_CONV", 69: "TILE", 70: "EXPAND_DIMS", 73: "LOG",
    74: "SUM", 75: "SQRT", 76: "RSQRT", 77: "SHAPE", 78: "POW", 81: "REDUCE_PROD",
    82: "REDUCE_MAX", 83: "PACK", 88: "UNPACK", 89: "REDUCE_MIN", 92: "SQUARE",
    97: "RESIZE_NEAREST_NEIGHBOR", 98: "LEAKY_RELU", 99: "SQUARED_DIFFERENCE", 100: "MIRROR_PAD",
    101: "ABS", 102: "SPLIT_V", 104: "CEIL", 111: "ELU", 114: "QUANTIZE", 116: "ROUND",
    117: "HARD_SWISH", 126: "BATCH_MATMUL", 130: "BROADCAST_TO", 150: "GELU", 158: "SIGN",
}  # fmt: skip
#: Operators whose kernels compute with the scales of all their tensors.
_SCALED = {0, 1, 3, 4, 9, 14, 17, 18, 19, 21, 28, 40, 41, 98, 117, 150}
_CUSTOM = 32
#: Custom operator of the subgraph that the Edge TPU compiler compiled.
EDGETPU = "edgetpu-custom-op"
_UINT8, _INT8 = 3, 9  # of the enum TensorType
_SHOWN = 4


def check(data: bytes, name: str, allowed: Set[str] = frozenset()) -> None:
    """Check the operators of a .tflite file.

    Args:
        data: Content of the file.
        name: Name of the file in messages.
        allowed: Further operators: names of custom operators, or ``BUILTIN_<number>``.

    Raises:
        ModelFileError: The file is damaged, has other operators, or an integer tensor that is
            computed with has no scale.
    """
    model = parse(data, name)
    codes = [max(code["old_code"], code["code"]) for code in model["operator_codes"]]
    pairs = zip(codes, model["operator_codes"], strict=True)
    others = {_name(number, code) for number, code in pairs if number not in OPERATORS}
    if others - allowed:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        listed = ", ".join(sorted(others)[:_SHOWN])
        raise ModelFileError(
            f"{name} has the operators {listed}{more}, which image classifiers do without",
            hint=f"if you trust the file, open it once with allow_operators={sorted(others)!r}",
        )
    if len(model["subgraphs"]) > 1 and not allowed:
        raise ModelFileError(
            f"{name} holds {len(model['subgraphs'])} networks; an image classifier is one"
        )
    for subgraph in model["subgraphs"]:
        for operator in subgraph["operators"]:
            if operator["code"] < len(codes) and codes[operator["code"]] in _SCALED:
                _check_scales(operator, subgraph["tensors"], name)


def is_for_edgetpu(data: bytes) -> bool:
    """Whether a .tflite file was compiled for the Coral Edge TPU; False for a damaged file."""
    try:
        codes = parse(data, kind="Head")["operator_codes"]
        return any(code["custom_code"] == EDGETPU for code in codes)
    except ModelFileError:
        return False


def _name(number: int, code: Record) -> str:
    return str(code["custom_code"])[:100] if number == _CUSTOM else f"BUILTIN_{number}"


def _check_scales(operator: Record, tensors: list[Record], name: str) -> None:
    for index in (*operator["inputs"].tolist(), *operator["outputs"].tolist()):
        if not 0 <= index < len(tensors) or tensors[index]["type"] not in (_UINT8, _INT8):
            continue
        quantization = tensors[index]["quantization"]
        if quantization is None or not len(quantization["scale"]):
            raise ModelFileError(
                f"{name} is not a sound .tflite file (the tensor {tensors[index]['name'][:100]} of "
                "integers has no scale); copy it again or export it anew"
            )
