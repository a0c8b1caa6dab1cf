"""Elementwise operators: activation functions, arithmetic, and operators that move no value.

Exporters write an activation function in several forms. A product x * sigmoid(x) becomes a swish,
and x * clip(x + 3, 0, 6) / 6 a hard swish. A hard sigmoid becomes a ReLU6 times 1/6; the weights of
the next layer absorb the factor.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.foreign.graph.partial_graph import (
    Array,
    Attributes,
    PartialGraph,
    title,
)
from edge_effnet.converters.foreign.onnx_file import onnx
from edge_effnet.forward import LEAKY_SLOPE
from edge_effnet.graph import Activation, Add, Concat, Mul
from edge_effnet.variants import ActivationKind

_SAME_NUMBER = 1e-4  # relative; exporters round 1/6


def activation(
    graph: PartialGraph, node: Any, attributes: Attributes, *, kind: ActivationKind
) -> None:
    """An activation function of that kind."""
    x = graph.map(node.input[0], scale=kind == "relu" and graph.scaled.get(node.input[0], 0) > 0)
    graph.copy_scale(node.input[0], node.output[0])
    graph.activation(node, x, kind)


def leaky_relu(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """max(x, 0.01 x)."""
    if not _close(attributes.get("alpha", 0.01), LEAKY_SLOPE):  # 0.01 is ONNX's default
        raise graph.unknown(f"with another slope than {LEAKY_SLOPE}")
    activation(graph, node, attributes, kind="leaky_relu")


def gelu(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """The product of x and the normal distribution function."""
    if attributes.get("approximate", b"none") != b"none":
        raise graph.unknown("approximated by tanh")
    activation(graph, node, attributes, kind="gelu")


def swish(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """The product of x and sigmoid(x), as one operator."""
    if not _close(attributes.get("alpha", 1.0), 1.0):
        raise graph.unknown("with another alpha than 1")
    activation(graph, node, attributes, kind="swish")


def hard_sigmoid(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """clip(alpha * x + beta, 0, 1)."""
    alpha, beta = attributes.get("alpha", 0.2), attributes.get("beta", 0.5)
    graph.clipped[node.output[0]] = graph.map(node.input[0]), 6 * alpha, 6 * beta
    graph.scaled[node.output[0]] = 1 / 6


def clip(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """ReLU, ReLU6, or a clip to 0..1, which is a ReLU6 of six times the input."""
    low, high = attributes.get("min", -math.inf), attributes.get("max", math.inf)
    if len(node.input) > 1 and node.input[1]:
        low = float(graph.constant(node.input[1]))
    if len(node.input) > 2 and node.input[2]:
        high = float(graph.constant(node.input[2]))
    if low == 0 and high > 1e30:
        activation(graph, node, attributes, kind="relu")
        return
    if low != 0 or high not in (1, 6):
        raise graph.unknown(f"limits {low:g} and {high:g}")
    x, a, b = graph.shifted.get(node.input[0]) or (graph.map(node.input[0]), 1.0, 0.0)
    factor = 6 / high
    graph.clipped[node.output[0]] = x, a * factor, b * factor
    if factor != 1:
        graph.scaled[node.output[0]] = 1 / factor


def arithmetic(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """Add, Sub, Mul or Div of two tensors, or of a tensor and a constant."""
    first, second = node.input
    constants = [name for name in node.input if name in graph.constants]
    if not constants and node.op_type == "Add":
        _sum(graph, node)
    elif not constants and node.op_type == "Mul":
        _product(graph, node)
    elif len(constants) != 1 or (node.op_type == "Div" and first in graph.constants):
        raise graph.unknown()
    else:
        x = second if first in graph.constants else first
        value = _per_channel(graph, x, graph.constants[constants[0]])
        scale, shift = np.ones(1), np.zeros(1)
        if node.op_type in ("Mul", "Div"):
            scale = value if node.op_type == "Mul" else 1 / value
        elif node.op_type == "Sub" and x == second:
            scale, shift = -scale, value
        else:
            shift = value if node.op_type == "Add" else -value
        _affine(graph, node, x, scale, shift)


def _affine(
    graph: PartialGraph, node: Any, x: str, scale: NDArray[np.float64], shift: NDArray[np.float64]
) -> None:
    """The tensor scale * x + shift; one factor or summand for all channels waits for a layer."""
    output = node.output[0]
    if scale.size > 1 or shift.size > 1:
        graph.maps[output] = graph.affine(title(node), graph.map(x), scale, shift)
        return
    factor, summand = float(scale[0]), float(shift[0])
    if summand or x in graph.shifted:
        source, a, b = graph.shifted.get(x) or (graph.map(x), 1.0, 0.0)
        graph.shifted[output] = source, a * factor, b * factor + summand
        return
    if x in graph.clipped:
        graph.clipped[output] = graph.clipped[x]
    else:
        graph.maps[output] = graph.map(x, scale=True)
    factor *= graph.scaled.get(x, 1.0)
    if not _close(factor, 1.0):
        graph.scaled[output] = factor


def _per_channel(graph: PartialGraph, x: str, value: Array) -> NDArray[np.float64]:
    """The constant as one value, or as one value per channel of ``x``."""
    if value.size == 1:
        return value.reshape(1).astype(np.float64)
    channels, *sides = graph.shape(x)
    shape = value.shape[1:] if value.ndim == 4 and len(value) == 1 else value.shape
    vector = sides == [1, 1] and shape in ((channels,), (1, channels))
    if shape != (channels, 1, 1) and not vector:
        raise graph.unknown("a constant of another shape")
    return value.ravel().astype(np.float64)


def _sum(graph: PartialGraph, node: Any) -> None:
    x, y = (graph.map(name) for name in node.input)
    if graph.shapes[x] != graph.shapes[y]:
        raise graph.unknown("tensors of unequal shape")
    graph.maps[node.output[0]] = graph.add(Add, title(node), [x, y])


def _product(graph: PartialGraph, node: Any) -> None:
    """A swish, a hard swish, or a map times a squeeze-excite gate."""
    first, second = node.input
    for x, gate in ((first, second), (second, first)):
        maker = graph.maker(gate)
        is_sigmoid = isinstance(maker, Activation) and maker.kind == "sigmoid"
        if is_sigmoid and maker and x not in graph.scaled and maker.inputs == (graph.maps.get(x),):
            graph.activation(node, graph.map(x), "swish")
            graph.copy_scale(gate, node.output[0])
            return
        source, a, b = graph.clipped.get(gate, ("", 0.0, 0.0))
        if source and source == graph.maps.get(x) and x not in graph.scaled:
            if not (_close(a, 1.0) and _close(b, 3.0)):
                continue
            graph.activation(node, source, "hard_swish")
            factor = 6 * graph.scaled.get(gate, 1.0)
            if not _close(factor, 1.0):
                graph.scaled[node.output[0]] = factor
            return
    names = [graph.map(name, scale=True) for name in node.input]
    if graph.shapes[names[0]][1:] == (1, 1):
        names.reverse()
    if graph.shapes[names[1]] != (graph.shapes[names[0]][0], 1, 1):
        raise graph.unknown("of two feature maps")
    factor = graph.scaled.get(first, 1.0) * graph.scaled.get(second, 1.0)
    if factor != 1:
        graph.scaled[node.output[0]] = factor
    graph.maps[node.output[0]] = graph.add(Mul, title(node), names)


def concat(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """Tensors of equal height and width, one after the other along the channels."""
    inputs = [graph.map(name) for name in node.input]
    sides = {graph.shapes[name][1:] for name in inputs}
    axis, vectors = attributes["axis"], sides == {(1, 1)}
    if len(sides) > 1 or (axis != 1 and not (axis == -1 and vectors) and axis != -3):
        raise graph.unknown("of another axis than the channels")
    graph.maps[node.output[0]] = graph.add(Concat, title(node), inputs)


def constant(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """A constant as a node."""
    ((name, value),) = attributes.items()
    if name == "value":
        value = onnx.numpy_helper.to_array(value)
    graph.constants[node.output[0]] = np.asarray(value)


def identity(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """An operator that changes nothing, such as Dropout outside training."""
    graph.alias(node.input[0], node.output[0])


def reshape(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """A change between a vector and a map of 1 x 1, or the vector of a map for a dense layer."""
    source, target = node.input[0], node.output[0]
    shape = graph.shape(source)
    graph.alias(source, target)
    if shape[1:] == (1, 1):
        return
    wanted = graph.constant(node.input[1]) if node.op_type == "Reshape" else None
    is_vector = wanted is not None and len(wanted) == 2
    if not is_vector and (node.op_type != "Flatten" or attributes.get("axis", 1) != 1):
        raise graph.unknown("to another shape")
    graph.flattened[target] = shape


def transpose(graph: PartialGraph, node: Any, attributes: Attributes) -> None:
    """The input's change from NHWC to NCHW, which leaves no node."""
    if node.input[0] not in graph.channels_last or list(attributes["perm"]) != [0, 3, 1, 2]:
        raise graph.unknown("of another tensor than the input")
    graph.maps[node.output[0]] = graph.maps[node.input[0]]


def _close(value: float, target: float) -> bool:
    return abs(value - target) <= _SAME_NUMBER * max(1.0, abs(target))


relu = partial(activation, kind="relu")
sigmoid = partial(activation, kind="sigmoid")
tanh = partial(activation, kind="tanh")
hard_swish = partial(activation, kind="hard_swish")
