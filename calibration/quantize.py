"""Model + samples -> QuantPlan: one walk over the network, layer after layer.

Every layer is solved from what its inputs really are once all layers before it are quantized: its
integer weights are rounded to keep the float network's outputs, then its bias is set so that the
mean output of each channel is the float one's again. Activations between the layers are carried as
the integers that a device would hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration import rounding
from edge_effnet.calibration.engine import Engine, Floats, Indices
from edge_effnet.calibration.observe import Observation, observe
from edge_effnet.calibration.photos import Samples
from edge_effnet.calibration.plan import Grid, LayerPlan, QuantPlan
from edge_effnet.calibration.ranges import best_range
from edge_effnet.calibration.sites import block_graph
from edge_effnet.calibration.ties import without_ties
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Activation, Add, Conv, Dense, GlobalAveragePool, Graph, Node
from edge_effnet.model import Model
from edge_effnet.preprocess import Preprocess

_CHUNK = 16
_DEPTHWISE_POSITIONS = 1024  # enough for a channel's own 25 weights
_NEWTON_STEPS = 3
#: A bias beyond this leaves no room for the sum of products in an int32 accumulator.
_BIAS_LIMIT = 2**30
CLIPS = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0)}

Progress = Callable[[str, int, int], None]


def calibrate(
    model: Model,
    samples: Samples,
    engine: Engine,
    *,
    recipe: str = "default",
    avx2_safe: bool = True,
    progress: Progress | None = None,
) -> QuantPlan:
    """The `QuantPlan` of ``model`` (BN folded) for ``samples``.

    ``avx2_safe`` applies the pair rule (see `calibration.rounding`). Raises `QuantizationError` if
    the weights are not finite or a node has no quantized form.
    """
    _check_finite(model)

    def report(step: str) -> Callable[[int, int], None]:
        return lambda done, total: progress(step, done, total) if progress else None

    seen = observe(model, samples.pixels, engine, report("observe"))
    walk = _Walk(model, seen, engine, avx2_safe, _grids(model, seen))
    walk.start(samples.pixels)
    for index, node in enumerate(model.graph):
        walk.step(node)
        report("quantize")(index + 1, len(model.graph.nodes))
    return QuantPlan(walk.layers, walk.grids, recipe, samples.record, avx2_safe)


def input_grid(preprocess: Preprocess) -> Grid:
    """The grid on which raw pixels 0..255 are the normalised input: scale 1/std, zero point mean.

    Raises `QuantizationError` where the normalisation differs between channels or its mean is no
    whole pixel value.
    """
    mean, std = set(preprocess.mean), set(preprocess.std)
    if len(mean) != 1 or len(std) != 1 or not float(preprocess.mean[0]).is_integer():
        raise QuantizationError(
            "the input's normalisation differs between channels, or its mean is no whole number: "
            f"mean {preprocess.mean}, std {preprocess.std} cannot be one input scale and zero point"
        )
    return Grid(float(np.float32(1 / preprocess.std[0])), int(preprocess.mean[0]))


def _grids(model: Model, seen: Observation) -> dict[str, Grid]:
    """A grid for every tensor that a format may store."""
    graph = model.graph
    grids = {graph.input: input_grid(model.card.preprocess)}
    for node in graph:
        if _clipping_reader(graph, node.name) is None:
            low, high = seen.ranges[node.name]
            if node.name in seen.values:
                low, high = best_range(seen.values[node.name], low, high)
            grids[node.name] = Grid.of_range(low, high)
    return without_ties(graph, grids)


def _clipping_reader(graph: Graph, name: str) -> Activation | None:
    """The clipping activation that alone reads the layer ``name``, if there is one."""
    readers = graph.consumers[name]
    if isinstance(graph.by_name[name], (Conv, Dense)) and len(readers) == 1:
        reader = readers[0]
        if isinstance(reader, Activation) and reader.kind in CLIPS:
            return reader
    return None


@dataclass
class _Walk:
    """The walk's state: ``held`` are the quantized tensors that later nodes still read."""

    model: Model
    seen: Observation
    engine: Engine
    avx2_safe: bool
    grids: dict[str, Grid]

    def __post_init__(self) -> None:
        self.layers: dict[str, LayerPlan] = {}
        self.held: dict[str, Indices] = {}
        self.last_reader = {name: node.name for node in self.model.graph for name in node.inputs}

    def start(self, pixels: NDArray[np.uint8]) -> None:
        """Take the samples that layers are solved on as the first tensor."""
        graph = self.model.graph
        solved = next((len(s.top) for s in self.seen.sites.values()), len(pixels))
        self.held[graph.input] = np.ascontiguousarray(pixels[:solved].transpose(0, 3, 1, 2))

    def step(self, node: Node) -> None:
        graph = self.model.graph
        if isinstance(node, (Conv, Dense)):
            activation = _clipping_reader(graph, node.name)
            self.layers[node.name] = self._solve(node, activation)
            if node.name != graph.output:
                made = node.name if activation is None else activation.name
                self.held[made] = self._run(node, activation)
        elif isinstance(node, Activation) and node.name in self.held:
            pass  # its convolution has made it
        elif isinstance(node, (Add, GlobalAveragePool)):
            self.held[node.name] = self._pointwise(node)
        else:
            raise QuantizationError(
                f"{node.name}: {type(node).__name__} has no int8 form yet; export fp32 or fp16"
            )
        for name in node.inputs:
            if self.last_reader[name] == node.name:
                self.held.pop(name, None)

    def _solve(self, node: Conv | Dense, activation: Activation | None) -> LayerPlan:
        """Integers for one layer, from its quantized inputs and float targets."""
        source = node.inputs[0]
        grid, inputs = self.grids[source], self.held[source]
        if isinstance(node, Conv):
            inputs = self.seen.sites[node.name].inputs(inputs, node, grid.zero_point)
        blocks = grid.dequantize(inputs)
        weight = self.model.weights[f"{node.name}.weight"]
        matrix = _to_matrix(weight)
        depthwise = isinstance(node, Conv) and node.depthwise
        hessian = _hessian(node, blocks)
        importance = np.maximum(np.diagonal(hessian, axis1=-2, axis2=-1), 1e-12)
        pairs = rounding.pair_step(weight.shape[1]) if self.avx2_safe and not depthwise else 0
        scale = rounding.choose_scale(matrix, importance, pairs)
        if depthwise:
            integers = rounding.gptq_depthwise(matrix, scale, hessian)
        else:
            integers = rounding.gptq(matrix, scale, hessian, pairs)
        planned = LayerPlan(
            _from_matrix(integers, weight.shape), scale, np.zeros(len(scale), np.int32)
        )
        bias = self._correct_bias(node, activation, planned, blocks)
        return _with_bias(planned, bias, grid)

    def _correct_bias(
        self, node: Conv | Dense, activation: Activation | None, planned: LayerPlan, blocks: Floats
    ) -> Floats:
        """The float bias under which the mean of each channel, after its clip, is the float's."""
        bias = self.model.weights[f"{node.name}.bias"]
        graph = block_graph(node, blocks.shape[1], blocks.shape[-1])
        weights = {f"{node.name}.weight": planned.float_weight(), f"{node.name}.bias": bias}
        outputs = self.engine.floats(graph, weights, [node.name])(blocks)[node.name]
        if outputs.ndim == 4:
            outputs = outputs.transpose(0, 2, 3, 1).reshape(-1, outputs.shape[1])
        targets = self.seen.targets[node.name].astype(np.float32)
        if activation is None:
            return np.asarray(bias + (targets - outputs).mean(axis=0), dtype=np.float32)
        return bias + match_means(outputs, targets, *CLIPS[activation.kind])

    def _run(self, node: Conv | Dense, activation: Activation | None) -> Indices:
        source = node.inputs[0]
        nodes = (node,) if activation is None else (node, activation)
        graph = Graph(source, self.model.graph.shapes[source], nodes)
        plan = QuantPlan(self.layers, self.grids, "")
        run = self.engine.integers(graph, plan)
        held = self.held[source]
        return np.concatenate(
            [run(held[start : start + _CHUNK]) for start in range(0, len(held), _CHUNK)]
        )

    def _pointwise(self, node: Add | GlobalAveragePool) -> Indices:
        result = []
        count = len(self.held[node.inputs[0]])
        for start in range(0, count, _CHUNK):
            values = [
                self.grids[name].dequantize(self.held[name][start : start + _CHUNK])
                for name in node.inputs
            ]
            if isinstance(node, Add):
                value = values[0] + values[1]
            else:
                value = values[0].mean(axis=(2, 3), keepdims=node.keepdims)
            result.append(self.grids[node.name].quantize(value))
        return np.concatenate(result)


