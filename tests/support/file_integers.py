"""The integers of int8 files, with the quantization parameters that operators read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet.runtime.tflite_verifier import parse

onnx = pytest.importorskip("onnx")
ov = pytest.importorskip("openvino")
tflite = pytest.importorskip("tflite")

INT8, UINT8 = tflite.TensorType.INT8, tflite.TensorType.UINT8

QuantParams = tuple[float, int]  # scale, and the zero point in uint8


@dataclass(frozen=True)
class Layer:
    """A convolution or dense layer as a file holds it; the weight in the order of the graph."""

    weight: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.int32]
    bias_scale: NDArray[np.float32]
    input: QuantParams


@dataclass(frozen=True)
class Integers:
    """All layers by name, and quantization parameters of all activations by tensor."""

    layers: dict[str, Layer]
    quant_params: dict[str, QuantParams]


def read_tflite(path: Path) -> Integers:
    """Inputs of the convolutions and dense layers; parameters of int8 tensors as of uint8 ones."""
    model = parse(path.read_bytes())
    (subgraph,) = model["subgraphs"]
    tensors, codes = subgraph["tensors"], model["operator_codes"]

    def params(tensor: dict[str, Any]) -> QuantParams:
        (scale,), (zero,) = (tensor["quantization"][part] for part in ("scale", "zero_point"))
        return float(scale), int(zero) + (128 if tensor["type"] == INT8 else 0)

    def values(tensor: dict[str, Any], dtype: type) -> NDArray[Any]:
        return model["buffers"][tensor["buffer"]]["data"].view(dtype).reshape(tensor["shape"])

    layers = {}
    orders = {
        tflite.BuiltinOperator.CONV_2D: (0, 3, 1, 2),
        tflite.BuiltinOperator.DEPTHWISE_CONV_2D: (3, 0, 1, 2),
        tflite.BuiltinOperator.FULLY_CONNECTED: (0, 1),
    }
    for operator in subgraph["operators"]:
        code = codes[operator["code"]]["code"]
        if code not in orders:
            continue
        source, weight, bias = (tensors[index] for index in operator["inputs"])
        assert (source["type"], weight["type"]) == (INT8, INT8)
        quantization, axis = weight["quantization"], orders[code][0]
        assert quantization["dimension"] == axis
        assert not quantization["zero_point"].any()
        layers[weight["name"].removesuffix(".weight")] = Layer(
            values(weight, np.int8).transpose(orders[code]),
            quantization["scale"],
            values(bias, np.int32),
            bias["quantization"]["scale"],
            params(source),
        )
    made = {index for operator in subgraph["operators"] for index in operator["outputs"]}
    activations = [tensors[index] for index in (*subgraph["inputs"], *made)]
    assert {tensor["type"] for tensor in activations} == {INT8, UINT8}
    return Integers(layers, {tensor["name"]: params(tensor) for tensor in activations})


def read_onnx(path: Path) -> Integers:
    """Constants in front of each DequantizeLinear, activations by their QuantizeLinear."""
    graph = onnx.load(path).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    maker = {node.output[0]: node for node in graph.node}

    def dequantized(value: str) -> tuple[str, NDArray[Any], NDArray[Any]]:
        """The integers that a value comes from, with scale and zero point."""
        assert maker[value].op_type == "DequantizeLinear"
        integers, scale, zero_point = maker[value].input
        return integers, constants[scale], constants[zero_point]

    def params(value: str) -> QuantParams:
        _, scale, zero_point = dequantized(value)
        assert (scale.shape, zero_point.dtype) == ((), np.uint8)
        return float(scale), int(zero_point)

    layers, quant_params = {}, {}
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            (weight, weight_scale, zero), (bias, bias_scale, bias_zero) = (
                dequantized(value) for value in node.input[1:]
            )
            assert not zero.any()
            assert not bias_zero.any()
            layers[node.name if node.op_type == "Conv" else weight.removesuffix(".weight")] = Layer(
                constants[weight], weight_scale, constants[bias], bias_scale, params(node.input[0])
            )
        elif node.op_type == "QuantizeLinear":
            (scale, zero_point) = (constants[name] for name in node.input[1:])
            quant_params[node.name.removesuffix("/q")] = float(scale), int(zero_point)
            (reader,) = (other for other in graph.node if other.input[0] == node.output[0])
            assert params(reader.output[0]) == (float(scale), int(zero_point))
    quant_params[graph.input[0].name] = params(f"{graph.input[0].name}/dq")
    return Integers(layers, quant_params)


def read_openvino(path: Path) -> Integers:
    """Constants behind each layer's inputs, activations by their FakeQuantize."""
    model = ov.Core().read_model(path)

    def source(node: Any, port: int) -> Any:
        return node.input_value(port).get_node()

    def behind(node: Any) -> Iterator[Any]:
        """The constants that a value is computed from, and the first that is no computation."""
        passing = ("Convert", "Subtract", "Multiply", "Reshape")
        if node.get_type_name() not in passing:
            yield node
        elif node.get_type_name() == "Reshape":  # its second input is the shape
            yield from behind(source(node, 0))
        else:
            for port in range(node.get_input_size()):
                yield from behind(source(node, port))

    def constant(nodes: list[Any], kind: Any, suffix: str = "") -> Any:
        (found,) = [
            node
            for node in nodes
            if node.get_type_name() == "Constant"
            and node.get_element_type() == kind
            and node.get_friendly_name().endswith(suffix)
        ]
        return found

    def params(node: Any) -> QuantParams:
        """Multiply(Subtract(integers, zero point), scale)."""
        assert [n.get_type_name() for n in (node, source(node, 0))] == ["Multiply", "Subtract"]
        scale = source(node, 1).data
        zero_point = constant(list(behind(source(source(node, 0), 1))), ov.Type.u8).data
        return float(scale), int(zero_point)

    def bias_of(node: Any) -> list[Any]:
        """The constants behind the other operand of the addition that follows a layer."""
        while node.get_type_name() != "Add":
            readers = [reader.get_node() for reader in node.output(0).get_target_inputs()]
            came = node
            (node,) = [reader for reader in readers if reader.get_type_name() != "ShapeOf"]
        port = 1 if source(node, 0).get_friendly_name() == came.get_friendly_name() else 0
        return list(behind(source(node, port)))

    layers, quant_params = {}, {}
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("Convolution", "GroupConvolution", "MatMul"):
            weights, biases = list(behind(source(node, 1))), bias_of(node)
            weight = constant(weights, ov.Type.i8, ".weight")
            assert not constant(weights, ov.Type.i8, "zero_point").data.any()
            layers[weight.get_friendly_name().removesuffix(".weight")] = Layer(
                weight.data,
                constant(weights, ov.Type.f32).data,
                constant(biases, ov.Type.i32, ".bias").data,
                constant(biases, ov.Type.f32, "/scale").data,
                params(source(node, 0)),
            )
        elif node.get_type_name() == "FakeQuantize":
            (convert,) = [reader.get_node() for reader in node.output(0).get_target_inputs()]
            assert convert.get_output_element_type(0) == ov.Type.u8
            name = convert.get_friendly_name().removesuffix("/q")
            (low, high), ends = (
                [float(source(node, port).data.item()) for port in ports]
                for ports in ((1, 2), (3, 4))
            )
            assert ends == [0, 255]
            scale = (high - low) / 255
            quant_params[name] = scale, round(-low / scale)
    (image,) = model.inputs
    (convert,) = [reader.get_node() for reader in image.get_target_inputs()]
    while convert.get_type_name() != "Multiply":
        (convert,) = [reader.get_node() for reader in convert.output(0).get_target_inputs()]
    quant_params[image.any_name] = params(convert)
    return Integers(layers, quant_params)
