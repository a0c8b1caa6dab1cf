"""Verifier for .onnx files from strangers: operators of image classifiers, and data of its own.

Loops and branches can run for ever, and external data is read from files that no digest covers. The
format is read without the package onnx. Field numbers: onnx/onnx.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Set

from edge_effnet.errors import ModelFileError
from edge_effnet.protobuf import fields

#: Operators that image classifiers consist of; their output shapes do not depend on pixels. The
#: list is that of ONNX (onnx/docs/Operators.md), without control flow, sequences, text, random
#: numbers, recurrent networks and detection.
OPERATORS = frozenset(
    """
    Abs Add And AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvInteger Cos DepthToSpace DequantizeLinear Div Dropout
    DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements
    GatherND Gelu Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Hardmax Identity InstanceNormalization LRN
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul
    MatMulInteger Max MaxPool Mean MeanVarianceNormalization Min Mish Mod Mul Neg Not Or PRelu Pad
    Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize Round Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax
    Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile
    Transpose Unsqueeze Upsample Where Xor
    com.microsoft.BiasGelu com.microsoft.FastGelu com.microsoft.FusedConv com.microsoft.FusedGemm
    com.microsoft.FusedMatMul com.microsoft.Gelu com.microsoft.NhwcMaxPool com.microsoft.QGemm
    com.microsoft.QLinearAdd com.microsoft.QLinearAveragePool com.microsoft.QLinearConcat
    com.microsoft.QLinearGlobalAveragePool com.microsoft.QLinearLeakyRelu com.microsoft.QLinearMul
    com.microsoft.QLinearReduceMean com.microsoft.QLinearSigmoid com.microsoft.QLinearSoftmax
    com.microsoft.QLinearWhere com.microsoft.QuickGelu
    """.split()  # noqa: SIM905
)
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_TYPE, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS = 5, 10
#: Attributes that hold graphs or sparse tensors.
_ATTRIBUTE_GRAPHS, _ATTRIBUTE_SPARSE = (6, 11), (22, 23)
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_RAW, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 2, 9, 13, 14
#: TensorProto.DataType -> bits per element; absent: text, which is not checked by its length.
_BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4,
}  # fmt: skip
_LARGEST = 2**31 - 1  # a protocol buffer has at most this many bytes
_SHOWN = 4


def check(data: bytes, name: str, allowed: Set[str] = frozenset()) -> None:
    """Check that ``data`` is an .onnx file that a runtime may open.

    Args:
        data: Content of the file.
        name: Name of the file in messages.
        allowed: Further operators, as in `OPERATORS`.

    Raises:
        ModelFileError: The file is damaged, has other operators, or reads other files.
    """
    try:
        others = _check_model(memoryview(data)) - allowed
    except (ValueError, IndexError) as error:
        raise ModelFileError(
            f"{name} is not a sound .onnx file ({error}); copy it again or export it anew"
        ) from error
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        listed = ", ".join(sorted(others)[:_SHOWN])
        raise ModelFileError(
            f"{name} has the operators {listed}{more}, which image classifiers do without",
            hint=f"if you trust the file, open it once with allow_operators={sorted(others)!r}",
        )


def _check_model(data: memoryview) -> set[str]:
    """The operators outside `OPERATORS`, with their domain."""
    others: set[str] = set()
    for number, value in fields(data):
        if number == _MODEL_FUNCTIONS:
            raise ValueError("it defines functions")
        if number == _MODEL_GRAPH:
            for inner, part in fields(_message(value)):
                if inner == _GRAPH_NODE:
                    operator = _check_node(_message(part))
                    others |= {operator} - OPERATORS
                elif inner == _GRAPH_INITIALIZER:
                    _check_tensor(_message(part))
                elif inner == _GRAPH_SPARSE:
                    raise ValueError("it has sparse weights")
    return others


def _check_node(data: memoryview) -> str:
    """The operator's name with its domain; other domains than ONNX's come first."""
    operator = domain = ""
    for number, value in fields(data):
        if number == _NODE_TYPE:
            operator = _text(value)
        elif number == _NODE_DOMAIN:
            domain = _text(value)
        elif number == _NODE_ATTRIBUTE:
            _check_attribute(_message(value))
    return operator if domain in ("", "ai.onnx") else f"{domain}.{operator}"


def _check_attribute(data: memoryview) -> None:
    for number, value in fields(data):
        if number in _ATTRIBUTE_GRAPHS:
            raise ValueError("an operator has a graph inside, as loops and branches have")
        if number in _ATTRIBUTE_SPARSE:
            raise ValueError("an operator has sparse constants")
        if number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
            _check_tensor(_message(value))


def _check_tensor(data: memoryview) -> None:
    shape: list[int] = []
    kind, raw = 0, None
    for number, value in fields(data):
        if number == _TENSOR_DIMS:
            shape += [value] if isinstance(value, int) else _packed(value)
        elif number == _TENSOR_TYPE:
            kind = _integer(value)
        elif number == _TENSOR_RAW:
            raw = len(_message(value))
        elif number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and value):
            raise ValueError("its weights lie in other files")
    elements = math.prod(shape)
    if elements * 2 > _LARGEST * 8:
        raise ValueError("a tensor is too large")
    if raw is not None and kind in _BITS:
        fits = raw == (elements * _BITS[kind] + 7) // 8
    else:
        fits = elements <= len(data)  # each element takes a byte or more
    if not fits:
        raise ValueError("a tensor has data of another size")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands in place of a message")
    return value


def _integer(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("a message stands in place of a number")
    return value


def _text(value: int | memoryview) -> str:
    return bytes(_message(value)[:100]).decode("utf-8", "replace")


def _packed(data: memoryview) -> Iterator[int]:
    """The integers of a packed field."""
    value = place = 0
    for byte in data:
        value |= (byte & 127) << place
        place += 7
        if byte < 128:
            yield value
            value = place = 0
        elif place > 63:
            raise ValueError("an integer of more than ten bytes")
