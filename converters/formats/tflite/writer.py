"""TFLite writer: a model and its plan -> .tflite, without TensorFlow or graph conversion.

The layout is NHWC with a batch of one. Tensors have the names of the graph's nodes; the input is
``image`` and the output ``logits``. The zero points of int8 files are the plan's minus 128. Layers
without a plan and float layers of mixed precision compute in float. A tensor has the dtype that its
node computes. It is converted for each reader that needs another dtype.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    Plan,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import fused_activations
from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.formats.tflite import metadata as tflite_metadata
from edge_effnet.converters.formats.tflite.activations import activation, in_float
from edge_effnet.converters.formats.tflite.concatenation import concatenation
from edge_effnet.converters.formats.tflite.flatbuffer import (
    Affine,
    Network,
    Operator,
    Options,
    Tensor,
    serialise,
)
from edge_effnet.converters.formats.tflite.heads import layer_norm
from edge_effnet.converters.formats.tflite.input import CommonInput, common_input
from edge_effnet.converters.formats.tflite.parameters import parameters
from edge_effnet.converters.formats.tflite.versions import (
    MUL_WIDE,
    Version,
    oldest_runtime,
    version_of,
)
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import (
    Activation,
    Add,
    Concat,
    Conv,
    Dense,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
    Shape,
    same_pads,
)
from edge_effnet.model import Model
from edge_effnet.names import IO, Precision

DType = Literal["float32", "int8", "uint8"]

OUTPUT, PROBABILITIES = "logits", "probabilities"
#: Output activation -> the operator of files that return probabilities.
_FINAL = {"softmax": "SOFTMAX", "sigmoid": "LOGISTIC"}

_SAME, _VALID = 0, 1  # enum Padding
_FUSED = {"relu": 1, "relu6": 3}  # enum ActivationFunctionType; 0 is none
_NOTHING_FUSED = ("FusedActivationFunction", 0)
_PAD_OPTIONS = {"PAD": "PadOptions", "PADV2": "PadV2Options"}


def write(model: Model, plan: Plan | None, card: ModelCard, io: IO = "uint8") -> bytes:
    """The .tflite file of ``model`` in the precision of ``card``; deterministic.

    Args:
        model: The network with BN folded.
        plan: Quantization plan; None for fp32 and fp16. For w8 and dynamic, the plan that
            `weights_only` returns.
        card: The card of the file.
        io: Input and output type of an int8 file. Files of other precisions use float32. If mixed
            precision keeps the last layer in float, or the card has probabilities, the output is
            float32.

    Raises:
        QuantizationError: The plan or float16 cannot represent the network.
    """
    common = common_input(model.info.preprocess) if plan is None else None
    if common is not None:
        card = replace(card, preprocess=common.preprocess)
    final = _FINAL[card.output_activation] if card.probabilities else None
    lowering = _Lowering(model, plan, card.precision, io, common, final)
    network = lowering.network()
    metadata = {
        "min_runtime_version": oldest_runtime(lowering.releases).encode().ljust(16, b"\0"),
        tflite_metadata.NAME: tflite_metadata.model_metadata(
            card, model.graph.input, PROBABILITIES if card.probabilities else OUTPUT
        ),
        CARD_KEY: card.to_json().encode(),
    }
    data = serialise(network, f"{card.variant} {card.precision} by {card.toolkit}", metadata)
    return tflite_metadata.append_labels(data, card.labels)


class _Lowering:
    """Translates nodes to operators, in order."""

    def __init__(
        self,
        model: Model,
        plan: Plan | None,
        precision: Precision,
        io: IO,
        common: CommonInput | None,
        final: str | None,
    ) -> None:
        self.final = final
        self.common = common
        self.graph, self.weights = model.graph, model.weights
        if common is not None:
            self.weights = common.fold(self.graph, self.weights)
        self.layers = {} if plan is None else plan.layers
        self.precision = precision
        int8 = plan if isinstance(plan, QuantPlan) else None
        self.integer = int8 is not None
        self.quant_params = {} if int8 is None else int8.quant_params
        self.float_layers = frozenset() if int8 is None else int8.float_layers
        self.fusable = frozenset() if int8 is None else int8.fused_gates
        self.takes: DType = io if self.integer else "float32"
        in_floats = final is not None or self.graph.output in self.float_layers
        self.gives: DType = "float32" if in_floats else self.takes
        self.fused = fused_activations(model.graph)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.releases: set[str] = set()
        self.native: dict[str, DType] = {}  # the dtype that each tensor is computed in
        self.by_dtype: dict[tuple[str, DType], int] = {}
        self.constants: dict[str, int] = {}
        self.sigmoids: dict[str, tuple[int, int]] = {}  # swish -> (input, sigmoid)

    def network(self) -> Network:
        first = self.define(self.graph.input, self.takes)
        if self.common is not None:
            self.normalise(first, self.common)
        for node in self.graph:
            if node not in self.fused.values():
                self.lower(node)
        last = self.fetch(self.graph.output, self.gives)
        if self.final is not None:
            beta = Options("SoftmaxOptions", (("Beta", 1.0),)) if self.final == "SOFTMAX" else None
            shape = self.graph.shapes[self.graph.output]
            logits, last = last, self.tensor(PROBABILITIES, shape, "float32")
            self.emit(self.final, [logits], last, beta)
        return Network(tuple(self.tensors), tuple(self.operators), first, last)

    def lower(self, node: Node) -> None:
        dtype = self.dtype_of(node)
        if isinstance(node, Conv):
            self.conv(node, dtype)
        elif isinstance(node, Dense):
            self.dense(node, dtype)
        elif isinstance(node, Activation):
            activation(self, node, dtype)
        elif isinstance(node, Add):
            options = Options("AddOptions", (self.fused_function(node),))
            inputs = [self.fetch(name, dtype) for name in node.inputs]
            self.emit("ADD", inputs, self.result(node, dtype), options)
        elif isinstance(node, Mul):
            inputs = [self.fetch(name, dtype) for name in node.inputs]
            if node.name in self.fusable:
                inputs = self.fused_gates(node, inputs[1], dtype)
            self.multiply(inputs, self.result(node, dtype))
        elif isinstance(node, GlobalAveragePool):
            options = Options("ReducerOptions", (("KeepDims", int(node.keepdims)),))
            axes = self.constant("spatial_axes", np.array([1, 2], np.int32))
            source = self.fetch(node.inputs[0], dtype)
            self.emit("MEAN", [source, axes], self.result(node, dtype), options)
        elif isinstance(node, MaxPool):
            self.max_pool(node, dtype)
        elif isinstance(node, Concat):
            concatenation(self, node, dtype)
        elif isinstance(node, LayerNorm):
            layer_norm(self, node, self.weights)
        else:
            raise TypeError(f"{node.name}: TFLite has no {type(node).__name__}; fold it first")

    def dtype_of(self, node: Node) -> DType:
        """Dtype in which ``node`` computes; nodes without weights use the dtype of their inputs."""
        if not self.integer or node.name in self.float_layers or in_float(self.graph, node):
            return "float32"
        if isinstance(node, (Conv, Dense)):
            return "int8" if node.name in self.layers else "float32"
        inputs = {self.native[name] for name in node.inputs}
        return "float32" if inputs == {"float32"} and not self.float_layers else "int8"

    # Operators

    def normalise(self, source: int, common: CommonInput) -> None:
        """Append an ADD: with the folded factors, it gives the normalisation per channel."""
        name = self.graph.input
        shape = self.graph.shapes[name]
        shift = self.constant(f"{name}.shift", common.rows(shape[2]))
        normalised = self.tensor(f"{name}.normalised", shape, "float32")
        options = Options("AddOptions", (_NOTHING_FUSED,))
        self.emit("ADD", [source, shift], normalised, options)
        self.by_dtype[name, "float32"] = normalised

    def conv(self, node: Conv, dtype: DType) -> None:
        source, padding = self.padded(node, dtype, "PAD")
        options = (
            ("Padding", padding),
            ("StrideW", node.stride),
            ("StrideH", node.stride),
            ("DilationWFactor", 1),
            ("DilationHFactor", 1),
            self.fused_function(node),
        )
        if node.depthwise:  # XNNPACK does not run depthwise layers with a multiplier of 0
            code = "DEPTHWISE_CONV_2D"
            kind = Options("DepthwiseConv2DOptions", (*options, ("DepthMultiplier", 1)))
        else:
            code, kind = "CONV_2D", Options("Conv2DOptions", options)
        self.emit(code, [source, *self.parameters(node)], self.result(node, dtype), kind)

    def dense(self, node: Dense, dtype: DType) -> None:
        fields: tuple[tuple[str, int], ...] = (self.fused_function(node),)
        if self.precision == "dynamic":
            fields = (*fields, ("AsymmetricQuantizeInputs", 1))
        source = self.fetch(node.inputs[0], dtype)
        inputs, options = [source, *self.parameters(node)], Options("FullyConnectedOptions", fields)
        self.emit("FULLY_CONNECTED", inputs, self.result(node, dtype), options)

    def multiply(self, inputs: list[int], output: int) -> None:
        affines = [self.tensors[index].affine for index in (*inputs, output)]
        first, second, out = (0.0 if it is None else float(it.scale[0]) for it in affines)
        wide = bool(out) and first * second >= out
        options = Options("MulOptions", (_NOTHING_FUSED,))
        self.emit("MUL", inputs, output, options, MUL_WIDE if wide else None)

    def fused_gates(self, node: Mul, factor: int, dtype: DType) -> list[int]:
        """Append sigmoid(z) * gate for ``node``, swish(z) * gate; returns z and the new tensor."""
        source, sigmoid = self.sigmoids[node.inputs[0]]
        shape = self.graph.shapes[node.name]
        both = self.tensor(f"{node.name}.gate", shape, dtype, FUSED_SIGMOID_PARAMS)
        self.multiply([sigmoid, factor], both)
        return [source, both]

    def max_pool(self, node: MaxPool, dtype: DType) -> None:
        """Append a max pooling, and a QUANTIZE if input and output parameters differ."""
        source, padding = self.padded(node, dtype, "PADV2")
        options = (
            ("Padding", padding),
            ("StrideW", node.stride),
            ("StrideH", node.stride),
            ("FilterWidth", node.kernel),
            ("FilterHeight", node.kernel),
            _NOTHING_FUSED,
        )
        kind = Options("Pool2DOptions", options)
        if dtype == "float32" or self.params(node.name) == self.params(node.inputs[0]):
            self.emit("MAX_POOL_2D", [source], self.result(node, dtype), kind)
            return
        shape, params = self.graph.shapes[node.name], self.params(node.inputs[0])
        pooled = self.tensor(f"{node.name}.pooled", shape, dtype, params)
        self.emit("MAX_POOL_2D", [source], pooled, kind)
        self.emit("QUANTIZE", [pooled], self.result(node, dtype))

    def padded(self, node: Conv | MaxPool, dtype: DType, code: str) -> tuple[int, int]:
        """The input of ``node``, after a PAD if needed, and the padding mode of the kernel."""
        name = node.inputs[0]
        source, shape = self.fetch(name, dtype), self.graph.shapes[name]
        if node.pads == same_pads(shape, node.kernel, node.stride):
            return source, _SAME
        if not any(node.pads):
            return source, _VALID
        top, left, bottom, right = node.pads
        widths = np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32)
        inputs = [source, self.constant("pads_" + "_".join(map(str, node.pads)), widths)]
        params = self.params_in(name, dtype)
        if code == "PADV2":  # a maximum must ignore the padding
            inputs.append(self.lowest(params))
        wider = (shape[0], shape[1] + top + bottom, shape[2] + left + right)
        padded = self.tensor(f"{node.name}.pad", wider, dtype, params)
        self.emit(code, inputs, padded, Options(_PAD_OPTIONS[code]))
        return padded, _VALID

    # Tensors

    def define(self, name: str, dtype: DType) -> int:
        """Append the tensor that the node ``name`` computes."""
        self.native[name] = dtype
        return self.store(name, dtype)

    def result(self, node: Node, dtype: DType) -> int:
        """Append the output tensor of ``node``, or of the activation fused into it."""
        return self.define(self.fused.get(node.name, node).name, dtype)

    def fetch(self, name: str, dtype: DType) -> int:
        """Tensor ``name`` in ``dtype``, converted on the first request."""
        if (name, dtype) not in self.by_dtype:
            source = self.by_dtype[name, self.native[name]]
            code = "DEQUANTIZE" if dtype == "float32" else "QUANTIZE"
            self.emit(code, [source], self.store(name, dtype))
        return self.by_dtype[name, dtype]

    def store(self, name: str, dtype: DType) -> int:
        """Append a tensor for ``name`` in ``dtype``."""
        shape, params = self.graph.shapes[name], self.params_in(name, dtype)
        self.by_dtype[name, dtype] = self.tensor(self.title(name, dtype), shape, dtype, params)
        return self.by_dtype[name, dtype]

    def title(self, name: str, dtype: DType) -> str:
        """Name of a tensor: ``logits``, the node's name, or the node's name with ``dtype``."""
        if name == self.graph.output and dtype == self.gives:
            return OUTPUT
        return name if self.native.get(name, dtype) == dtype else f"{name}.{dtype}"

    def params(self, name: str) -> QuantParams:
        """Quantization parameters of tensor ``name``."""
        node = self.graph.by_name.get(name)
        if isinstance(node, Activation) and node.kind == "sigmoid":
            return SIGMOID_PARAMS
        if name not in self.quant_params:
            raise QuantizationError(
                f"the quantization plan has no quantization parameters for the tensor {name}, "
                "which TFLite stores; calibrate again"
            )
        return self.quant_params[name]

    def params_in(self, name: str, dtype: DType) -> QuantParams | None:
        return None if dtype == "float32" else self.params(name)

    def tensor(
        self, name: str, shape: Shape, dtype: DType, params: QuantParams | None = None
    ) -> int:
        """Append a tensor with a ``shape`` of the graph; float32 tensors ignore ``params``."""
        affine = None
        if dtype != "float32" and params is not None:
            zero_point = params.zero_point - (128 if dtype == "int8" else 0)
            affine = Affine(np.array([params.scale], np.float32), np.array([zero_point], np.int64))
        return self.append(Tensor(name, _nhwc(shape), dtype, affine=affine))

    def parameters(self, node: Conv | Dense) -> list[int]:
        """Append weight and bias of ``node``."""
        mixed = node.name in self.float_layers
        layer = None if mixed else self.layers.get(node.name)
        params = self.params(node.inputs[0]) if layer is not None and self.integer else None
        constants = parameters(node, self.weights, layer, params, self.precision, mixed)
        weight = self.append(constants.weight)
        if constants.widened:
            stored = weight
            weight = self.append(Tensor(f"{node.name}.weight", constants.weight.shape, "float32"))
            self.emit("DEQUANTIZE", [stored], weight)
        return [weight, self.append(constants.bias)]

    def constant(self, name: str, values: NDArray[np.generic], affine: Affine | None = None) -> int:
        """Append a small constant; the same name is written once."""
        if name not in self.constants:
            tensor = Tensor(name, values.shape, str(values.dtype), values, affine)
            self.constants[name] = self.append(tensor)
        return self.constants[name]

    def lowest(self, params: QuantParams | None) -> int:
        """Padding value of a max pooling: the lowest value of the tensor's type."""
        if params is None:
            return self.constant("lowest", np.array(np.finfo(np.float32).min, np.float32))
        scale = np.array([params.scale], np.float32)
        affine = Affine(scale, np.array([params.zero_point - 128], np.int64))
        name = f"lowest_{params.scale!r}_{params.zero_point}"
        return self.constant(name, np.array(-128, np.int8), affine)

    def append(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def fused_function(self, node: Conv | Dense | Add) -> tuple[str, int]:
        activation = self.fused.get(node.name)
        return "FusedActivationFunction", _FUSED[activation.kind] if activation else 0

    def emit(
        self,
        code: str,
        inputs: list[int],
        output: int,
        options: Options | None = None,
        version: Version | None = None,
    ) -> None:
        number, release = version or version_of(code, [self.tensors[index] for index in inputs])
        self.releases.add(release)
        operator = Operator(code, number, tuple(inputs), (output,), options)
        self.operators.append(operator)


def _nhwc(shape: Shape) -> tuple[int, ...]:
    """NHWC shape with a batch of one: (C, H, W) -> (1, H, W, C), (C,) -> (1, C)."""
    return (1, *shape[1:], shape[0])
