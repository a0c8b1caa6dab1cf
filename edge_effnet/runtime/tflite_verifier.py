"""Verifier for .tflite files from untrusted sources; needs only numpy.

TFLite's interpreters follow the offsets and indices of a file unchecked, so a damaged file crashes
the process. `parse` reads the file into plain dictionaries and checks every offset.
`check_structure` then checks the assumptions of the kernels.

Format: FlatBuffers (flatbuffers.dev, "FlatBuffer Binary Format"); schema: version 3 of
tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import ModelFileError

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3

Record = dict[
    str, Any
]  # a table of the schema: field -> number, str, array, Record or list of Records

_SCALARS = {
    name: struct.Struct(code)
    for name, code in (
        ("bool", "<?"), ("i8", "<b"), ("u8", "<B"), ("i32", "<i"), ("u32", "<I"),
        ("f32", "<f"), ("i64", "<q"), ("u64", "<Q"),
    )
}  # fmt: skip
_VECTORS: dict[str, np.dtype[Any]] = {
    "bool": np.dtype("u1"), "u8": np.dtype("u1"), "i32": np.dtype("<i4"), "f32": np.dtype("<f4"),
    "i64": np.dtype("<i8"),
}  # fmt: skip

#: Table -> its fields by slot, "name:type" or "name:type=default"; ``[x]`` is a vector of x.
#: ``Refused`` fields must be absent: image classifiers do not need them, and they are not verified.
_SCHEMA = """
Model version:u32 operator_codes:[OperatorCode] subgraphs:[SubGraph] description:str \
 buffers:[Buffer] metadata_buffer:[i32] metadata:[Metadata] signature_defs:[SignatureDef]
Head version:u32 operator_codes:[OperatorCode]
OperatorCode old_code:i8 custom_code:str version:i32=1 code:i32
SubGraph tensors:[Tensor] inputs:[i32] outputs:[i32] operators:[Operator] name:str
Tensor shape:[i32] type:i8 buffer:u32 name:str quantization:Quantization is_variable:bool \
 sparsity:Refused shape_signature:[i32] has_rank:bool variant_tensors:Refused
Quantization min:[f32] max:[f32] scale:[f32] zero_point:[i64] details_type:u8 details:Refused \
 dimension:i32
Buffer data:[u8] offset:u64 size:u64
Operator code:u32 inputs:[i32] outputs:[i32] options_type:u8 options:Options custom_options:[u8] \
 custom_format:i8 mutating_inputs:[bool] intermediates:[i32] large_offset:u64 large_size:u64 \
 options_2_type:u8 options_2:Refused
Metadata name:str buffer:u32
SignatureDef inputs:[TensorMap] outputs:[TensorMap] key:str tag:str subgraph:u32
TensorMap name:str tensor:u32
Conv2DOptions padding:i8 stride_w:i32 stride_h:i32 activation:i8 dilation_w:i32=1 dilation_h:i32=1
DepthwiseConv2DOptions padding:i8 stride_w:i32 stride_h:i32 multiplier:i32 activation:i8 \
 dilation_w:i32=1 dilation_h:i32=1
