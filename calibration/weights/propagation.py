"""Propagation of quantized tensors through a network, node by node.

A tensor that the file format stores quantized is held as uint8 values with quantization parameters.
All other tensors are held in float. The caller passes the weights of each layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import forward
from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.engine import Engine, Floats, Indices
from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    HARD_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    Placement,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import activation_of, quantized_tensors
from edge_effnet.calibration.weights.im2col import windows
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
)
from edge_effnet.model import Model, Weights

#: uint8 with quantization parameters, or float16, which is finer than uint8 and needs half of
#: float32's memory.
Tensor = NDArray[Any]
_Run = Callable[[Tensor], Tensor]
_CHUNK = 16
_HALF_MAX = 65504.0  # the largest float16


class PropagatedTensors:
    """The tensors [n, ...] that later nodes read, for n samples.

    ``tensors`` holds the tensors by name. `propagate` and `propagate_layer` add a node's output
    and drop the tensors that no later node reads.
    """

    def __init__(
        self,
        model: Model,
        engine: Engine,
        quant_params: Mapping[str, QuantParams],
        pixels: NDArray[np.uint8],
        *,
        placement: Placement = "tflite",
        float_layers: frozenset[str] = frozenset(),
        fused_gates: frozenset[str] = frozenset(),
    ) -> None:
        """Begin with the pixels as the input tensor.

        Args:
            model: Network with BN folded and the same input mean and deviation for all channels.
            engine: Compiles single layers.
            quant_params: Quantization parameters by tensor name.
            pixels: uint8 samples [n, size, size, 3].
            placement: The format whose quantizer placement applies.
            float_layers: Nodes that compute in float.
            fused_gates: Names of the Mul nodes with fused sigmoid gating, z * (sigmoid(z) * gate).
        """
        graph = model.graph
        plan = QuantPlan({}, quant_params, "", float_layers=float_layers)
        self.model = model
        self.engine = engine
        self.quant_params = quant_params
        self.float_layers = float_layers
        self.fused_gates = fused_gates
        self.stored = quantized_tensors(graph, plan, placement)
        self.tensors: dict[str, Tensor] = {
            graph.input: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
        }
        # Fused sigmoid gating reads the inputs of swishes: stored by the name of the swish.
        self.swish_inputs: dict[str, Indices] = {
            graph.by_name[name].inputs[0]: np.empty(0, np.uint8) for name in fused_gates
        }
        self._last_reader = {name: node.name for node in graph for name in node.inputs}

    def read(self, name: str, reader: Node) -> Tensor:
        """The tensor as ``reader`` reads it.

        If ``reader`` is quantized and the format stores the tensor quantized, the tensor is uint8.
        Otherwise it has the dtype that it has in ``tensors``.
        """
        tensor = self.tensors[name]
        quantized = reader.name not in self.float_layers and name in self.stored
        if tensor.dtype != np.uint8 and quantized:
            return self.quant_params[name].quantize(tensor.astype(np.float32))
        return tensor

    def values(self, tensor: Tensor, name: str) -> Floats:
        """Dequantized values of ``tensor``, which is the tensor ``name`` or a part of it."""
        if tensor.dtype == np.uint8:
            return self.quant_params[name].dequantize(tensor)
        return tensor.astype(np.float32)

    def propagate(self, node: Node) -> None:
        """Compute a node that has no weights.

        Raises:
            QuantizationError: The node has no int8 form.
        """
        if isinstance(node, (Add, Mul, GlobalAveragePool, LayerNorm)):
            self.tensors[self._output_name(node)] = self._elementwise(node)
        elif isinstance(node, MaxPool):
            self.tensors[node.name] = self._max_pool(node)
        elif not (isinstance(node, Activation) and node.name in self.tensors):
            # An activation is computed with the layer or sum before it.
            raise QuantizationError(
                f"{node.name}: {type(node).__name__} has no int8 form yet; export fp32 or fp16"
            )
        self._release_inputs(node)

    def propagate_layer(self, node: Conv | Dense, layer: LayerPlan | Weights) -> None:
        """Compute a layer and its activation.

        Args:
            node: The layer.
            layer: The layer's plan, for integer kernels. Or float weight and bias by parameter
                name, for float arithmetic on the dequantized inputs.
        """
        if node.name != self.model.graph.output:
            self.tensors[self._output_name(node)] = self._layer(node, layer)
        self._release_inputs(node)

    def _output_name(self, node: Node) -> str:
        """Name of the output of the activation after ``node``; without one, ``node``'s own name."""
        activation = activation_of(self.model.graph, node.name)
        return node.name if activation is None else activation.name

    def _release_inputs(self, node: Node) -> None:
        for name in node.inputs:
            if self._last_reader[name] == node.name:
                self.tensors.pop(name, None)
                self.swish_inputs.pop(name, None)

    def _layer(self, node: Conv | Dense, layer: LayerPlan | Weights) -> Tensor:
        activation = activation_of(self.model.graph, node.name)
        source = node.inputs[0]
        # On quantized tensors, an activation that does not clip is a lookup table.
        table = None
        if (
            activation is not None
            and node.name in self.stored
            and node.name not in self.float_layers
        ):
            table = activation_table(
                activation.kind, self.quant_params[node.name], self.quant_params[activation.name]
            )
        nodes = (node,) if activation is None or table is not None else (node, activation)
        graph = Graph(source, self.model.graph.shapes[source], nodes)
        run = self._compile(graph, node, layer)
        output = _in_chunks(run, self.read(source, node))
        if activation is None or table is None:
            return output
        if activation.name in self.swish_inputs:
            self.swish_inputs[activation.name] = output
        return _looked_up(output, table)

    def _compile(self, graph: Graph, node: Conv | Dense, layer: LayerPlan | Weights) -> _Run:
        """Compile ``graph``, which begins with ``node``, to a function from its input to output."""
        if isinstance(layer, LayerPlan):
            plan = QuantPlan({node.name: layer}, self.quant_params, "")
            return self.engine.compile_integer(graph, plan)
        run = self.engine.compile_float(graph, layer, [graph.output])

        def run_float(part: Tensor) -> Tensor:
            values = run(self.values(part, graph.input))[graph.output]
            return self._store(values, graph.output, node)

        return run_float

    def _store(self, values: Floats, name: str, producer: Node) -> Tensor:
        """``values`` of the tensor ``name``, quantized to uint8 or converted to float16.

        float16 is used if ``producer`` is a float layer or the format stores the tensor in float.
        """
        if producer.name in self.float_layers or name not in self.stored:
            return np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)
        return self.quant_params[name].quantize(values)

    def _elementwise(self, node: Add | Mul | GlobalAveragePool | LayerNorm) -> Tensor:
        """Compute a node without quantized weights, and its activation, on dequantized inputs."""
        if node.name in self.fused_gates:
            return self._fused_sigmoid_gating(node)
        function = ActivationFunction.of(activation_of(self.model.graph, node.name))
        output = self._output_name(node)
        inputs = {name: self.read(name, node) for name in node.inputs}
        parts = []
        for start in range(0, len(inputs[node.inputs[0]]), _CHUNK):
            values = [
                self.values(tensor[start : start + _CHUNK], name) for name, tensor in inputs.items()
            ]
            if isinstance(node, Add):
                value = values[0] + values[1]
            elif isinstance(node, Mul):
                value = values[0] * values[1]
            elif isinstance(node, LayerNorm):
                value = forward.layer_norm(node, values[0], self.model.weights)
            else:
                value = values[0].mean(axis=(2, 3), keepdims=node.keepdims)
            parts.append(self._store(function(value), output, node))
        return np.concatenate(parts)

    def _fused_sigmoid_gating(self, node: Node) -> Indices:
        """The squeeze-excite product z * (sigmoid(z) * gate), where z is the input of the swish.

        The factor sigmoid(z) * gate is quantized with `FUSED_SIGMOID_PARAMS`.
        """
        swish, gate = node.inputs
        z, gates = self.swish_inputs[swish], self.read(gate, node)
        params = self.quant_params[self.model.graph.by_name[swish].inputs[0]]
        sigmoids = _quantized_sigmoids(params)
        output = np.empty_like(z)
        for start in range(0, len(z), _CHUNK):
            part = slice(start, start + _CHUNK)
            product = sigmoids[z[part]] * SIGMOID_PARAMS.dequantize(gates[part])
            fused = FUSED_SIGMOID_PARAMS.dequantize(FUSED_SIGMOID_PARAMS.quantize(product))
            output[part] = self.quant_params[node.name].quantize(params.dequantize(z[part]) * fused)
        return output

    def _max_pool(self, node: MaxPool) -> Indices:
        """The largest value of each window, with the quantization parameters of the output."""
        top, left, bottom, right = node.pads
        margins = ((0, 0), (0, 0), (top, bottom), (left, right))
        params = self.quant_params[node.inputs[0]]
        values = np.pad(self.read(node.inputs[0], node), margins)  # 0 is the lowest uint8 value
        largest = windows(values, node.kernel, node.stride).max(axis=(4, 5))
        if params == self.quant_params[node.name]:
            return np.ascontiguousarray(largest)
        return self.quant_params[node.name].quantize(params.dequantize(largest))


