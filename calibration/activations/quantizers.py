"""Quantization parameters of every tensor of a network, from its calibration statistics.

Swish outputs and squeeze-excite products are clipped to minimise the error after the next
convolution. Each channel is weighted by the squared weights that read it, and its mean error is
ignored because bias correction removes it. All other tensors minimise mean |error|**3.

In V2-B0's expanded tensors, channels with values below 1 have 400 to 700 times the error weight of
channels with values above 8. The best clipping range is then as small as half of the range with
the least mean |error|**3. On linear tensors the choice between the two criteria changes the logits'
SQNR by at most 0.3 dB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import CLIPS, ActivationFunction
from edge_effnet.calibration.activations.concatenated import share
from edge_effnet.calibration.activations.range_search import (
    Criterion,
    choose_range,
    weighted_range,
)
from edge_effnet.calibration.activations.statistics import CalibrationStatistics
from edge_effnet.calibration.activations.tie_free_scales import tie_free
from edge_effnet.calibration.engine import in_parallel
from edge_effnet.calibration.passes.input_normalization import input_quant_params
from edge_effnet.calibration.plan import SIGMOID_PARAMS, QuantParams
from edge_effnet.calibration.quantizer_placement import activation_of
from edge_effnet.graph import Activation, Conv, Graph, LayerNorm, MaxPool, Mul, Node
from edge_effnet.model import Model

#: Margin above the largest logit, as a fraction of the logits' range. Other photos give larger
#: logits than the calibration photos.
HEADROOM = 0.1

#: Criteria for clipping ranges. "min-max": the extremes of the calibration set. "own-error": least
#: mean |error|**3. "channel-weighted": least error after the next convolution for swish outputs and
#: squeeze-excite products, least mean |error|**3 for other tensors.
RangeCriterion = Literal["min-max", "own-error", "channel-weighted"]


def choose_quant_params(
    model: Model,
    statistics: CalibrationStatistics,
    ranges: RangeCriterion = "channel-weighted",
) -> dict[str, QuantParams]:
    """Quantization parameters of every tensor that a format may store, by tensor name.

    Args:
        model: Network with BN folded and the same input mean and deviation for all channels.
        statistics: Calibration statistics, with channel values of `channels_to_sample`'s tensors.
        ranges: The criterion by which clipping ranges are chosen.

    Returns:
        Tie-free quantization parameters by tensor name. The output of a layer or sum before a
        clipping activation has no entry.
    """
    graph = model.graph
    nodes = []
    for node in graph:
        reader = activation_of(graph, node.name)
        if isinstance(node, LayerNorm) and reader is not None:
            continue  # the normalisation and its activation compute in float
        if not isinstance(node, MaxPool) and (reader is None or reader.kind not in CLIPS):
            nodes.append(node)
    params = in_parallel(lambda node: _params_of(model, statistics, node, ranges), nodes)
    quant_params = dict(zip((node.name for node in nodes), params, strict=True))
    quant_params[graph.input] = input_quant_params(model.info.preprocess)
    return constrained(graph, quant_params)


def constrained(graph: Graph, quant_params: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    """Quantization parameters that meet the constraints of the int8 kernels.

    A max pool has its input's parameters, concatenated tensors share theirs, and scales are
    tie-free.

    Args:
        graph: The network.
        quant_params: Quantization parameters by tensor name; those of max pools may be missing.
    """
    parameters = dict(quant_params)
    for node in graph:
        if isinstance(node, MaxPool):
            parameters[node.name] = parameters[node.inputs[0]]
    return share(graph, tie_free(graph, share(graph, parameters)))


def channels_to_sample(graph: Graph) -> tuple[str, ...]:
    """Names of the tensors whose values per channel `choose_quant_params` needs."""
    names: dict[str, None] = {}
    for node in graph:
        if isinstance(node, Mul):
            names[node.inputs[1]] = None
        if _needs_channel_weights(graph, node):
            names[_sampled_tensor(node)] = None
    return tuple(names)


def _params_of(
    model: Model, statistics: CalibrationStatistics, node: Node, ranges: RangeCriterion
) -> QuantParams:
    """Quantization parameters of one node's output."""
    graph = model.graph
    criterion: Criterion = "min-max" if ranges == "min-max" else "power"
    if isinstance(node, Activation) and node.kind == "sigmoid":
        return SIGMOID_PARAMS
    if isinstance(node, Activation) and node.kind in CLIPS:
        clipped = statistics.histograms[node.inputs[0]].clipped(*CLIPS[node.kind])
        return QuantParams.of_range(*choose_range(clipped, criterion))
    histogram = statistics.histograms[node.name]
    if node.name == graph.output:
        margin = HEADROOM * (histogram.high - histogram.low)
        return QuantParams.of_range(histogram.low, histogram.high + margin)
    function = ActivationFunction.of(activation_of(graph, node.name))
    if ranges != "channel-weighted" or not _needs_channel_weights(graph, node):
        return QuantParams.of_range(*choose_range(histogram, criterion, function=function))
    values = statistics.channel_values[_sampled_tensor(node)]
    if isinstance(node, Activation):
        values = ActivationFunction(node.kind)(values.astype(np.float32)).astype(np.float16)
    weights = _channel_error_weights(model, statistics, _activated(graph, node))
    limits = weighted_range(values, weights, histogram.low, histogram.high, function=function)
    return QuantParams.of_range(*limits)


