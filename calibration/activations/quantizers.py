"""Grids: the steps that every tensor of a network is rounded to.

What a swish makes, and what a gate scales, gets the range with the least error in what convolutions
make of it: a channel counts by the squares of the weights that multiply it, and an error that is
the same at all places costs nothing, for biases take it back. Where V2-B0 widens, depthwise layers
weigh channels that stay below 1 400 to 700 times as much as those that exceed 8, and the best range
of their inputs is as little as half of the one with the least mean |error|**3. Other tensors have
that one: on linear tensors the two differ by at most 0.3 dB of the logits.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import CLIPS, ActivationFunction
from edge_effnet.calibration.activations.range_search import (
    Observer,
    choose_range,
    weighted_range,
)
from edge_effnet.calibration.activations.statistics import CalibrationStatistics
from edge_effnet.calibration.activations.tie_free_scales import tie_free
from edge_effnet.calibration.engine import in_parallel
from edge_effnet.calibration.passes.input_normalization import input_quant_params
from edge_effnet.calibration.plan import SIGMOID_PARAMS, QuantParams
from edge_effnet.calibration.quantizer_placement import activation_of
from edge_effnet.graph import Activation, Conv, Graph, MaxPool, Mul, Node
from edge_effnet.model import Model

#: Room that the logits' grid leaves beyond the largest one seen, as a share of the range: other
#: photos have larger ones.
HEADROOM = 0.1

#: How clipping ranges are chosen: the observed extremes, the least mean |error|**3 of each tensor,
#: or that with the error after the next convolution where channels are weighted.
RangeCriterion = Literal["min-max", "own-error", "channel-weighted"]


def choose_quant_params(
    model: Model, seen: CalibrationStatistics, ranges: RangeCriterion = "channel-weighted"
) -> dict[str, QuantParams]:
    """A grid for every tensor that a format may store."""
    graph = model.graph
    chosen = []
    for node in graph:
        reader = activation_of(graph, node.name)
        if not isinstance(node, MaxPool) and (reader is None or reader.kind not in CLIPS):
            chosen.append(node)
    made = in_parallel(lambda node: _grid(model, seen, node, ranges), chosen)
    quant_params = dict(zip((node.name for node in chosen), made, strict=True))
    quant_params[graph.input] = input_quant_params(model.card.preprocess)
    for node in graph:
        if isinstance(node, MaxPool):
            quant_params[node.name] = quant_params[
                node.inputs[0]
            ]  # the grid that int8 kernels keep
    return tie_free(graph, quant_params)


def weighed(graph: Graph) -> tuple[str, ...]:
    """The tensors of which `choose_quant_params` looks at whole columns of channels."""
    found: dict[str, None] = {}
    for node in graph:
        if isinstance(node, Mul):
            found[node.inputs[1]] = None
        if _heard_by_layers(graph, node):
            found[_source(node)] = None
    return tuple(found)


def _grid(
    model: Model, seen: CalibrationStatistics, node: Node, ranges: RangeCriterion
) -> QuantParams:
    graph = model.graph
    observer: Observer = "min-max" if ranges == "min-max" else "power"
    if isinstance(node, Activation) and node.kind == "sigmoid":
        return SIGMOID_PARAMS
    if isinstance(node, Activation) and node.kind in CLIPS:
        clipped = seen.histograms[node.inputs[0]].clipped(*CLIPS[node.kind])
        return QuantParams.of_range(*choose_range(clipped, observer))
    histogram = seen.histograms[node.name]
    if node.name == graph.output:
        room = HEADROOM * (histogram.high - histogram.low)
        return QuantParams.of_range(histogram.low, histogram.high + room)
    reader = ActivationFunction.of(activation_of(graph, node.name))
    if ranges != "channel-weighted" or not _heard_by_layers(graph, node):
        return QuantParams.of_range(*choose_range(histogram, observer, function=reader))
    values = seen.columns[_source(node)]
    if isinstance(node, Activation):
        values = ActivationFunction(node.kind)(values.astype(np.float32)).astype(np.float16)
    heard = _heard(model, seen, _after(graph, node))
    limits = weighted_range(values, heard, histogram.low, histogram.high, function=reader)
    return QuantParams.of_range(*limits)


def _source(node: Node) -> str:
    """The tensor whose columns tell what ``node`` makes."""
    return node.inputs[0] if isinstance(node, Activation) else node.name


def _after(graph: Graph, node: Node) -> str:
    """The tensor that is read of what ``node`` makes."""
    activation = activation_of(graph, node.name)
    return node.name if activation is None else activation.name


def _heard_by_layers(graph: Graph, node: Node) -> bool:
    """Whether convolutions read the map that a swish makes, ``node``'s or after it, or a gate's."""
    shape, name = graph.shapes[node.name], _after(graph, node)
    made = graph.by_name[name]
    curved = isinstance(made, Mul) or (isinstance(made, Activation) and made.kind == "swish")
    if not curved or len(shape) != 3 or shape[1:] == (1, 1):
        return False
    return any(_weighs(reader) for reader in _readers(graph, name))


def _readers(graph: Graph, name: str) -> list[Node]:
    """Who reads the tensor, directly or scaled by a gate."""
    found = []
    for reader in graph.consumers[name]:
        scaled = isinstance(reader, Mul) and reader.inputs[0] == name
        found += _readers(graph, reader.name) if scaled else [reader]
    return found


def _weighs(node: Node) -> bool:
    return isinstance(node, Conv) and (node.groups == 1 or node.depthwise)


def _heard(model: Model, seen: CalibrationStatistics, name: str) -> NDArray[np.float32]:
    """[channels]: the energy that one of each channel of the tensor has in what layers make."""
    total = np.zeros(model.graph.shapes[name][0], np.float32)
    for reader in model.graph.consumers[name]:
        if isinstance(reader, Conv) and _weighs(reader):
            squares = np.square(model.weights[f"{reader.name}.weight"])
            total += squares.sum(axis=(1, 2, 3) if reader.depthwise else (0, 2, 3))
        elif isinstance(reader, Mul) and reader.inputs[0] == name:
            gate = seen.columns[reader.inputs[1]].astype(np.float32)
            total += _heard(model, seen, reader.name) * np.square(gate).mean(axis=1)
    return total
