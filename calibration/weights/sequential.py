"""The walk over the network: every layer solved from what its inputs are once those before it are.

Activations between the layers are carried as the integers that a device would hold, on the samples
that layers are solved on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.calibration.activations.statistics import CalibrationStatistics
from edge_effnet.calibration.engine import Engine, Floats, Indices
from edge_effnet.calibration.plan import (
    FUSED_SIGMOID_PARAMS,
    SIGMOID_PARAMS,
    LayerPlan,
    Placement,
    QuantParams,
    QuantPlan,
)
from edge_effnet.calibration.quantizer_placement import activation_of, quantized_tensors
from edge_effnet.calibration.weights import gptq
from edge_effnet.calibration.weights.reconstruction import (
    LayerReconstruction,
    Method,
    QuantizedLayer,
    fit,
    shift_of,
    solve,
    total,
)
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Mul,
    Node,
)
from edge_effnet.model import Model

_Any = TypeVar("_Any", bound=np.generic)
Held = NDArray[Any]  # uint8 on a grid, or float16: finer than any grid, half of float32's memory
_CHUNK = 16
_HALF_MAX = 65504.0  # the largest float16
_LEVELLED = 2048  # positions that a bias is found from where the integers are given
_BLOCKS = 256  # of a layer's sites that are computed together
#: A bias beyond this leaves no room for the sum of products in an int32 accumulator.
_BIAS_LIMIT = 2**30 - 2**10  # with room for float32's rounding of the scale that keeps to it


@dataclass
class Walk:
    """The walk's state: ``held`` are the tensors that later nodes still read.

    They are the integers of their grid, or float where one of ``float_layers`` made them or a file of
    ``placement`` does not store them so.

    ``model``'s input is one that a single grid can hold (`pixels.share_input_normalization`). Where
    integers are ``given``, from a walk in another placement, they stay, and ``biases`` are found
    for them. ``fused_gates`` products of gates are made as files of the plan make them.
    """

    model: Model
    seen: CalibrationStatistics
    engine: Engine
    method: Method
    avx2_safe: bool
    quant_params: Mapping[str, QuantParams]
    placement: Placement = "tflite"
    float_layers: frozenset[str] = frozenset()
    given: QuantPlan | None = None
    fused_gates: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        plan = QuantPlan({}, self.quant_params, "", float_layers=self.float_layers)
        self.stored = quantized_tensors(self.model.graph, plan, self.placement)
        self.layers: dict[str, LayerPlan] = {}
        self.weights: dict[str, Floats] = {}
        self.biases: dict[str, NDArray[Any]] = {}
        self.held: dict[str, Held] = {}
        # What joint gates multiply: the tensor before each swish, by the swish's name.
        by_name = self.model.graph.by_name
        self.before: dict[str, Indices] = {
            by_name[name].inputs[0]: np.empty(0, np.uint8) for name in self.fused_gates
        }
        self.last_reader = {name: node.name for node in self.model.graph for name in node.inputs}

    def start(self, pixels: NDArray[np.uint8]) -> None:
        """Take the samples that layers are solved on as the first tensor."""
        graph = self.model.graph
        solved = next((len(s.top) for s in self.seen.sampled.values()), len(pixels))
        self.held[graph.input] = np.ascontiguousarray(pixels[:solved].transpose(0, 3, 1, 2))

    def step(self, node: Node) -> None:
        """Solve or compute one node; raises `QuantizationError` if it has no integer form."""
        graph = self.model.graph
        if isinstance(node, Dense) or (isinstance(node, Conv) and _solvable(node)):
            activation = activation_of(graph, node.name)
            if self.given is None:
                self._solve(node, activation)
            else:
                self._level(node, activation, self.given)
            if node.name != graph.output:
                made = node.name if activation is None else activation.name
                self.held[made] = self._run(node, activation)
        elif isinstance(node, Activation) and node.name in self.held:
            pass  # the layer or the sum before it has made it
        elif isinstance(node, (Add, Mul, GlobalAveragePool)):
            activation = activation_of(graph, node.name)
            made = node.name if activation is None else activation.name
            self.held[made] = self._pointwise(node, made, ActivationFunction.of(activation))
        elif isinstance(node, MaxPool):
            self.held[node.name] = self._max_pool(node)
        else:
            raise QuantizationError(
                f"{node.name}: {type(node).__name__} has no int8 form yet; export fp32 or fp16"
            )
        for name in node.inputs:
            if self.last_reader[name] == node.name:
                self.held.pop(name, None)
                self.before.pop(name, None)

    def _solve(self, node: Conv | Dense, activation: Activation | None) -> None:
        """Integers for one layer, or floats, from its inputs as they are and float targets."""
        params, weight = (
            self.quant_params[node.inputs[0]],
            self.model.weights[f"{node.name}.weight"],
        )
        rows = self._values(_rows(node, self._inputs(node)), params)
        mean = total(rows) / np.float32(rows.shape[-2])
        rows -= mean[..., None, :]
        depthwise = rows.ndim == 3
        problem = LayerReconstruction(
            rows=rows,
            mean=mean,
            targets=self.seen.targets[node.name],
            weight=_to_matrix(weight),
            bias=self.model.weights[f"{node.name}.bias"],
            function=ActivationFunction.of(activation),
            pairs=gptq.pair_step(weight.shape[1]) if self.avx2_safe and not depthwise else 0,
        )
        if node.name in self.float_layers:
            fitted, bias = fit(problem, self.method)
            self.weights[f"{node.name}.weight"] = _from_matrix(fitted, weight.shape)
            self.weights[f"{node.name}.bias"] = bias
        else:
            self.layers[node.name] = _planned(solve(problem, self.method), weight.shape, params)

    def _level(self, node: Conv | Dense, activation: Activation | None, given: QuantPlan) -> None:
        """The bias of a layer whose weights are ``given``, from its inputs as they are."""
        source, inputs = node.inputs[0], self._inputs(node)
        params, layer = self.quant_params[source], given.layers.get(node.name)
        names = f"{node.name}.weight", f"{node.name}.bias"
        weight = given.weights[names[0]] if layer is None else layer.float_weight()
        bias = self.model.weights[names[1]]
        unpadded = replace(node, pads=(0, 0, 0, 0)) if isinstance(node, Conv) else node
        graph = Graph(source, inputs.shape[1:], (unpadded,))
        run = self.engine.compile_float(
            graph, dict(zip(names, (weight, bias), strict=True)), [node.name]
        )
        parts = []
        for start in range(0, len(inputs), _BLOCKS):
            made = run(self._values(inputs[start : start + _BLOCKS], params))[node.name]
            parts.append(np.moveaxis(made, 1, 0).reshape(made.shape[1], -1))
        outputs = np.concatenate(parts, axis=1)
        if self.method.bias_correction:
            some = slice(None, None, max(1, outputs.shape[1] // _LEVELLED))
            targets = self.seen.targets[node.name][:, some]
            bias = bias + shift_of(outputs[:, some], targets, ActivationFunction.of(activation))
        self.biases[node.name] = bias
        if layer is not None:
            unit = np.float64(np.float32(params.scale)) * layer.scale
            steps = np.clip(np.rint(bias / unit), -_BIAS_LIMIT, _BIAS_LIMIT).astype(np.int32)
            self.biases[node.name] = steps
            bias = replace(layer, bias=steps).float_bias(params.scale)
        self.weights |= dict(zip(names, (weight, bias), strict=True))

    def _inputs(self, node: Conv | Dense) -> Held:
        """What the layer reads at its sites: blocks [n, channels, t, t], or rows."""
        held = self._read(node.inputs[0], node)
        if isinstance(node, Dense):
            return held
        padding = self.quant_params[node.inputs[0]].zero_point if held.dtype == np.uint8 else 0
        return self.seen.sampled[node.name].inputs(held, node, padding)

    def _read(self, name: str, reader: Node) -> Held:
        """The tensor as ``reader`` takes it: a node that is not in float reads integers."""
        held = self.held[name]
        if held.dtype != np.uint8 and reader.name not in self.float_layers and name in self.stored:
            return self.quant_params[name].quantize(held.astype(np.float32))
        return held

    @staticmethod
    def _values(held: Held, params: QuantParams) -> Floats:
        return params.dequantize(held) if held.dtype == np.uint8 else held.astype(np.float32)

    def _run(self, node: Conv | Dense, activation: Activation | None) -> Held:
        """What the layer and its activation make of the whole samples."""
        source = node.inputs[0]
        held = self._read(source, node)
        in_float = node.name in self.float_layers
        # On grids, an activation that does not clip is a table from indices to indices.
        table = None
        if activation is not None and node.name in self.stored and not in_float:
            table = activation_table(
                activation.kind, self.quant_params[node.name], self.quant_params[activation.name]
            )
        nodes = (node,) if activation is None or table is not None else (node, activation)
        graph = Graph(source, self.model.graph.shapes[source], nodes)
        run: Callable[[Held], Held]
        if in_float or self.given is not None:
            run = self._in_floats(graph, node)
        else:
            run = self.engine.compile_integer(graph, QuantPlan(self.layers, self.quant_params, ""))
        made: Held = np.empty(0)
        for start in range(0, len(held), _CHUNK):
            part = run(held[start : start + _CHUNK])
            if not start:
                made = np.empty((len(held), *part.shape[1:]), part.dtype)
            made[start : start + len(part)] = part
        if activation is None or table is None:
            return made
        if activation.name in self.before:
            self.before[activation.name] = made
        return _translated(made, table)

    def _in_floats(self, graph: Graph, node: Conv | Dense) -> Callable[[Held], Held]:
        """``graph``, which begins with ``node``, in float arithmetic on what its input holds."""
        float_layers = self.engine.compile_float(graph, self.weights, [graph.output])
        params = self.quant_params[graph.input]
        return lambda part: self._hold(
            float_layers(self._values(part, params))[graph.output], graph.output, node
        )

    def _hold(self, values: Floats, name: str, maker: Node) -> Held:
        """What ``maker`` gives as the tensor ``name``: integers, unless it stays in float."""
        if maker.name in self.float_layers or name not in self.stored:
            return np.clip(values, -_HALF_MAX, _HALF_MAX).astype(np.float16)
        return self.quant_params[name].quantize(values)

    def _pointwise(
        self, node: Add | Mul | GlobalAveragePool, made: str, function: ActivationFunction
    ) -> Held:
        """``function`` of the node's result, on the grid of the tensor ``made`` or in float."""
        if node.name in self.fused_gates:
            return self._joint(node)
        result = []
        inputs = {name: self._read(name, node) for name in node.inputs}
        count = len(inputs[node.inputs[0]])
        for start in range(0, count, _CHUNK):
            values = [
                self._values(held[start : start + _CHUNK], self.quant_params[name])
                for name, held in inputs.items()
            ]
            if isinstance(node, Add):
                value = values[0] + values[1]
            elif isinstance(node, Mul):
                value = values[0] * values[1]
            else:
                value = values[0].mean(axis=(2, 3), keepdims=node.keepdims)
            result.append(self._hold(function(value), made, node))
        return np.concatenate(result)

    def _joint(self, node: Node) -> Indices:
        """A gate's product with a swish, of the tensor before it and of both sigmoids' product."""
        swish, gate = node.inputs
        before, gates = self.before[swish], self._read(gate, node)
        source = self.quant_params[self.model.graph.by_name[swish].inputs[0]]
        own = ActivationFunction("sigmoid")(source.dequantize(np.arange(256, dtype=np.uint8)))
        shares = SIGMOID_PARAMS.dequantize(SIGMOID_PARAMS.quantize(own))
        made = np.empty_like(before)
        for start in range(0, len(before), _CHUNK):
            part = slice(start, start + _CHUNK)
            both = shares[before[part]] * SIGMOID_PARAMS.dequantize(gates[part])
            fused_gates = FUSED_SIGMOID_PARAMS.dequantize(FUSED_SIGMOID_PARAMS.quantize(both))
            made[part] = self.quant_params[node.name].quantize(
                source.dequantize(before[part]) * fused_gates
            )
        return made

    def _max_pool(self, node: MaxPool) -> Indices:
        """The largest index of each window, on the pool's own grid."""
        top, left, bottom, right = node.pads
        margins = ((0, 0), (0, 0), (top, bottom), (left, right))
        source = self.quant_params[node.inputs[0]]
        values = np.pad(self._read(node.inputs[0], node), margins)  # 0 is the lowest index
        windows = np.lib.stride_tricks.sliding_window_view(values, (node.kernel,) * 2, axis=(2, 3))
        largest = windows[:, :, :: node.stride, :: node.stride].max(axis=(4, 5))
        if source == self.quant_params[node.name]:
            return np.ascontiguousarray(largest)
        return self.quant_params[node.name].quantize(source.dequantize(largest))