Pool2DOptions padding:i8 stride_w:i32 stride_h:i32 filter_w:i32 filter_h:i32 activation:i8
FullyConnectedOptions activation:i8 weights_format:i8
AddOptions activation:i8
MulOptions activation:i8
ReshapeOptions new_shape:[i32]
SqueezeOptions dimensions:[i32]
OtherOptions
"""
_TABLES: dict[str, list[tuple[str, str, int]]] = {}
for _row in _SCHEMA.strip().splitlines():
    _kind, *_fields = _row.split()
    _TABLES[_kind] = [
        (name, kind, int(default or 0))
        for name, _, declaration in (field.partition(":") for field in _fields)
        for kind, _, default in (declaration.partition("="),)
    ]
#: Members of the union BuiltinOptions whose fields are parsed.
_OPTIONS = {
    1: "Conv2DOptions", 2: "DepthwiseConv2DOptions", 5: "Pool2DOptions", 8: "FullyConnectedOptions",
    11: "AddOptions", 17: "ReshapeOptions", 21: "MulOptions", 30: "SqueezeOptions",
}  # fmt: skip
#: Members of BuiltinOptions with vectors or strings that are not parsed: ConcatEmbeddings,
#: VarHandle, Bucketize.
_UNREAD_OPTIONS = {3, 111, 115}

#: Value of the enum TensorType -> bits per element. Strings, resources and variants are not
#: supported.
_BITS = {
    0: 32, 1: 16, 2: 32, 3: 8, 4: 64, 6: 8, 7: 16, 8: 64, 9: 8, 10: 64, 11: 128, 12: 64, 15: 32,
    16: 16, 17: 4, 18: 16,
}  # fmt: skip
_SCALES = 1e-30, 1e30  # outside, the ratio of two scales overflows
#: Value of the enum TensorType (uint8, int8) -> range of zero points; 0 for all other types.
_ZERO_POINTS = {3: (0, 255), 9: (-128, 127)}
#: Largest ratio of input scale to output scale; above it, kernels abort the process.
_LARGEST_RESCALE = 256.0
_LARGEST = 2**31 - 1  # largest tensor in bytes
_MOST_TABLES = 100_000  # bounds the time for files whose tables share vectors

_PRODUCTS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL"}
_ADDITIVE = {"ADD", "MEAN", "QUANTIZE", "RELU", "RELU6"}

#: Value of the enum BuiltinOperator -> name, required options, minimum and maximum number of
#: inputs.
_OPERATORS = {
    0: ("ADD", "AddOptions", 2, 2),
    1: ("AVERAGE_POOL_2D", "Pool2DOptions", 1, 1),
    3: ("CONV_2D", "Conv2DOptions", 3, 3),
    4: ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", 3, 3),
    6: ("DEQUANTIZE", None, 1, 1),
    9: ("FULLY_CONNECTED", "FullyConnectedOptions", 2, 3),
    14: ("LOGISTIC", None, 1, 1),
    17: ("MAX_POOL_2D", "Pool2DOptions", 1, 1),
    18: ("MUL", "MulOptions", 2, 2),
    19: ("RELU", None, 1, 1),
    21: ("RELU6", None, 1, 1),
    28: ("TANH", None, 1, 1),
    34: ("PAD", None, 2, 2),
    40: ("MEAN", None, 2, 2),
    41: ("SUB", None, 2, 2),
    60: ("PADV2", None, 3, 3),
    76: ("RSQRT", None, 1, 1),
    98: ("LEAKY_RELU", None, 1, 1),
    114: ("QUANTIZE", None, 1, 1),
    117: ("HARD_SWISH", None, 1, 1),
    150: ("GELU", None, 1, 1),
}


class _DamageError(ValueError):
    """Raised by the reader for a damaged .tflite file; the message describes the damage."""


def parse(data: bytes, name: str = "the file", kind: str = "Model") -> Record:
    """The file's Model table as nested dicts; absent vectors are empty, absent tables None.

    The ``kind`` "Head" reads only its operator codes.

    Vectors of numbers are read-only views into ``data``. Indices in them are not checked here.

    Raises:
        ModelFileError: ``data`` is not a valid FlatBuffers file of TFLite's schema.
    """
    with _naming(name):
        return _Reader(data).model(kind)


def check_structure(data: bytes, name: str = "the file") -> Record:
    """The result of `parse`, checked so that the interpreter can run the file safely.

    Checked conditions: Indices are in range. Every tensor is computed before it is read. Constants
    have the size given by their shape and type. Quantization parameters match their tensor.
    Operators have the inputs and options that their kernels assume.

    Raises:
        ModelFileError: A condition is violated.
    """
    with _naming(name):
        model = _Reader(data).model()
        _check_model(model, len(data))
        return model


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except _DamageError as error:
        raise ModelFileError(
            f"{name} is not a sound .tflite file ({error}); copy it again or export it anew"
        ) from None


class _Reader:
    """FlatBuffers reader that checks the bounds of every access."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.tables = 0

    def model(self, kind: str = "Model") -> Record:
        if self.data[4:8] != IDENTIFIER:
            raise _DamageError("it does not begin like one")
        return self.table(kind, self.target(0))

    def table(self, kind: str, position: int) -> Record:
        """The table at ``position``, parsed by its vtable."""
        self.tables += 1
        if self.tables > _MOST_TABLES:
            raise _DamageError("it has too many tables")
        vtable = position - self.scalar("i32", position)
        length, inline = self.u16(vtable), self.u16(vtable + 2)
        if length < 4 or length % 2 or inline < 4:
            raise _DamageError(f"a {kind} table has a broken layout")
        self.span(vtable, length)
        self.span(position, inline)
        record: Record = {}
        for slot, (field, type_, default) in enumerate(_TABLES[kind]):
            entry = 4 + 2 * slot
            offset = self.u16(vtable + entry) if entry < length else 0
            if offset == 0:
                record[field] = self.absent(type_, default)
                continue
            width = _SCALARS[type_].size if type_ in _SCALARS else 4
            if offset + width > inline:
                raise _DamageError(f"the field {field} of a {kind} table is out of range")
            if type_ == "Options":
                record[field] = self.options(record["options_type"], position + offset)
            else:
                record[field] = self.field(type_, position + offset)
        return record

    @staticmethod
    def absent(type_: str, default: int) -> Any:
        if type_ in _SCALARS:
            return default
        if type_.startswith("["):
            inner = type_[1:-1]
            return np.zeros(0, _VECTORS[inner]) if inner in _VECTORS else []
        return "" if type_ == "str" else None

    def field(self, type_: str, position: int) -> Any:
        if type_ in _SCALARS:
            return self.scalar(type_, position)
        target = self.target(position)
        if type_ == "str":
            return self.string(target)
        if not type_.startswith("["):
            return self.refused() if type_ == "Refused" else self.table(type_, target)
        inner = type_[1:-1]
        if inner in _VECTORS:
            return self.vector(_VECTORS[inner], target)
        count = self.scalar("u32", target)
        self.span(target + 4, 4 * count)
        return [self.table(inner, self.target(target + 4 + 4 * n)) for n in range(count)]

    def options(self, member: int, position: int) -> Record:
        if member in _UNREAD_OPTIONS:
            self.refused()
        kind = _OPTIONS.get(member, "OtherOptions")
        return {"kind": kind, **self.table(kind, self.target(position))}

    @staticmethod
    def refused() -> None:
        raise _DamageError("it uses a feature of the format that image classifiers do not need")

    def string(self, position: int) -> str:
        octets = self.vector(np.dtype("u1"), position)
        self.span(position, 4 + octets.size + 1)
        if self.data[position + 4 + octets.size] != 0:
            raise _DamageError("a name does not end")
        return octets.tobytes().decode("utf-8", "replace")

    def vector(self, dtype: np.dtype[Any], position: int) -> NDArray[Any]:
        count = self.scalar("u32", position)
        self.span(position + 4, dtype.itemsize * count)
        if (position + 4) % dtype.itemsize:
            raise _DamageError("a vector is not aligned")
        return np.frombuffer(self.data, dtype, count, position + 4)

    def target(self, position: int) -> int:
        """Target position of the offset at ``position``; offsets only point forwards."""
        return position + int(self.scalar("u32", position))

    def scalar(self, type_: str, position: int) -> Any:
        code = _SCALARS[type_]
        self.span(position, code.size)
        return code.unpack_from(self.data, position)[0]

    def u16(self, position: int) -> int:
        self.span(position, 2)
        return int.from_bytes(self.data[position : position + 2], "little")

    def span(self, start: int, length: int) -> None:
        if start < 0 or start + length > len(self.data):
            raise _DamageError("it is truncated, or an offset is out of range")