def _sampled_tensor(node: Node) -> str:
    """Name of the tensor whose sampled values give the distribution of ``node``'s output."""
    return node.inputs[0] if isinstance(node, Activation) else node.name


def _activated(graph: Graph, node: Node) -> str:
    """Name of the output of the activation after ``node``; without one, ``node``'s own name."""
    activation = activation_of(graph, node.name)
    return node.name if activation is None else activation.name


def _needs_channel_weights(graph: Graph, node: Node) -> bool:
    """Whether ``node``'s output is a swish output or squeeze-excite product that a Conv reads.

    Tensors of 1 x 1 pixels do not count.
    """
    shape, name = graph.shapes[node.name], _activated(graph, node)
    producer = graph.by_name[name]
    swish = isinstance(producer, Activation) and producer.kind in ("swish", "hard_swish")
    if not (swish or isinstance(producer, Mul)) or len(shape) != 3 or shape[1:] == (1, 1):
        return False
    return any(isinstance(reader, Conv) for reader in _readers(graph, name))


def _readers(graph: Graph, name: str) -> list[Node]:
    """The nodes that read the tensor, directly or after a squeeze-excite product."""
    readers = []
    for reader in graph.consumers[name]:
        scaled = isinstance(reader, Mul) and reader.inputs[0] == name
        readers += _readers(graph, reader.name) if scaled else [reader]
    return readers


def _channel_error_weights(
    model: Model, statistics: CalibrationStatistics, name: str
) -> NDArray[np.float32]:
    """Channel error weights [channels]: the sum of the squared weights that read each channel.

    If a squeeze-excite product lies between, the sum is multiplied by the gate's mean square.
    """
    total = np.zeros(model.graph.shapes[name][0], np.float32)
    for reader in model.graph.consumers[name]:
        if isinstance(reader, Conv):
            squares = np.square(model.weights[f"{reader.name}.weight"])
            if reader.depthwise or reader.groups == 1:
                total += squares.sum(axis=(1, 2, 3) if reader.depthwise else (0, 2, 3))
            else:
                by_group = squares.reshape(reader.groups, -1, *squares.shape[1:])
                total += by_group.sum(axis=(1, 3, 4)).ravel()
        elif isinstance(reader, Mul) and reader.inputs[0] == name:
            gate = statistics.channel_values[reader.inputs[1]].astype(np.float32)
            weights = _channel_error_weights(model, statistics, reader.name)
            total += weights * np.square(gate).mean(axis=1)
    return total
