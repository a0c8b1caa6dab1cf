"""Operators and tensors of a .tflite file as dataclasses."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import require
from edge_effnet.runtime.tflite_verifier import Record, check_structure

#: Value of TFLite's enum TensorType -> NumPy type name.
_TYPES = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16", 9: "int8"
}  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """A tensor; ``values`` are the raw bytes of a constant, None for a computed tensor."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    values: NDArray[np.uint8] | None

    @property
    def bytes(self) -> int:
        """Bytes of a constant; 0 for a computed tensor."""
        return 0 if self.values is None else int(self.values.size)

    @property
    def rank(self) -> int:
        """Number of dimensions after the leading ones of size 1."""
        return next((len(self.shape) - n for n, size in enumerate(self.shape) if size != 1), 0)

    def integers(self) -> list[int]:
        """The values of a constant int32 vector."""
        return [] if self.values is None else [int(v) for v in self.values.view(np.int32)]


@dataclass(frozen=True)
class Operator:
    """An operator: ``kind`` is TFLite's operator name (CONV_2D), ``options`` are its settings."""

    kind: str
    options: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def name(self) -> str:
        """Name of the first output tensor."""
        return self.outputs[0].name if self.outputs else self.kind

    @property
    def elements(self) -> int:
        """Number of elements of the first output tensor."""
        return math.prod(self.outputs[0].shape) if self.outputs else 0


def operators_of(data: bytes, name: str) -> list[Operator]:
    """The operators of a .tflite file in execution order.

    Raises:
        ModelFileError: The file is damaged.
        MissingExtra: The package tflite is not installed.
    """
    model = check_structure(data, name)
    kinds = kind_names()
    graph = model["subgraphs"][0]
    tensors = [_tensor(tensor, model["buffers"]) for tensor in graph["tensors"]]
    operators = []
    for operator in graph["operators"]:
        code = model["operator_codes"][operator["code"]]
        number = max(code["old_code"], code["code"])
        operators.append(
            Operator(
                kinds.get(number, f"operator {number}"),
                operator["options"] or {},
                tuple(tensors[n] for n in operator["inputs"] if n >= 0),
                tuple(tensors[n] for n in operator["outputs"]),
            )
        )
    return operators


def kind_names() -> dict[int, str]:
    """TFLite's operator names, by their number in the enum BuiltinOperator."""
    enum = vars(require("tflite", "export").BuiltinOperator)
    return {value: name for name, value in enum.items() if isinstance(value, int)}


def _tensor(record: Record, buffers: list[Record]) -> Tensor:
    values = buffers[record["buffer"]]["data"]
    return Tensor(
        record["name"],
        tuple(int(size) for size in record["shape"]),
        _TYPES.get(record["type"], f"type {record['type']}"),
        values if values.size else None,
    )