def activation_table(kind: str, before: QuantParams, after: QuantParams) -> bytes:
    """The activation's uint8 output for each of the 256 uint8 inputs.

    A swish is computed as in integer kernels: as the product of input and quantized sigmoid. A
    hard swish is the product of input and quantized hard sigmoid.

    Args:
        kind: Name of the activation.
        before: Quantization parameters of the input.
        after: Quantization parameters of the output.
    """
    values = before.dequantize(np.arange(256, dtype=np.uint8))
    if kind == "swish":
        outputs = values * _quantized_sigmoids(before)
    elif kind == "hard_swish":
        gates = HARD_SIGMOID_PARAMS.quantize(values / np.float32(6) + np.float32(0.5))
        outputs = values * HARD_SIGMOID_PARAMS.dequantize(gates)
    else:
        outputs = ActivationFunction(kind)(values)
    return after.quantize(outputs).tobytes()


def _quantized_sigmoids(params: QuantParams) -> Floats:
    """The sigmoid of each of the 256 uint8 values, quantized and dequantized: [256]."""
    values = params.dequantize(np.arange(256, dtype=np.uint8))
    return SIGMOID_PARAMS.dequantize(SIGMOID_PARAMS.quantize(ActivationFunction("sigmoid")(values)))


def _in_chunks(run: _Run, tensor: Tensor) -> Tensor:
    """The result of ``run`` on all samples of ``tensor``, computed `_CHUNK` samples at a time."""
    output: Tensor = np.empty(0)
    for start in range(0, len(tensor), _CHUNK):
        part = run(tensor[start : start + _CHUNK])
        if not start:
            output = np.empty((len(tensor), *part.shape[1:]), part.dtype)
        output[start : start + len(part)] = part
    return output


def _looked_up(values: Indices, table: bytes) -> Indices:
    """Replace every uint8 value with its entry in the 256-byte ``table``."""
    output = np.empty_like(values)
    for sample, out in zip(values, output, strict=True):
        out[:] = np.frombuffer(sample.tobytes().translate(table), np.uint8).reshape(out.shape)
    return output
