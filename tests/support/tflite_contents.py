"""The contents of a .tflite file: tensors by name, operators in order."""

from __future__ import annotations

from typing import Any

import pytest

from edge_effnet.runtime.tflite_verifier import parse

tflite = pytest.importorskip("tflite", reason="the extra 'export'")

CODES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
TYPES = {v: k.lower() for k, v in vars(tflite.TensorType).items() if not k.startswith("_")}


def contents(data: bytes) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, int, Any]]]:
    """The model, its tensors by name, and (operator, version, record) in order."""
    parsed = parse(data)
    (subgraph,) = parsed["subgraphs"]
    tensors = {tensor["name"]: tensor for tensor in subgraph["tensors"]}
    assert len(tensors) == len(subgraph["tensors"]), "names are unique"
    codes = parsed["operator_codes"]
    operators = [
        (CODES[codes[op["code"]]["code"]], codes[op["code"]]["version"], op)
        for op in subgraph["operators"]
    ]
    return parsed, tensors, operators