def activation_table(kind: str, before: QuantParams, after: QuantParams) -> bytes:
    """The index on ``after`` that an activation makes of each of the 256 on ``before``.

    Integer kernels make a swish of a sigmoid, on its own grid, and a product.
    """
    every = before.dequantize(np.arange(256, dtype=np.uint8))
    if kind == "swish":
        gate = SIGMOID_PARAMS.quantize(ActivationFunction("sigmoid")(every))
        values = every * SIGMOID_PARAMS.dequantize(gate)
    else:
        values = ActivationFunction(kind)(every)
    return after.quantize(values).tobytes()


def _translated(indices: Indices, table: bytes) -> Indices:
    """Every index by the ``table`` of 256."""
    made = np.empty_like(indices)
    for each, out in zip(indices, made, strict=True):
        out[:] = np.frombuffer(each.tobytes().translate(table), np.uint8).reshape(out.shape)
    return made


def _solvable(conv: Conv) -> bool:
    return conv.groups == 1 or conv.depthwise


def _rows(node: Conv | Dense, blocks: Held) -> Held:
    """A layer's inputs as the rows of a `LayerReconstruction`, in memory of their own."""
    if isinstance(node, Dense):
        return blocks.copy()
    if node.kernel == 1 and not node.depthwise:
        return blocks.reshape(len(blocks), -1)
    channels, kernel, stride = blocks.shape[1], node.kernel, node.stride
    if node.depthwise:
        maps = np.ascontiguousarray(blocks.transpose(1, 0, 2, 3))  # [c, n, y, x]
        windows = np.lib.stride_tricks.sliding_window_view(maps, (kernel, kernel), axis=(2, 3))
        return windows[:, :, ::stride, ::stride].reshape(channels, -1, kernel**2)
    maps = np.ascontiguousarray(blocks.transpose(0, 2, 3, 1))  # [n, y, x, c]
    windows = np.lib.stride_tricks.sliding_window_view(maps, (kernel, kernel), axis=(1, 2))
    windows = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    return windows.reshape(-1, kernel**2 * channels)


def _to_matrix(weight: Floats) -> Floats:
    """OIHW -> [out, h * w * in]; dense weights are [out, in] already."""
    if weight.ndim == 4:
        weight = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight)


def _from_matrix(matrix: NDArray[_Any], shape: tuple[int, ...]) -> NDArray[_Any]:
    if len(shape) == 4:
        outputs, inputs, height, width = shape
        matrix = matrix.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(matrix)


def _planned(solution: QuantizedLayer, shape: tuple[int, ...], params: QuantParams) -> LayerPlan:
    """The layer with an int32 bias.

    A dead channel's tiny scale would overflow it: there the scale grows, and the weights, all zero
    or next to it, shrink with it.
    """
    bias = solution.bias
    unit = np.float32(params.scale) * solution.scale
    growth = np.maximum(np.abs(bias) / (unit * np.float32(_BIAS_LIMIT)), 1).astype(np.float32)
    scale = (solution.scale * growth).astype(np.float32)
    matrix = np.rint(solution.integers / growth[:, None]).astype(np.int8)
    integers = np.rint(bias.astype(np.float64) / (np.float32(params.scale) * scale))
    return LayerPlan(_from_matrix(matrix, shape), scale, integers.astype(np.int32))
