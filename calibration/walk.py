"""The walk over the network: every layer solved from what its inputs are once those before it are.

Activations between the layers are carried as the integers that a device would hold, on the samples
that layers are solved on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration import rounding
from edge_effnet.calibration.engine import Engine, Floats, Indices
from edge_effnet.calibration.layer import Method, Problem, Solution, fit, solve, total
from edge_effnet.calibration.observe import Observation
from edge_effnet.calibration.plan import Grid, LayerPlan, QuantPlan
from edge_effnet.calibration.pointwise import Pointwise
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
Held = NDArray[Any]  # uint8 on a grid, or float32
_CHUNK = 16
#: A bias beyond this leaves no room for the sum of products in an int32 accumulator.
_BIAS_LIMIT = 2**30 - 2**10  # with room for float32's rounding of the scale that keeps to it


def activation_of(graph: Graph, name: str) -> Activation | None:
    """The activation that alone reads the layer or sum ``name``, if there is one."""
    readers = graph.consumers[name]
    if isinstance(graph.by_name.get(name), (Conv, Dense, Add)) and len(readers) == 1:
        reader = readers[0]
        return reader if isinstance(reader, Activation) else None
    return None


@dataclass
class Walk:
    """The walk's state: ``held`` are the tensors that later nodes still read.

    They are the integers of their grid, or float where one of ``floats`` made them.

    ``model``'s input is one that a single grid can hold (`pixels.with_common_input`).
    """

    model: Model
    seen: Observation
    engine: Engine
    method: Method
    avx2_safe: bool
    grids: Mapping[str, Grid]
    floats: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.layers: dict[str, LayerPlan] = {}
        self.weights: dict[str, Floats] = {}
        self.held: dict[str, Held] = {}
        self.last_reader = {name: node.name for node in self.model.graph for name in node.inputs}

    def start(self, pixels: NDArray[np.uint8]) -> None:
        """Take the samples that layers are solved on as the first tensor."""
        graph = self.model.graph
        solved = next((len(s.top) for s in self.seen.sites.values()), len(pixels))
        self.held[graph.input] = np.ascontiguousarray(pixels[:solved].transpose(0, 3, 1, 2))

    def step(self, node: Node) -> None:
        """Solve or compute one node; raises `QuantizationError` if it has no integer form."""
        graph = self.model.graph
        if isinstance(node, Dense) or (isinstance(node, Conv) and _solvable(node)):
            activation = activation_of(graph, node.name)
            self._solve(node, activation)
            if node.name != graph.output:
                made = node.name if activation is None else activation.name
                self.held[made] = self._run(node, activation)
        elif isinstance(node, Activation) and node.name in self.held:
            pass  # the layer or the sum before it has made it
        elif isinstance(node, (Add, Mul, GlobalAveragePool)):
            activation = activation_of(graph, node.name)
            made = node.name if activation is None else activation.name
            self.held[made] = self._pointwise(node, made, Pointwise.of(activation))
        elif isinstance(node, MaxPool):
            self.held[node.name] = self._max_pool(node)
        else:
            raise QuantizationError(
                f"{node.name}: {type(node).__name__} has no int8 form yet; export fp32 or fp16"
            )
        for name in node.inputs:
            if self.last_reader[name] == node.name:
                self.held.pop(name, None)

    def _solve(self, node: Conv | Dense, activation: Activation | None) -> None:
        """Integers for one layer, or floats, from its inputs as they are and float targets."""
        source = node.inputs[0]
        grid, inputs = self.grids[source], self._read(source, node)
        if isinstance(node, Conv):
            padding = 0 if inputs.dtype == np.float32 else grid.zero_point
            inputs = self.seen.sites[node.name].inputs(inputs, node, padding)
        weight = self.model.weights[f"{node.name}.weight"]
        rows = self._values(_rows(node, inputs), grid)
        mean = total(rows) / np.float32(rows.shape[-2])
        rows -= mean[..., None, :]
        depthwise = rows.ndim == 3
        problem = Problem(
            rows=rows,
            mean=mean,
            targets=self.seen.targets[node.name],
            weight=_to_matrix(weight),
            bias=self.model.weights[f"{node.name}.bias"],
            function=Pointwise.of(activation),
            pairs=rounding.pair_step(weight.shape[1]) if self.avx2_safe and not depthwise else 0,
        )
        if node.name in self.floats:
            fitted, bias = fit(problem, self.method)
            self.weights[f"{node.name}.weight"] = _from_matrix(fitted, weight.shape)
            self.weights[f"{node.name}.bias"] = bias
        else:
            self.layers[node.name] = _planned(solve(problem, self.method), weight.shape, grid)

    def _read(self, name: str, reader: Node) -> Held:
        """The tensor as ``reader`` takes it: a node that is not in float reads integers."""
        held = self.held[name]
        if held.dtype == np.float32 and reader.name not in self.floats:
            return self.grids[name].quantize(held)
        return held

    @staticmethod
    def _values(held: Held, grid: Grid) -> Floats:
        return held if held.dtype == np.float32 else grid.dequantize(held)

    def _run(self, node: Conv | Dense, activation: Activation | None) -> Held:
        source = node.inputs[0]
        nodes = (node,) if activation is None else (node, activation)
        graph = Graph(source, self.model.graph.shapes[source], nodes)
        held = self._read(source, node)
        run: Callable[[Held], Held]
        if node.name in self.floats:
            floats = self.engine.floats(graph, self.weights, [graph.output])
            held = self._values(held, self.grids[source])
            run = lambda part: floats(part)[graph.output]  # noqa: E731
        else:
            run = self.engine.integers(graph, QuantPlan(self.layers, self.grids, ""))
        shape = len(held), *self.model.graph.shapes[node.name]
        made = np.empty(shape, np.float32 if node.name in self.floats else np.uint8)
        for start in range(0, len(held), _CHUNK):
            made[start : start + _CHUNK] = run(held[start : start + _CHUNK])
        return made

    def _pointwise(
        self, node: Add | Mul | GlobalAveragePool, made: str, function: Pointwise
    ) -> Held:
        """``function`` of the node's result, on the grid of the tensor ``made`` or in float."""
        result = []
        inputs = {name: self._read(name, node) for name in node.inputs}
        count = len(inputs[node.inputs[0]])
        for start in range(0, count, _CHUNK):
            values = [
                self._values(held[start : start + _CHUNK], self.grids[name])
                for name, held in inputs.items()
            ]
            if isinstance(node, Add):
                value = values[0] + values[1]
            elif isinstance(node, Mul):
                value = values[0] * values[1]
            else:
                value = values[0].mean(axis=(2, 3), keepdims=node.keepdims)
            value = function(value)
            result.append(value if node.name in self.floats else self.grids[made].quantize(value))
        return np.concatenate(result)

    def _max_pool(self, node: MaxPool) -> Indices:
        """The largest index of each window, on the pool's own grid."""
        top, left, bottom, right = node.pads
        margins = ((0, 0), (0, 0), (top, bottom), (left, right))
        source = self.grids[node.inputs[0]]
        values = np.pad(self._read(node.inputs[0], node), margins)  # 0 is the lowest index
        windows = np.lib.stride_tricks.sliding_window_view(values, (node.kernel,) * 2, axis=(2, 3))
        largest = windows[:, :, :: node.stride, :: node.stride].max(axis=(4, 5))
        if source == self.grids[node.name]:
            return np.ascontiguousarray(largest)
        return self.grids[node.name].quantize(source.dequantize(largest))


def _solvable(conv: Conv) -> bool:
    return conv.groups == 1 or conv.depthwise


def _rows(node: Conv | Dense, blocks: Held) -> Held:
    """A layer's inputs as the rows of a `Problem`, in memory of their own."""
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


def _planned(solution: Solution, shape: tuple[int, ...], grid: Grid) -> LayerPlan:
    """The layer with an int32 bias.

    A dead channel's tiny scale would overflow it: there the scale grows, and the weights, all zero
    or next to it, shrink with it.
    """
    bias = solution.bias
    unit = np.float32(grid.scale) * solution.scale
    growth = np.maximum(np.abs(bias) / (unit * np.float32(_BIAS_LIMIT)), 1).astype(np.float32)
    scale = (solution.scale * growth).astype(np.float32)
    matrix = np.rint(solution.integers / growth[:, None]).astype(np.int8)
    integers = np.rint(bias.astype(np.float64) / (np.float32(grid.scale) * scale))
    return LayerPlan(_from_matrix(matrix, shape), scale, integers.astype(np.int32))
