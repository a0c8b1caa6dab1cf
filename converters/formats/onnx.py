"""ONNX writer: a model and its plan, node by node through the onnx package's helpers.

Float models take normalised float32 NCHW. int8 models are QDQ graphs that take uint8 NCHW pixels or
normalised float32 NCHW. Activations are uint8 with scalar scales and zero points. Weights are int8
per output channel or per tensor, as in the plan. Biases are int32 behind DequantizeLinear. ONNX
Runtime and OpenVINO compile QDQ graphs to integer kernels. Opset 13 is the first with per-channel
DequantizeLinear; nothing newer is needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    Plan,
    QuantizerPlacement,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import quantized_tensors
from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.formats.final_activation import with_probabilities
from edge_effnet.converters.formats.model_api import model_info
from edge_effnet.converters.formats.onnx_activations import (
    HEAD_FUNCTIONS,
    integer_hard_swish,
    layer_norm,
)
from edge_effnet.converters.formats.unwritable import fits_half
from edge_effnet.errors import require
from edge_effnet.graph import (
    Activation,
    Add,
    BatchNorm,
    Concat,
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
from edge_effnet.names import IO, Batch
from edge_effnet.version import VERSION

onnx = require("onnx", "export")

OPSET = 13
IR_VERSION = 8  # IR version of ONNX 1.10 (2021); every runtime with opset 13 reads it
OUTPUT = "logits"
_PARTS = ("weight", "bias")
_WIDE = (("lowest", -1e6), ("highest", 1e6))
_CLIP = (("zero", 0.0), ("six", 6.0))  # ReLU6's limits, by the names of their constants


def write(
    model: Model, plan: Plan | None, card: ModelCard, io: IO = "uint8", batch: Batch = 1
) -> bytes:
    """The ONNX file of a model with BN folded, in the precision of ``card``.

    fp16 stores float16 weights, which are cast to float32 at load. This halves the size.

    Args:
        model: The network.
        plan: Quantization plan for int8 and w8; None for fp32 and fp16.
        card: The card of the file.
        io: Input type of an int8 file, uint8 or float32. The output is always float32.
        batch: Batch size.
    """
    half, floats = card.precision == "fp16", io == "float32"
    graph, weights, size = model.graph, model.weights, symbol(batch)
    proto = build(graph, weights, plan, half=half, batch=size, float_input=floats)
    with_probabilities(proto, card)
    entries = {CARD_KEY: card.to_json(), **model_info(card)}
    onnx.helper.set_model_props(proto, entries)
    return bytes(proto.SerializeToString(deterministic=True))


def symbol(batch: Batch) -> int | str:
    """The first dimension of the input and output shapes for a batch size."""
    return "batch" if batch == "dynamic" else batch


def build(
    graph: Graph,
    weights: Weights,
    plan: Plan | None = None,
    *,
    half: bool = False,
    batch: int | str = 1,
    outputs: Sequence[str] | None = None,
    placement: QuantizerPlacement = "onnx",
    integer_output: bool = False,
    float_input: bool = False,
) -> Any:
    """The ModelProto of ``graph``; a weight-only plan gives integer weights and float tensors.

    Args:
        graph: The network, with BN folded or not.
        weights: Weights of the network by name.
        plan: Quantization plan; None for float.
        half: Whether weights are stored as float16.
        batch: Batch size, or a name for any size.
        outputs: Names of the tensors to return. None returns the graph's output as ``logits``.
        placement: Format whose quantizer placement applies.
        integer_output: Whether the output is uint8 with its quantization parameters.
        float_input: Whether a quantized graph takes float32 instead of uint8 and quantizes it.
    """
    emitter = _Emitter(graph, weights, plan, half, placement)
    takes_pixels = isinstance(plan, QuantPlan) and not float_input
    emitter.emit_input(takes_pixels)
    for node in graph:
        emitter.emit(node)
    float32, uint8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    if integer_output:
        output_shapes = {emitter.indices[graph.output]: graph.shapes[graph.output]}
    elif outputs is None:
        emitter.rename(graph.output, OUTPUT)
        output_shapes = {OUTPUT: graph.shapes[graph.output]}
    else:
        output_shapes = {emitter.values[name]: graph.shapes[name] for name in outputs}
    value = onnx.helper.make_tensor_value_info
    graph_proto = onnx.helper.make_graph(
        emitter.nodes,
        "edge_effnet",
        [value(graph.input, uint8 if takes_pixels else float32, [batch, *graph.input_shape])],
        [
            value(name, uint8 if integer_output else float32, [batch, *shape])
            for name, shape in output_shapes.items()
        ],
        emitter.initializers,
    )
    return onnx.helper.make_model(
        graph_proto,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="edge-effnet",
        producer_version=VERSION,
    )


@dataclass
class _Emitter:
    """The ONNX nodes and initializers of one graph."""

    graph: Graph
    weights: Weights
    plan: Plan | None
    half: bool
    placement: QuantizerPlacement
    nodes: list[Any] = field(default_factory=list)
    initializers: list[Any] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)  # tensor of the graph -> ONNX value
    indices: dict[str, str] = field(default_factory=dict)  # tensor -> value before DequantizeLinear
    raw: dict[str, str] = field(default_factory=dict)  # outputs of float nodes before quantization
    sigmoids: dict[str, tuple[str, str]] = field(default_factory=dict)  # swish -> (input, sigmoid)
    known: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        int8 = self.plan if isinstance(self.plan, QuantPlan) else None
        self.layers = {} if self.plan is None else self.plan.layers
        self.quant_params = {} if int8 is None else int8.quant_params
        self.float_layers = frozenset() if int8 is None else int8.float_layers
        self.fusable = frozenset() if int8 is None else int8.fused_gates
        self.quantized = frozenset(
            () if int8 is None else quantized_tensors(self.graph, int8, self.placement)
        )

    def op(self, kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        self.nodes.append(
            onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes)
        )
        return output

    def constant(self, name: str, values: NDArray[Any]) -> str:
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(onnx.numpy_helper.from_array(values, name))
        return name

    def rename(self, tensor: str, name: str) -> None:
        """Rename the value of ``tensor`` in the file."""
        old = self.values[tensor]
        for node in self.nodes:
            for names in (node.input, node.output):
                for index, value in enumerate(names):
                    if value == old:
                        names[index] = name
        self.values[tensor] = name

    def emit_input(self, takes_pixels: bool) -> None:
        name = self.graph.input
        self.values[name] = name
        if name in self.quantized:
            params, indices = self.quant_params[name], name
            if not takes_pixels:
                indices = self.op("QuantizeLinear", [name, *self.params(name, params)], f"{name}/q")
            self.values[name] = self.dequantize(indices, name, params)

    def emit(self, node: Node) -> None:
        inputs = [self.read(name, node) for name in node.inputs]
        value = self._float_value(node, inputs)
        if self.in_float(node.name):
            self.raw[node.name] = value
        if node.name in self.quantized:
            if self.in_float(node.name) and isinstance(node, (Conv, Dense)):
                # ONNX Runtime would quantize the weights of a float layer between DequantizeLinear
                # and QuantizeLinear, with one scale for all.
                value = self.unclipped(value, node.name)
            params = self.quant_params[node.name]
            inputs = [value, *self.params(node.name, params)]
            indices = self.op("QuantizeLinear", inputs, f"{node.name}/q")
            self.indices[node.name] = indices
            value = self.dequantize(indices, node.name, params)
        self.values[node.name] = value

    def in_float(self, name: str) -> bool:
        """Whether the node ``name`` is a float layer of mixed precision."""
        return name in self.float_layers

    def read(self, name: str, reader: Node) -> str:
        """Name of the value of tensor ``name`` for ``reader``.

        Between two float layers of mixed precision, the value that was not quantized.
        """
        if name in self.raw and self.in_float(reader.name):
            return self.raw[name]
        return self.values[name]

    def unclipped(self, value: str, name: str) -> str:
        """Append a Clip that changes no value, because it prevents fusions by ONNX Runtime."""
        limits = [self.constant(n, np.array(v, np.float32)) for n, v in _WIDE]
        return self.op("Clip", [value, *limits], f"{name}/clip")

    def _float_value(self, node: Node, inputs: list[str]) -> str:
        if isinstance(node, Conv):
            top, left, bottom, right = node.pads
            return self.op(
                "Conv",
                [*inputs, *self.parameters(node)],
                node.name,
                kernel_shape=[node.kernel] * 2,
                strides=[node.stride] * 2,
                pads=[top, left, bottom, right],
                group=node.groups,
            )
        if isinstance(node, Dense):
            return self.op("Gemm", [*inputs, *self.parameters(node)], node.name, transB=1)
        if isinstance(node, Activation):
            return self.activation(node, inputs[0])
        if isinstance(node, Add):
            return self.op("Add", inputs, node.name)
        if isinstance(node, Concat):
            return self.op("Concat", inputs, node.name, axis=1)
        if isinstance(node, Mul):
            if node.name in self.fusable:
                inputs = self.fused_gates(node, inputs[1])
            return self.op("Mul", inputs, node.name)
        if isinstance(node, GlobalAveragePool):
            return self.pool(node, inputs[0])
        if isinstance(node, MaxPool):
            return self.op(
                "MaxPool",
                inputs,
                node.name,
                kernel_shape=[node.kernel] * 2,
                strides=[node.stride] * 2,
                pads=list(node.pads),
            )
        if isinstance(node, LayerNorm):
            parameters = [self.weight(f"{node.name}.{part}") for part in _PARTS]
            return layer_norm(self, node, inputs[0], *parameters)
        if isinstance(node, BatchNorm):
            names = ("weight", "bias", "running_mean", "running_var")
            stats = [self.weight(f"{node.name}.{name}") for name in names]
            return self.op("BatchNormalization", [*inputs, *stats], node.name, epsilon=node.eps)
        raise TypeError(f"no ONNX form for {type(node).__name__} ({node.name})")

    def activation(self, node: Activation, value: str) -> str:
        if node.kind == "sigmoid":
            return self.op("Sigmoid", [value], node.name)
        if node.kind == "swish":
            name = f"{node.name}/sigmoid"
            sigmoid = self.op("Sigmoid", [value], name)
            if node.inputs[0] in self.quantized:
                # Two integer kernels, as in TFLite: a lookup table and a product.
                sigmoid = self.quantize_dequantize(sigmoid, name, SIGMOID_PARAMS)
            self.sigmoids[node.name] = value, sigmoid
            return self.op("Mul", [value, sigmoid], node.name)
        integer = node.inputs[0] in self.quantized and not self.in_float(node.name)
        if node.kind == "hard_swish" and integer:
            return integer_hard_swish(self, node.name, value, self.quant_params[node.inputs[0]])
        if node.kind in HEAD_FUNCTIONS:
            return HEAD_FUNCTIONS[node.kind](self, node.name, value)
        if node.name in self.quantized and not self.in_float(node.name):
            params = self.quant_params[node.name]
            # Quantization over [0, 6] already clips.
            if params.zero_point == 0 and (
                node.kind == "relu" or params.high <= 6.0 + params.scale / 2
            ):
                return value
        if node.kind == "relu":
            return self.op("Relu", [value], node.name)
        limits = [self.constant(name, np.array(value, np.float32)) for name, value in _CLIP]
        return self.op("Clip", [value, *limits], node.name)

    def fused_gates(self, node: Mul, factor: str) -> list[str]:
        """Append sigmoid(z) * gate of a squeeze-excite product with fused sigmoid gating.

        Args:
            node: The squeeze-excite product, whose first input is the swish of z.
            factor: Name of the gate's value.

        Returns:
            Names of the two values to multiply: z, and sigmoid(z) * gate.
        """
        value, sigmoid = self.sigmoids[node.inputs[0]]
        name = f"{node.name}/gate"
        both = self.op("Mul", [sigmoid, factor], name)
        if node.name in self.quantized:
            both = self.quantize_dequantize(both, name, FUSED_SIGMOID_PARAMS)
        return [value, both]

    def pool(self, node: GlobalAveragePool, value: str) -> str:
        if node.keepdims:
            return self.op("GlobalAveragePool", [value], node.name)
        mean = self.op("GlobalAveragePool", [value], f"{node.name}/mean")
        if node.name in self.quantized and not self.in_float(node.name):
            # Quantized before and after Flatten, which then only moves bytes.
            mean = self.quantize_dequantize(mean, f"{node.name}/mean", self.quant_params[node.name])
        return self.op("Flatten", [mean], node.name, axis=1)

    def parameters(self, node: Conv | Dense) -> list[str]:
        """Names of the float values of weight and bias; stored integers are dequantized."""
        if node.name in self.layers and not self.in_float(node.name):
            layer = self.layers[node.name]
            if not isinstance(self.plan, QuantPlan):
                weight = self._widened(f"{node.name}.weight", layer)
                return [weight, *([self.weight(f"{node.name}.bias")] if node.bias else [])]
            weight = self._dequantized(f"{node.name}.weight", layer.weight, layer.file_scale)
            scale = np.float32(self.quant_params[node.inputs[0]].scale) * layer.file_scale
            return [weight, self._dequantized(f"{node.name}.bias", layer.bias, scale)]
        names = [f"{node.name}.weight"] + ([f"{node.name}.bias"] if node.bias else [])
        # Float layers of mixed precision have float16 weights, as all layers of fp16 files.
        half = self.half or (self.in_float(node.name) and fits_half(self.weights[names[0]]))
        return [self.weight(name, half and name == names[0]) for name in names]

    def weight(self, name: str, half: bool = False) -> str:
        values = self.weights[name]
        if not (half or self.half):
            return self.constant(name, values)
        stored = self.constant(f"{name}/half", values.astype(np.float16))
        return self.op("Cast", [stored], name, to=onnx.TensorProto.FLOAT)

    def _widened(self, name: str, layer: LayerPlan) -> str:
        """int8 weights converted to float32 by Cast and Mul.

        ONNX Runtime folds Cast and Mul at load, but runs a DequantizeLinear of weights at every
        inference, which triples the latency of fp32. OpenVINO reads both as compressed weights.
        """
        if self.placement == "openvino":
            return self._dequantized(name, layer.weight, layer.file_scale)
        stored = self.constant(name, layer.weight)
        cast = self.op("Cast", [stored], f"{name}/cast", to=onnx.TensorProto.FLOAT)
        scale = layer.scale.reshape(-1, *(1,) * (layer.weight.ndim - 1))
        return self.op("Mul", [cast, self.constant(f"{name}/scale", scale)], f"{name}/float")

    def _dequantized(self, name: str, values: NDArray[Any], scale: NDArray[np.float32]) -> str:
        inputs = [
            self.constant(name, values),
            self.constant(f"{name}/scale", scale),
            self.constant(f"{name}/zero_point", np.zeros(scale.shape, values.dtype)),
        ]
        axis = {"axis": 0} if scale.ndim else {}
        return self.op("DequantizeLinear", inputs, f"{name}/dq", **axis)

    def quantize_dequantize(self, value: str, name: str, params: QuantParams) -> str:
        """``value`` quantized with ``params`` and dequantized."""
        indices = self.op("QuantizeLinear", [value, *self.params(name, params)], f"{name}/q")
        return self.dequantize(indices, name, params)

    def dequantize(self, indices: str, name: str, params: QuantParams) -> str:
        return self.op("DequantizeLinear", [indices, *self.params(name, params)], f"{name}/dq")

    def params(self, name: str, params: QuantParams) -> list[str]:
        return [
            self.constant(f"{name}/scale", np.array(params.scale, np.float32)),
            self.constant(f"{name}/zero_point", np.array(params.zero_point, np.uint8)),
        ]
