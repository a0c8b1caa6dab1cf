"""Layers with windows or weights: convolution, dense, pooling, padding, normalisation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edge_effnet.converters.foreign.graph.partial_graph import Attributes, PartialGraph, title
from edge_effnet.graph import (
    Activation,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Pads,
    Shape,
    same_pads,
)

_NO_PADS: Pads = (0, 0, 0, 0)


def conv(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """A convolution with a square kernel."""
    weight = graph.constant(node.input[1])
    if weight.ndim != 4 or set(attributes.get("dilations", [1])) != {1}:
        raise graph.unknown("dilation")
    bias = graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
    attributes = {"kernel_shape": weight.shape[2:], **attributes}
    kernel, stride, pads = _window(graph, node, attributes, 0.0)
    groups = attributes.get("group", 1)
    if 1 < groups == len(weight) and weight.shape[1] > 1:
        raise graph.unknown("one output channel a group")
    graph.layer(node, weight, bias, kernel=kernel, stride=stride, pads=pads, groups=groups)


def dense(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """A dense layer, as a convolution whose window is the whole map."""
    usual = {"alpha": 1.0, "beta": 1.0, "transA": 0}
    weight = graph.constant(node.input[1])
    if any(attributes.get(key, value) != value for key, value in usual.items()) or weight.ndim != 2:
        raise graph.unknown("alpha, beta, transA or weights of another rank")
    weight = weight if attributes.get("transB", 0) else weight.T
    bias = None
    if len(node.input) > 2 and node.input[2]:
        bias = np.broadcast_to(graph.constant(node.input[2]).ravel(), (len(weight),))
    shape = graph.flattened.pop(node.input[0], None) or graph.shape(node.input[0])
    channels, height, width = shape
    if height != width or weight.shape[1] != math.prod(shape):
        raise graph.unknown("over a part of its input")
    graph.layer(node, weight.reshape(-1, channels, height, width), bias, kernel=height)


def max_pool(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """Max pooling with a square window."""
    if set(attributes.get("dilations", [1])) != {1} or len(node.output) > 1:
        raise graph.unknown("dilation or indices")
    kernel, stride, pads = _window(graph, node, attributes, -math.inf)
    x = graph.map(node.input[0], pads=True)
    graph.maps[node.output[0]] = graph.add(
        MaxPool, title(node), [x], kernel=kernel, stride=stride, pads=pads
    )


def average_pool(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """The mean over the whole map, or over windows: a depthwise convolution."""
    shape = graph.shape(node.input[0])
    if tuple(attributes["kernel_shape"]) == shape[1:] and not any(attributes.get("pads", [])):
        global_average_pool(graph, node, attributes)
        return
    kernel, stride, pads = _window(graph, node, attributes, 0.0)
    complete = _window(graph, node, {**attributes, "ceil_mode": 0}, 0.0)[2] == pads
    if not complete or (any(pads) and not attributes.get("count_include_pad", 0)):
        raise graph.unknown("a mean without its padding")
    weight = np.full((shape[0], 1, kernel, kernel), 1 / kernel**2, np.float32)
    graph.layer(node, weight, None, kernel=kernel, stride=stride, pads=pads, groups=shape[0])


def global_average_pool(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """The mean over height and width."""
    x = graph.map(node.input[0], scale=True)
    graph.copy_scale(node.input[0], node.output[0])
    graph.maps[node.output[0]] = graph.add(GlobalAveragePool, title(node), [x], keepdims=True)


def reduce_mean(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """`global_average_pool` by the operator for any axes."""
    has_input = len(node.input) > 1 and node.input[1]
    axes = graph.constant(node.input[1]) if has_input else attributes.get("axes", [])
    if {int(axis) % 4 for axis in axes} != {2, 3}:
        raise graph.unknown("over other axes than height and width")
    global_average_pool(graph, node, attributes)


def pad(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """Padding of height and width with one value, which the next window absorbs."""
    if attributes.get("mode", b"constant") != b"constant" or len(node.input) > 3:
        raise graph.unknown("another mode than constant")
    has_input = len(node.input) > 1
    sides = graph.constant(node.input[1]) if has_input else attributes["pads"]
    pads = [int(side) for side in sides]
    value = attributes.get("value", 0.0)
    if len(node.input) > 2 and node.input[2]:
        value = float(graph.constant(node.input[2]))
    if len(pads) != 8 or any(pads[:2] + pads[4:6]) or min(pads) < 0:
        raise graph.unknown("of other axes than height and width")
    graph.map(node.input[0], scale=True)
    graph.alias(node.input[0], node.output[0])
    if any(pads):
        graph.padded[node.output[0]] = (pads[2], pads[3], pads[6], pads[7]), value


def batch_norm(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """Batch normalisation with its statistics from training."""
    if attributes.get("training_mode", 0) or len(node.output) > 1:
        raise graph.unknown("in training mode")
    gamma, beta, mean, var = (graph.constant(each).astype(np.float64) for each in node.input[1:])
    scale = gamma / np.sqrt(var + attributes.get("epsilon", 1e-5))
    x = graph.map(node.input[0])
    graph.maps[node.output[0]] = graph.affine(title(node), x, scale, beta - mean * scale)


def layer_norm(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """Layer normalisation of a vector."""
    if graph.shape(node.input[0])[1:] != (1, 1) or len(node.output) > 1:
        raise graph.unknown("over a feature map")
    x = graph.map(node.input[0])
    name = graph.add(LayerNorm, title(node), [x], eps=attributes.get("epsilon", 1e-5))
    for part, index, usual in (("weight", 1, 1.0), ("bias", 2, 0.0)):
        has_input = len(node.input) > index and node.input[index]
        value = graph.constant(node.input[index]).ravel() if has_input else usual
        array = np.broadcast_to(np.asarray(value, np.float32), graph.shapes[x][:1])
        graph.weights[f"{name}.{part}"] = np.ascontiguousarray(array)
    graph.maps[node.output[0]] = name


def _window(
    graph: PartialGraph, node: Any, attributes: Attributes, value: float
) -> tuple[int, int, Pads]:
    """Kernel, stride and pads of a window; a Pad before the node is added to its own pads.

    Args:
        graph: The partial graph.
        node: The node.
        attributes: Its attributes.
        value: The value that the node pads with.
    """
    kernels, strides = attributes["kernel_shape"], attributes.get("strides", (1, 1))
    if len(kernels) != 2 or len({*kernels}) != 1 or len({*strides}) != 1:
        raise graph.unknown("a window that is no square")
    kernel, stride, shape = kernels[0], strides[0], graph.shape(node.input[0])
    before, padded_with = graph.padded.get(node.input[0], (_NO_PADS, value))
    if padded_with != value and not _equals_no_pad(graph, node.input[0], padded_with, value):
        raise graph.unknown("after padding with another value")
    shape = (shape[0], shape[1] + before[0] + before[2], shape[2] + before[1] + before[3])
    pads = _pads(attributes, shape, kernel, stride)
    top, left, bottom, right = (a + b for a, b in zip(pads, before, strict=True))
    return kernel, stride, (top, left, bottom, right)


def _pads(attributes: Attributes, shape: Shape, kernel: int, stride: int) -> Pads:
    """The node's own pads (top, left, bottom, right); with ``ceil_mode``, for one more window."""
    automatic = attributes.get("auto_pad", b"NOTSET").decode()
    top, left, bottom, right = attributes.get("pads") or _NO_PADS
    if automatic.startswith("SAME"):
        top, left, bottom, right = same_pads(shape, kernel, stride)
        if automatic == "SAME_LOWER":
            top, left, bottom, right = bottom, right, top, left
    if attributes.get("ceil_mode", 0):
        bottom += -(shape[1] + top + bottom - kernel) % stride
        right += -(shape[2] + left + right - kernel) % stride
    return top, left, bottom, right


def _equals_no_pad(graph: PartialGraph, name: str, padded_with: float, value: float) -> bool:
    """Whether zeros around a tensor without negative values leave a max pooling unchanged."""
    maker = graph.maker(name)
    positive = isinstance(maker, Activation) and maker.kind in ("relu", "relu6", "sigmoid")
    return value == -math.inf and (padded_with < -1e30 or (positive and padded_with == 0))