def match_means(outputs: Floats, targets: Floats, low: float, high: float) -> Floats:
    """Per channel, the shift of ``outputs`` whose clipped mean equals the clipped targets' mean.

    Both are [positions, channels]. Newton steps on the mean; a channel keeps its shift only if that
    lowers its squared error after the clip.
    """
    goal = np.clip(targets, low, high)
    mean = goal.mean(axis=0)
    shift = np.zeros(outputs.shape[1], np.float32)
    for _ in range(_NEWTON_STEPS):
        moved = outputs + shift
        inside = ((moved > low) & (moved < high)).mean(axis=0)
        gap = mean - np.clip(moved, low, high).mean(axis=0)
        shift += np.where(inside > 0.01, gap / np.maximum(inside, 0.05), 0).astype(np.float32)
    before = ((np.clip(outputs, low, high) - goal) ** 2).mean(axis=0)
    after = ((np.clip(outputs + shift, low, high) - goal) ** 2).mean(axis=0)
    return np.where(after < before, shift, 0).astype(np.float32)


def _hessian(node: Conv | Dense, blocks: Floats) -> Floats:
    """Covariance of the layer's inputs (the bias sees to the mean): [k, k], or one a channel."""
    if isinstance(node, Dense):
        return _covariance(blocks)
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (node.kernel,) * 2, axis=(2, 3))
    windows = windows[:, :, :: node.stride, :: node.stride]  # [n, c, y, x, k, k]
    if node.depthwise:
        count, channels, height, width = windows.shape[:4]
        keep = max(1, _DEPTHWISE_POSITIONS // (height * width))
        windows = windows[:: max(1, count // keep)][:keep]
        rows = windows.transpose(1, 0, 2, 3, 4, 5).reshape(channels, -1, node.kernel**2)
        return _covariance(rows)
    return _covariance(
        windows.transpose(0, 2, 3, 4, 5, 1).reshape(-1, node.kernel**2 * blocks.shape[1])
    )


def _covariance(rows: Floats) -> Floats:
    """[..., n, k] -> [..., k, k]."""
    centred = rows - rows.mean(axis=-2, keepdims=True)
    return np.asarray(np.swapaxes(centred, -1, -2) @ centred / np.float32(rows.shape[-2]))


def _to_matrix(weight: Floats) -> Floats:
    """OIHW -> [out, h * w * in]; dense weights are [out, in] already."""
    if weight.ndim == 4:
        weight = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    return np.ascontiguousarray(weight)


def _from_matrix(matrix: NDArray[np.int8], shape: tuple[int, ...]) -> NDArray[np.int8]:
    if len(shape) == 4:
        outputs, inputs, height, width = shape
        matrix = matrix.reshape(outputs, height, width, inputs).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(matrix)


def _with_bias(planned: LayerPlan, bias: Floats, grid: Grid) -> LayerPlan:
    """The layer with an int32 bias.

    A dead channel's tiny scale would overflow it: there the scale grows, and the weights, all zero
    or next to it, shrink with it.
    """
    unit = np.float32(grid.scale) * planned.scale
    growth = np.maximum(np.abs(bias) / (unit * np.float32(_BIAS_LIMIT)), 1).astype(np.float32)
    scale = (planned.scale * growth).astype(np.float32)
    shape = (-1,) + (1,) * (planned.weight.ndim - 1)
    weight = np.rint(planned.weight / growth.reshape(shape)).astype(np.int8)
    integers = np.rint(bias.astype(np.float64) / (np.float32(grid.scale) * scale))
    return LayerPlan(weight, scale, integers.astype(np.int32))


def _check_finite(model: Model) -> None:
    for name, values in model.weights.items():
        if not np.isfinite(values).all():
            raise QuantizationError(
                f"{name} holds NaN or infinite weights: the checkpoint is damaged or its "
                "training diverged; use another one"
            )