def _require(condition: object, complaint: str) -> None:
    if not condition:
        raise _DamageError(complaint)


def _check_model(model: Record, size: int) -> None:
    buffers, subgraphs = model["buffers"], model["subgraphs"]
    _require(model["version"] == SCHEMA_VERSION, f"schema version {model['version']}")
    _require(subgraphs, "it holds no network")
    for buffer in buffers:  # in files above 2 GB, data may be stored after the tables
        _require(buffer["offset"] + buffer["size"] <= size, "a buffer is out of range")
    for subgraph in subgraphs:
        _check_subgraph(subgraph, model["operator_codes"], buffers)
    _require(all(n < len(buffers) for n in model["metadata_buffer"]), "metadata without a buffer")
    for entry in model["metadata"]:
        _require(entry["buffer"] < len(buffers), "metadata without a buffer")
    for signature in model["signature_defs"]:
        _require(signature["subgraph"] < len(subgraphs), "a signature without a network")
        tensors = subgraphs[signature["subgraph"]]["tensors"]
        for entry in (*signature["inputs"], *signature["outputs"]):
            _require(entry["tensor"] < len(tensors), "a signature without its tensor")


def _check_subgraph(subgraph: Record, codes: list[Record], buffers: list[Record]) -> None:
    tensors = subgraph["tensors"]
    for tensor in tensors:
        _check_tensor(tensor, buffers)
    boundary = (*subgraph["inputs"], *subgraph["outputs"])
    _require(all(0 <= n < len(tensors) for n in boundary), "an input or output is no tensor")
    _require(len(subgraph["outputs"]), "it has no output")
    constants = {n for n, tensor in enumerate(tensors) if _bytes_of(tensor, buffers)}
    ready = constants | {n for n, tensor in enumerate(tensors) if tensor["is_variable"]}
    _require(not constants & set(subgraph["inputs"].tolist()), "an input is a constant")
    ready |= set(subgraph["inputs"].tolist())
    for operator in subgraph["operators"]:
        _require(operator["code"] < len(codes), "an operator without a kind")
        inputs, outputs = operator["inputs"].tolist(), operator["outputs"].tolist()
        _require(all(n == -1 or n in ready for n in inputs), "an operator reads what nothing made")
        _require(
            all(0 <= n < len(tensors) and n not in ready for n in outputs),
            "an operator writes what it must not",
        )
        _require(len(set(outputs)) == len(outputs), "an operator writes one tensor twice")
        ready.update(outputs)
        _check_operator(operator, codes[operator["code"]], tensors)
    _require(all(n in ready for n in subgraph["outputs"]), "nothing makes the output")


