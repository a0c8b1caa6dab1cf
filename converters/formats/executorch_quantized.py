"""A quantized network as a PyTorch module of quantize and dequantize operators, for XNNPACK.

The integers, scales and zero points are those of the plan, with TFLite's quantizer placement.
XNNPACK's convolutions, dense layers, sums, products and means are integer kernels. Its sigmoid is a
float kernel between two conversions, which gives the integers of TFLite's lookup table.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import quantized_tensors
from edge_effnet.converters.frameworks.torch import ACTIVATIONS, padded, plain_layer
from edge_effnet.errors import require
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    MaxPool,
    Mul,
    Node,
)

torch: Any = require("torch", "torch")
# Defines the operators torch.ops.quantized_decomposed.
require("torch.ao.quantization.fx._decomposed", "torch")
Tensor = Any  # torch is untyped here
_ZERO = 128  # int8 values are the plan's uint8 values minus this
_INT8 = (-128, 127, torch.int8)
_WEIGHTS = (-127, 127, torch.int8)


class QuantizedNetwork(torch.nn.Module):  # type: ignore[misc]  # torch is untyped here
    """Normalised float32 [1, 3, height, width] -> logits [1, classes].

    Args:
        quantized: Our quantized network, for the format ``tflite``.
    """

    def __init__(self, quantized: QuantizedModel) -> None:
        super().__init__()
        plan = quantized.plan
        if not isinstance(plan, QuantPlan):
            raise TypeError("a weight-only plan has no quantization parameters")
        self.graph, self.plan = quantized.model.graph, plan
        self.stored = quantized_tensors(self.graph, plan, "tflite")
        self.layers: dict[str, Any] = {}
        for node in self.graph:
            if isinstance(node, (Conv, Dense)) and not self._in_float(node.name):
                self._register(node, plan.layers[node.name])
            else:
                self._attach(node, quantized)

    def _in_float(self, name: str) -> bool:
        return name in self.plan.float_layers

    def _register(self, node: Conv | Dense, layer: LayerPlan) -> None:
        """Keep the integer weights, their scales and the bias in float, as XNNPACK reads it."""
        key = _key(node.name)
        self.register_buffer(f"{key}_weight", torch.tensor(layer.weight))
        self.register_buffer(f"{key}_scale", torch.tensor(layer.scale))
        zeros = torch.zeros(len(layer.scale), dtype=torch.int64)
        self.register_buffer(f"{key}_zero_point", zeros)
        bias = layer.float_bias(self.plan.quant_params[node.inputs[0]].scale)
        self.register_buffer(f"{key}_bias", torch.tensor(bias))

    def _attach(self, node: Node, quantized: QuantizedModel) -> None:
        """Add the float layer of ``node``, if it has parameters."""
        layer = plain_layer(node, self.graph)
        if layer is None:
            return
        start = f"{node.name}."
        names = [name for name in quantized.model.weights if name.startswith(start)]
        values = {
            name.removeprefix(start): torch.tensor(quantized.model.weights[name]) for name in names
        }
        layer.load_state_dict(values, strict=False)
        self.add_module(f"{_key(node.name)}_layer", layer)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of one image."""
        values = _Values()
        self._store(values, self.graph.input, image)
        for node in self.graph:
            self._store(values, node.name, self._compute(node, values))
        return values.read(self.graph.output)

    def _store(self, values: _Values, name: str, value: Tensor) -> None:
        values.store(name, value, self.plan.quant_params[name] if name in self.stored else None)

    def _read(self, values: _Values, node: Node, index: int = 0) -> Tensor:
        """An input of ``node``; between two float layers, as it was before quantization."""
        name = node.inputs[index]
        if self._in_float(name) and self._in_float(node.name):
            return values.floats[name]
        return values.read(name)

    def _compute(self, node: Node, values: _Values) -> Tensor:
        if isinstance(node, Activation):
            return self._activation(node, values)
        if isinstance(node, Mul) and node.name in self.plan.fused_gates:
            return self._fused_gates(node, values)
        x = self._read(values, node)
        if isinstance(node, (Conv, Dense)) and not self._in_float(node.name):
            return self._integer_layer(node, x)
        if isinstance(node, Conv):
            return getattr(self, f"{_key(node.name)}_layer")(padded(x, node, 0.0))
        if isinstance(node, Add):
            return x + self._read(values, node, 1)
        if isinstance(node, Mul):
            return x * self._read(values, node, 1)
        if isinstance(node, GlobalAveragePool):
            return self._mean(node, x)
        if isinstance(node, MaxPool):
            x = padded(x, node, -torch.inf)
            return torch.nn.functional.max_pool2d(x, node.kernel, node.stride)
        return getattr(self, f"{_key(node.name)}_layer")(x)

    def _fused_gates(self, node: Mul, values: _Values) -> Tensor:
        """Compute z * (sigmoid(z) * gate), where the first input is the swish of z."""
        swish = self.graph.by_name[node.inputs[0]]
        name = f"{node.name}/gate"
        gate = values.read(_sigmoid(swish.name)) * self._read(values, node, 1)
        values.store(name, gate, FUSED_SIGMOID_PARAMS if node.name in self.stored else None)
        return self._read(values, swish) * values.read(name)

    def _integer_layer(self, node: Conv | Dense, x: Tensor) -> Tensor:
        key = _key(node.name)
        weight, scale, zero, bias = (
            getattr(self, f"{key}_{part}") for part in ("weight", "scale", "zero_point", "bias")
        )
        operators = torch.ops.quantized_decomposed
        weight = operators.dequantize_per_channel(weight, scale, zero, 0, *_WEIGHTS)
        if isinstance(node, Dense):
            return torch.nn.functional.linear(x, weight, bias)
        symmetric = node.pads[:2] == node.pads[2:]
        x = x if symmetric else padded(x, node, 0.0)
        if not symmetric:
            x = _requantize(x, self.plan.quant_params[node.inputs[0]])
        pads = node.pads[:2] if symmetric else (0, 0)
        return torch.nn.functional.conv2d(x, weight, bias, node.stride, pads, 1, node.groups)

    def _activation(self, node: Activation, values: _Values) -> Tensor:
        x = self._read(values, node)
        if node.kind == "swish":
            name = _sigmoid(node.name)
            integer = node.inputs[0] in self.stored
            values.store(name, torch.sigmoid(x), SIGMOID_PARAMS if integer else None)
            return self._read(values, node) * values.read(name)
        if node.name in self.stored and not self._in_float(node.name):
            params = self.plan.quant_params[node.name]
            clipped = node.kind == "relu" or (
                node.kind == "relu6" and params.high <= 6.0 + params.scale / 2
            )
            if params.zero_point == 0 and clipped:
                return x  # quantization clips already
        return ACTIVATIONS[node.kind](x)

    def _mean(self, node: GlobalAveragePool, x: Tensor) -> Tensor:
        mean = x.mean((2, 3), keepdim=True)
        if node.keepdims:
            return mean
        if node.name in self.stored and not self._in_float(node.name):
            mean = _requantize(mean, self.plan.quant_params[node.name])
        return mean.view(mean.shape[0], mean.shape[1])


