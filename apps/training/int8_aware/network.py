"""FakeQuantizedNetwork: a plan as a trainable torch module, with one format's quantizer placement.

The forward pass computes what the format's integer kernels compute: int8 weights per output channel
under the pair rule, int32 biases, uint8 activations per tensor, the sigmoid's fixed quantization
parameters, and fused sigmoid gating. Weights are held in units of their channel's scale, changes of
biases in quantization steps of the layer's output, changes of activation scales as logarithms.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import torch

from edge_effnet.apps.training.int8_aware.fake_quantization import (
    fake_quantize,
    rounded_weights,
    straight_through,
)
from edge_effnet.calibration.activations.tie_free_scales import tie_free
from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    HARD_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    QuantizerPlacement,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import activation_of, quantized_tensors
from edge_effnet.calibration.weights.gptq import pair_stride
from edge_effnet.calibration.weights.sequential import BIAS_LIMIT
from edge_effnet.converters.frameworks.torch import Network
from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, Conv, MaxPool, Mul, Node

Tensor = torch.Tensor


class FakeQuantizedNetwork(Network):
    """A module from uint8 pixels [n, 3, height, width] to logits [n, classes].

    ``weights()``, ``biases()`` and ``log_scales`` are its parameters. At first its logits are the
    plan's.
    """

    def __init__(self, quantized: QuantizedModel, placement: QuantizerPlacement = "tflite") -> None:
        """Copy the integers of a plan into parameters.

        Args:
            quantized: The network and its plan with quantized activations.
            placement: The format whose quantizer placement and biases apply.

        Raises:
            UsageError: The plan quantizes weights only.
        """
        if not isinstance(quantized.plan, QuantPlan):
            raise UsageError("a weight-only plan has no activation scales to train")
        quantized = quantized.for_format(placement)
        model, plan = quantized.model, cast("QuantPlan", quantized.plan)
        weights = dict(model.weights)
        for name, layer in plan.layers.items():
            weights[f"{name}.weight"] = layer.weight.astype(np.float32)
            weights[f"{name}.bias"] = np.zeros(layer.bias.shape, np.float32)
        super().__init__(model.graph, weights, model.variant)
        self.plan = plan
        self.stored = quantized_tensors(model.graph, plan, placement)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(name.rpartition(".")[0] in plan.layers)
        self.learned = tuple(name for name in plan.quant_params if self._learns(name))
        self.log_scales = torch.nn.Parameter(torch.zeros(len(self.learned)))
        self.weight_scales = {
            name: torch.from_numpy(layer.scale.reshape(-1, *(1,) * (layer.weight.ndim - 1)))
            for name, layer in plan.layers.items()
        }
        self.first_biases = {
            name: torch.from_numpy(layer.bias.astype(np.float32))
            for name, layer in plan.layers.items()
        }
        self._scales: dict[str, Tensor] = {}
        self.eval()

    def weights(self) -> list[Tensor]:
        """Weights of the quantized layers in units of their channel's scale."""
        return [self._parameter(name, "weight") for name in self.plan.layers]

    def biases(self) -> list[Tensor]:
        """Changes of the biases of the quantized layers, in quantization steps of their outputs."""
        return [self._parameter(name, "bias") for name in self.plan.layers]

    def _parameter(self, layer: str, part: str) -> Tensor:
        return self.get_parameter(f"{layer}.{part}")

    def forward(self, image: Tensor) -> Tensor:
        """Logits of uint8 pixels, dequantized."""
        self._scales = self._current_scales()
        name = self.graph.input
        params = self.plan.quant_params[name]
        values = {name: (image.to(torch.float32) - params.zero_point) * params.scale}
        unrounded: dict[str, Tensor] = {}  # outputs of the float layers of mixed precision
        sigmoids: dict[str, tuple[Tensor, Tensor]] = {}  # swish -> (input, sigmoid)
        pending = {name: len(nodes) for name, nodes in self.graph.consumers.items()}
        for node in self.graph:
            in_float = node.name in self.plan.float_layers
            inputs = [
                unrounded[name] if in_float and name in unrounded else values[name]
                for name in node.inputs
            ]
            if isinstance(node, Activation) and node.kind in ("swish", "hard_swish"):
                gate = self._gate(node, inputs[0])
                sigmoids[node.name] = inputs[0], gate
                value = inputs[0] * gate
            elif isinstance(node, Mul) and node.name in self.plan.fused_gates:
                z, sigmoid = sigmoids[node.inputs[0]]
                gate = sigmoid * inputs[1]
                if node.name in self.stored:
                    gate = _quantize_fixed(gate, FUSED_SIGMOID_PARAMS)
                value = z * gate
            else:
                value = self._compute(node, inputs)
            if in_float:
                unrounded[node.name] = value
            values[node.name] = self._stored_value(node.name, value)
            for name in node.inputs:
                pending[name] -= 1
                if not pending[name]:
                    for tensors in (values, unrounded, sigmoids):
                        cast("dict[str, object]", tensors).pop(name, None)
        return values[self.graph.output]

    def _gate(self, node: Activation, x: Tensor) -> Tensor:
        """The factor by which a swish or hard swish multiplies its input ``x``."""
        if node.kind == "swish":
            gate, params = torch.sigmoid(x), SIGMOID_PARAMS
        else:
            gate, params = (x / 6 + 0.5).clamp(0, 1), HARD_SIGMOID_PARAMS
        return _quantize_fixed(gate, params) if node.inputs[0] in self.stored else gate

    def quant_plan(self) -> QuantPlan:
        """The plan with what was learned. Biases of other placements are not included."""
        quant_params = self._tie_free_params()
        layers = {}
        for name, layer in self.plan.layers.items():
            source = self.graph.by_name[name].inputs[0]
            weight, bias = (self._parameter(name, part) for part in ("weight", "bias"))
            integers = rounded_weights(weight, self._pairs(name)).cpu().numpy().astype(np.int8)
            change = bias.detach().cpu().numpy().astype(np.float64) * self._output_step(name)
            real = layer.bias * self.plan.quant_params[source].scale + change / layer.scale
            rounded = np.rint(real / quant_params[source].scale)
            rounded = np.clip(rounded, -BIAS_LIMIT, BIAS_LIMIT)
            layers[name] = LayerPlan(integers, layer.scale, rounded.astype(np.int32))
        return replace(self.plan, layers=layers, quant_params=quant_params, biases={})

    def _learns(self, name: str) -> bool:
        """Whether the scale of the tensor ``name`` is a parameter.

        Scales of the pixels and of sigmoids are fixed. The scale of the logits keeps its margin for
        larger logits (`calibration.activations.quantizers.HEADROOM`).
        """
        node = self.graph.by_name.get(name)
        fixed = node is None or name == self.graph.output or self._source(name) != name
        return not fixed and not (isinstance(node, Activation) and node.kind == "sigmoid")

    def _source(self, name: str) -> str:
        """The tensor whose quantization parameters ``name`` has: a max pooling has its input's."""
        node, params = self.graph.by_name.get(name), self.plan.quant_params
        if isinstance(node, MaxPool) and params[name] == params.get(node.inputs[0]):
            return self._source(node.inputs[0])
        return name

    def _output_step(self, name: str) -> float:
        """Quantization step of the output of the layer ``name``, or of its clipping activation."""
        params = self.plan.quant_params
        activation = activation_of(self.graph, name)
        return params[name if activation is None or name in params else activation.name].scale

    def _pairs(self, name: str) -> int:
        """Stride of the pair rule in the layer ``name``; 0 for no pair rule."""
        node = self.graph.by_name[name]
        if not self.plan.avx2_safe or (isinstance(node, Conv) and node.depthwise):
            return 0
        return pair_stride(self.plan.layers[name].weight.shape[1])

    def _tie_free_params(self) -> dict[str, QuantParams]:
        """Quantization parameters by tensor name, with the learned scales made tie-free."""
        params: dict[str, QuantParams] = dict(self.plan.quant_params)
        factors = np.exp(self.log_scales.detach().cpu().numpy().astype(np.float64))
        for name, factor in zip(self.learned, factors, strict=True):
            if factor != 1:
                scale = float(np.float32(params[name].scale * factor))
                params[name] = replace(params[name], scale=scale)
        params |= {name: params[self._source(name)] for name in params}
        return tie_free(self.graph, params)

    def _current_scales(self) -> dict[str, Tensor]:
        """The scale of every stored tensor, tie-free, with the gradient of its parameter."""
        params = self._tie_free_params()
        device = self.log_scales.device
        first = torch.tensor([self.plan.quant_params[name].scale for name in self.learned])
        exact = torch.tensor([params[name].scale for name in self.learned])
        learned = straight_through(
            first.to(device) * self.log_scales.exp(), exact.to(device)
        ).unbind()
        scales = dict(zip(self.learned, learned, strict=True))
        for name, value in params.items():
            source = self._source(name)
            scales[name] = scales.get(source, torch.tensor(value.scale, device=device))
        return scales

    def _stored_value(self, name: str, value: Tensor) -> Tensor:
        """``value`` of the tensor ``name``, fake-quantized if the format stores it quantized."""
        if name not in self.stored:
            return value
        return fake_quantize(value, self._scales[name], self.plan.quant_params[name].zero_point)

    def _layer(self, node: Node, x: Tensor) -> Tensor:
        """Output of a layer with its int8 weights and int32 bias, or of a float layer."""
        module = self.get_submodule(node.name)
        if node.name not in self.plan.layers:
            return cast("Tensor", module(x))
        weight, bias = (self._parameter(node.name, part) for part in ("weight", "bias"))
        scale = self.weight_scales[node.name].to(weight.device)
        integers = straight_through(weight, rounded_weights(weight, self._pairs(node.name)))
        source = node.inputs[0]
        now, first = self._scales[source], self.plan.quant_params[source].scale
        step = scale.flatten()
        change = bias * (self._output_step(node.name) / step)
        steps = (self.first_biases[node.name].to(bias.device) * first + change) / now
        real = straight_through(steps, steps.detach().round()) * (now * step)
        parameters = {"weight": integers * scale, "bias": real}
        return cast("Tensor", torch.func.functional_call(module, parameters, (x,)))


def _quantize_fixed(value: Tensor, params: QuantParams) -> Tensor:
    return fake_quantize(value, params.scale, params.zero_point)