def _bytes_of(tensor: Record, buffers: list[Record]) -> int:
    buffer = buffers[tensor["buffer"]]
    return int(buffer["data"].size or (buffer["size"] if buffer["offset"] > 1 else 0))


def _check_tensor(tensor: Record, buffers: list[Record]) -> None:
    name, shape = tensor["name"], tensor["shape"].tolist()
    _require(tensor["buffer"] < len(buffers), f"the tensor {name} has no buffer")
    _require(all(n >= 0 for n in shape), f"the tensor {name} has a negative size")
    bits = _BITS.get(tensor["type"])
    stored = _bytes_of(tensor, buffers)
    if bits is None:
        _require(not stored, f"the tensor {name} is of a type that no image classifier needs")
        return
    needed = (math.prod(shape) * bits + 7) // 8
    _require(needed <= _LARGEST, f"the tensor {name} is too large")
    _require(not stored or stored == needed, f"the tensor {name} has data of another size")
    if tensor["quantization"] is not None:
        _check_quantization(tensor)


def _check_quantization(tensor: Record) -> None:
    name, shape, quantization = tensor["name"], tensor["shape"].tolist(), tensor["quantization"]
    scale, zero_point = quantization["scale"], quantization["zero_point"]
    low, high = _SCALES
    sane = bool(((scale > low) & (scale < high)).all())  # False for NaN
    _require(sane, f"the tensor {name} has a broken scale")
    low, high = _ZERO_POINTS.get(tensor["type"], (0, 0))
    sane = scale.size == zero_point.size and bool(
        ((zero_point >= low) & (zero_point <= high)).all()
    )
    _require(sane, f"the tensor {name} has a broken zero point")
    if scale.size > 1:
        dimension = quantization["dimension"]
        fits = 0 <= dimension < len(shape) and shape[dimension] == scale.size
        _require(fits, f"the tensor {name} has scales for another shape")


def _check_operator(operator: Record, code: Record, tensors: list[Record]) -> None:
    number = max(code["old_code"], code["code"])
    if number not in _OPERATORS:
        return
    name, kind, least, most = _OPERATORS[number]
    inputs, outputs = operator["inputs"].tolist(), operator["outputs"].tolist()
    complaint = f"{name} {tensors[outputs[0]]['name'] if outputs else ''}"
    _require(
        least <= len(inputs) <= most and -1 not in inputs[:least], f"{complaint} lacks an input"
    )
    _require(len(outputs) == 1, f"{complaint} has no output")
    options = operator["options"]
    _require(
        kind is None or (options and options["kind"] == kind), f"{complaint} lacks its options"
    )
    for field, value in (options or {}).items():
        if field.startswith(("stride", "dilation", "filter")):
            _require(0 < value <= 2**15, f"{complaint} has a {field} of {value}")
    _check_rescaling(name, complaint, [tensors[n] for n in inputs], tensors[outputs[0]])


def _check_rescaling(name: str, complaint: str, inputs: list[Record], output: Record) -> None:
    units = [_largest_scale(tensor) for tensor in inputs]
    unit = math.prod(units[:2]) if name in _PRODUCTS else max(units) if name in _ADDITIVE else 0.0
    out = _largest_scale(output)
    _require(unit < _LARGEST_RESCALE * out or not out, f"{complaint} has scales that do not fit")


def _largest_scale(tensor: Record) -> float:
    """The largest scale of a quantized tensor; 0 for a float tensor."""
    quantization = tensor["quantization"]
    return 0.0 if quantization is None else float(max(quantization["scale"], default=0.0))
