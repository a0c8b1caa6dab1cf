"""TFLite's FlatBuffers container: tensors and operators as plain data -> a .tflite file.

Constants are aligned to 16 bytes, because runtimes map constants in place. Equal vectors and equal
tables are written once. The same content always gives the same bytes. The package ``tflite`` has
the functions of the schema, tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import require

schema: Any = require("tflite", "export")
flatbuffers: Any = require("flatbuffers", "export")

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
ALIGNMENT = 16  # schema: Buffer.data is force_align 16
SIGNATURE = "serving_default"  # TensorFlow's name for a model's only signature
_LAST_OLD_CODE = 127  # larger operator codes do not fit the schema's old 8-bit field


@dataclass(frozen=True)
class Affine:
    """Quantization parameters of a file's tensor: real = scale * (q - zero_point).

    ``scale`` is float32 [n], ``zero_point`` int64 [n]: n = 1, or one per slice along ``axis``.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int = 0


@dataclass(frozen=True)
class Tensor:
    """A tensor; with ``data`` it is a constant of that shape and dtype."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: NDArray[np.generic] | None = None
    affine: Affine | None = None


@dataclass(frozen=True)
class Options:
    """An operator's options table and its fields, with the schema's CamelCase names."""

    kind: str
    fields: tuple[tuple[str, int | float], ...] = ()


@dataclass(frozen=True)
class Operator:
    """One operator.

    ``inputs`` and ``outputs`` are indices of tensors, ``code`` is a BuiltinOperator.
    """

    code: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Options | None = None


@dataclass(frozen=True)
class Network:
    """One subgraph: operators in execution order, indices of its input and output tensors."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    input: int
    output: int


def serialise(network: Network, description: str, metadata: Mapping[str, bytes]) -> bytes:
    """The .tflite file of ``network`` with ``metadata`` as named buffers."""
    return _Emitter(network).model(description, metadata)


class _Emitter:
    """Writes tables bottom up, as FlatBuffers requires, and reuses equal ones."""

    def __init__(self, network: Network) -> None:
        self.network = network
        weights = sum(tensor.data.nbytes for tensor in network.tensors if tensor.data is not None)
        self.builder = flatbuffers.Builder(weights + 2**18)  # large enough: growing copies all
        self.written: dict[Hashable, int] = {}

    def model(self, description: str, metadata: Mapping[str, bytes]) -> bytes:
        buffers = [self.data_buffer(np.zeros(0, np.uint8))]  # buffer 0 means "no data"
        slots = []
        for tensor in self.network.tensors:
            slots.append(0 if tensor.data is None else len(buffers))
            if tensor.data is not None:
                buffers.append(self.data_buffer(tensor.data))
        notes = []
        for name, content in metadata.items():
            notes.append(self.table("Metadata", Name=self.string(name), Buffer=len(buffers)))
            buffers.append(self.data_buffer(np.frombuffer(content, np.uint8)))
        kinds = list(dict.fromkeys((op.code, op.version) for op in self.network.operators))
        root = self.table(
            "Model",
            Version=SCHEMA_VERSION,
            OperatorCodes=self.offsets([self.operator_code(*kind) for kind in kinds]),
            Subgraphs=self.offsets([self.subgraph(slots, kinds)]),
            Description=self.string(description),
            Buffers=self.offsets(buffers),
            Metadata=self.offsets(notes),
            SignatureDefs=self.offsets([self.signature()]),
        )
        self.builder.Finish(root, IDENTIFIER)
        return bytes(self.builder.Output())

    def subgraph(self, slots: Sequence[int], kinds: Sequence[tuple[str, int]]) -> int:
        network = self.network
        tensors = [self.tensor(*pair) for pair in zip(network.tensors, slots, strict=True)]
        operators = [
            self.operator(op, kinds.index((op.code, op.version))) for op in network.operators
        ]
        return self.table(
            "SubGraph",
            Tensors=self.offsets(tensors),
            Inputs=self.vector(np.array([network.input], np.int32)),
            Outputs=self.vector(np.array([network.output], np.int32)),
            Operators=self.offsets(operators),
            Name=self.string("main"),
        )

    def tensor(self, tensor: Tensor, slot: int) -> int:
        fields = {
            "Shape": self.vector(np.array(tensor.shape, np.int32)),
            "Type": getattr(schema.TensorType, tensor.dtype.upper()),
            "Buffer": slot,
            "Name": self.string(tensor.name),
            "HasRank": True,
        }
        if tensor.affine is not None:
            fields["Quantization"] = self.shared_table(
                "QuantizationParameters",
                Scale=self.vector(tensor.affine.scale),
                ZeroPoint=self.vector(tensor.affine.zero_point),
                QuantizedDimension=tensor.affine.axis,
            )
        return self.table("Tensor", **fields)

    def operator_code(self, code: str, version: int) -> int:
        number = getattr(schema.BuiltinOperator, code)
        return self.table(
            "OperatorCode",
            DeprecatedBuiltinCode=min(number, _LAST_OLD_CODE),
            BuiltinCode=number,
            Version=version,
        )

    def operator(self, operator: Operator, code: int) -> int:
        fields = {
            "OpcodeIndex": code,
            "Inputs": self.vector(np.array(operator.inputs, np.int32)),
            "Outputs": self.vector(np.array(operator.outputs, np.int32)),
        }
        if operator.options is not None:
            kind, options = operator.options.kind, dict(operator.options.fields)
            fields["BuiltinOptionsType"] = getattr(schema.BuiltinOptions, kind)
            fields["BuiltinOptions"] = self.shared_table(kind, **options)
        return self.table("Operator", **fields)

    def signature(self) -> int:
        tensor_maps = []
        for index in (self.network.input, self.network.output):
            name = self.string(self.network.tensors[index].name)
            tensor_maps.append(
                self.offsets([self.table("TensorMap", Name=name, TensorIndex=index)])
            )
        return self.table(
            "SignatureDef",
            Inputs=tensor_maps[0],
            Outputs=tensor_maps[1],
            SignatureKey=self.string(SIGNATURE),
        )

    def data_buffer(self, data: NDArray[np.generic]) -> int:
        if data.size == 0:
            return self.shared_table("Buffer")
        octets = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        self.builder.Prep(ALIGNMENT, octets.size)
        return self.table("Buffer", Data=self.builder.CreateNumpyVector(octets))

    def table(self, kind: str, **fields: int | float) -> int:
        """Write a table; the values of reference fields are offsets."""
        getattr(schema, f"{kind}Start")(self.builder)
        for name, value in fields.items():
            getattr(schema, f"{kind}Add{name}")(self.builder, value)
        offset: int = getattr(schema, f"{kind}End")(self.builder)
        return offset

    def shared_table(self, kind: str, **fields: int | float) -> int:
        key = (kind, *fields.items())
        if key not in self.written:
            self.written[key] = self.table(kind, **fields)
        return self.written[key]

    def vector(self, values: NDArray[np.generic]) -> int:
        key = (values.dtype.str, values.tobytes())
        if key not in self.written:
            self.written[key] = self.builder.CreateNumpyVector(values)
        return self.written[key]

    def string(self, text: str) -> int:
        if text not in self.written:
            self.written[text] = self.builder.CreateString(text)
        return self.written[text]

    def offsets(self, tables: Sequence[int]) -> int:
        self.builder.StartVector(4, len(tables), 4)
        for offset in reversed(tables):
            self.builder.PrependUOffsetTRelative(offset)
        vector: int = self.builder.EndVector()
        return vector
