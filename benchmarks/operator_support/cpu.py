"""Kernels that this machine's runtime uses for each operator of an exported file.

LiteRT: whether XNNPACK runs the operator, or a much slower built-in kernel. ONNX Runtime and
OpenVINO: the fused graph with the compute type of each operator. The types show int8 layers that
fall back to float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from edge_effnet.benchmarks.latency.operator_times import layer_names, layer_of
from edge_effnet.benchmarks.operator_support.operators import operators_of
from edge_effnet.benchmarks.operator_support.support import OperatorPlacement, OperatorSupport
from edge_effnet.errors import require
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.litert import LiteRTRunner
from edge_effnet.runtime.opening import open_model
from edge_effnet.runtime.openvino import OpenVinoRunner

#: Names of ONNX element types, by their number in TensorProto.
_TYPES = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}
#: Operator types of OpenVINO's graph that compute nothing.
_STORES = ("Const", "Input", "Output")


def check(path: Path, data: bytes) -> OperatorSupport:
    """Placement of each operator of ``data``, read from ``path``.

    Raises:
        ModelFileError: The file cannot be opened.
        MissingExtra: The runtime is not installed.
    """
    classifier = open_model(path, threads=1, bare=lambda side: Preprocess(side, 1.0))
    runner, info = classifier.runner, classifier.runner.info
    if isinstance(runner, LiteRTRunner):
        operators = _litert(data, runner, path.name)
    else:
        names = layer_names(classifier.card.variant)
        graph = _openvino(runner) if isinstance(runner, OpenVinoRunner) else _onnxruntime(data)
        operators = tuple(
            OperatorPlacement(layer_of(name, names), kind, where) for name, kind, where in graph
        )
    return OperatorSupport(str(path), "cpu", f"{info.name} {info.version}", "", operators)


def _litert(data: bytes, runner: LiteRTRunner, name: str) -> tuple[OperatorPlacement, ...]:
    operators = []
    for operator, delegated in zip(operators_of(data, name), runner.delegated(), strict=True):
        kernel = "XNNPACK" if delegated else "built-in kernel"
        operators.append(
            OperatorPlacement(
                operator.name, operator.kind, f"{kernel}, {operator.outputs[0].dtype}"
            )
        )
    return tuple(operators)


#: (runtime's operator name, operator type, where the operator runs)
_Graph = Iterable[tuple[str, str, str]]


def _onnxruntime(data: bytes) -> _Graph:
    ort, onnx = require("onnxruntime", "onnx"), require("onnx", "onnx")
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        # Hides the warning that the optimized file is specific to this machine.
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(options.optimized_model_filepath).graph
    types = {item.name: _TYPES.get(item.data_type, "") for item in graph.initializer}
    for item in graph.input:
        types[item.name] = _TYPES.get(item.type.tensor_type.elem_type, "")
    for node in graph.node:
        output_type = _output_type(node.op_type, [types.get(name, "") for name in node.input])
        types.update(dict.fromkeys(node.output, output_type))
        yield node.name or node.output[0], node.op_type, output_type


def _output_type(kind: str, inputs: list[str]) -> str:
    """Output type of an operator: only quantize and dequantize differ from their input type."""
    if kind == "DequantizeLinear":
        return "float32"
    if kind == "QuantizeLinear":
        return inputs[2] if len(inputs) > 2 else "uint8"
    return inputs[0] if inputs else ""


def _openvino(runner: OpenVinoRunner) -> _Graph:
    for node in runner.executed():
        if node["layerType"] not in _STORES:
            yield node["name"], node["layerType"], node["runtimePrecision"]