class _Values:
    """Tensors by name: in float, and quantized if files store them so."""

    def __init__(self) -> None:
        self.floats: dict[str, Tensor] = {}
        self._indices: dict[str, tuple[Tensor, QuantParams]] = {}

    def store(self, name: str, value: Tensor, params: QuantParams | None) -> None:
        """Keep ``value``, quantized with ``params`` unless they are None."""
        self.floats[name] = value
        if params is not None:
            self._indices[name] = _quantize(value, params), params

    def read(self, name: str) -> Tensor:
        """The stored tensor, dequantized anew for each reader: XNNPACK's partitions need that."""
        if name in self._indices:
            return _dequantize(*self._indices[name])
        return self.floats[name]


def _sigmoid(name: str) -> str:
    """Name of the sigmoid in the swish ``name``."""
    return f"{name}/sigmoid"


def _requantize(value: Tensor, params: QuantParams) -> Tensor:
    """``value`` quantized to int8 with ``params``, and dequantized."""
    return _dequantize(_quantize(value, params), params)


def _quantize(value: Tensor, params: QuantParams) -> Tensor:
    return torch.ops.quantized_decomposed.quantize_per_tensor(value, *_arguments(params))


def _dequantize(indices: Tensor, params: QuantParams) -> Tensor:
    return torch.ops.quantized_decomposed.dequantize_per_tensor(indices, *_arguments(params))


def _arguments(params: QuantParams) -> tuple[object, ...]:
    return (float(np.float32(params.scale)), params.zero_point - _ZERO, *_INT8)


def _key(name: str) -> str:
    return name.replace(".", "_")
