"""Verifier for OpenVINO IR files from strangers: their operators, and the range of constants.

Format: version 10 and 11 of the IR (docs.openvino.ai, "OpenVINO IR format"); operators of the
opsets 1 to 16 ("Available Operation Sets").
"""

from __future__ import annotations

import math
from collections.abc import Set
from xml.etree import ElementTree

from edge_effnet.errors import ModelFileError

#: Operators that image classifiers consist of: without control flow, states, recurrence, detection,
#: random numbers and text.
OPERATORS = frozenset(
    """
    Abs Add AvgPool BatchNormInference Broadcast Ceiling Clamp Concat Const Convert ConvertLike
    Convolution DepthToSpace Divide Einsum Elu Equal Erf Exp FakeConvert FakeQuantize Floor Gather
    GatherElements GatherND Gelu Greater GreaterEqual GroupConvolution GroupNormalization HSigmoid
    HSwish HardSigmoid Identity Interpolate LRN Less LessEqual Log LogSoftmax LogicalAnd LogicalNot
    LogicalOr LogicalXor MVN MatMul MaxPool Maximum Minimum Mish Mod Multiply Negative NormalizeL2
    NotEqual PRelu Pad Parameter Power RMS Range ReLU ReduceL1 ReduceL2 ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum Reshape Result Round Select Selu ShapeOf Sigmoid Sign SoftPlus
    SoftSign Softmax SpaceToDepth Split Sqrt SquaredDifference Squeeze StridedSlice Slice Subtract
    Swish Tanh Tile Transpose Unsqueeze VariadicSplit
    """.split()  # noqa: SIM905
)
#: Element type -> bits.
_BITS = {
    "f64": 64, "f32": 32, "f16": 16, "bf16": 16, "i64": 64, "i32": 32, "i16": 16, "i8": 8, "i4": 4,
    "u64": 64, "u32": 32, "u16": 16, "u8": 8, "u4": 4, "u2": 2, "u1": 1, "boolean": 8, "nf4": 4,
    "f8e4m3": 8, "f8e5m2": 8, "f8e8m0": 8, "f4e2m1": 4,
}  # fmt: skip
_LARGEST = 2**31 - 1  # elements of a tensor
_MOST_DIGITS = 18
_SHOWN = 4


def check(xml: bytes, weights: bytes, name: str, allowed: Set[str] = frozenset()) -> None:
    """Check that an IR file is one that a runtime may open.

    Args:
        xml: Content of the .xml.
        weights: Content of the .bin.
        name: Name of the file in messages.
        allowed: Further operators, as in `OPERATORS`.

    Raises:
        ModelFileError: The file is damaged, or has other operators.
    """
    try:
        others = _check_network(_parsed(xml), len(weights)) - OPERATORS - allowed
    except (ValueError, KeyError, ElementTree.ParseError) as error:
        raise ModelFileError(
            f"{name} is not a sound OpenVINO IR file ({error}); copy it again or export it anew"
        ) from error
    if others:
        more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
        listed = ", ".join(operator[:40] for operator in sorted(others)[:_SHOWN])
        raise ModelFileError(
            f"{name} has the operators {listed}{more}, which image classifiers do without",
            hint=f"if you trust the file, open it once with allow_operators={sorted(others)!r}",
        )


def _parsed(xml: bytes) -> ElementTree.Element:
    if b"<!DOCTYPE" in xml or b"<!ENTITY" in xml:
        raise ValueError("it declares entities")  # they can expand without end
    return ElementTree.fromstring(xml)  # noqa: S314


def _check_network(root: ElementTree.Element, available: int) -> set[str]:
    """The operators of the network."""
    layers = {layer.attrib["id"]: layer for layer in root.iterfind("layers/layer")}
    if root.tag != "net" or not layers:
        raise ValueError("it holds no network")
    for layer in layers.values():
        if layer.find("body") is not None:
            raise ValueError("an operator has a network inside, as loops and branches have")
        for port in layer.iter("port"):
            elements = 1
            for side in port.iter("dim"):
                elements *= max(_number(side.text or ""), 1)  # -1: a dynamic side
                if elements > _LARGEST:
                    raise ValueError("a tensor is too large")
        if layer.attrib["type"] == "Const":
            _check_constant(layer, available)
    for edge in root.iterfind("edges/edge"):
        if edge.attrib["from-layer"] not in layers or edge.attrib["to-layer"] not in layers:
            raise ValueError("an edge leads to no layer")
    return {layer.attrib["type"] for layer in layers.values()}


def _check_constant(layer: ElementTree.Element, available: int) -> None:
    data = layer.find("data")
    if data is None:
        raise ValueError("a constant has no data")
    offset, size = _number(data.attrib["offset"]), _number(data.attrib["size"])
    shape = [_number(side) for side in data.attrib["shape"].split(",") if side.strip()]
    if min((offset, size, *shape)) < 0 or offset + size > available:
        raise ValueError("a constant is out of range")
    bits = _BITS.get(data.attrib["element_type"])
    if bits is not None and size != (math.prod(shape) * bits + 7) // 8:
        raise ValueError("a constant has data of another size")


def _number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number is too long")
    return int(text)
