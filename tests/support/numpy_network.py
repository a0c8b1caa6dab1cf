"""A network computed in numpy, float64, straight from the definitions: the writers' reference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
    Pads,
)

Values = NDArray[np.float64]
Round = Callable[[str, Values], Values]


def run(
    graph: Graph,
    weights: Mapping[str, NDArray[np.generic]],
    image: NDArray[np.generic],
    rounded: Round = lambda name, values: values,
) -> dict[str, Values]:
    """Every tensor by name, for one image [3, side, side].

    ``rounded`` gets each tensor by name and returns what the nodes after it read.
    """
    tensors = {graph.input: rounded(graph.input, np.asarray(image, np.float64))}
    for node in graph:
        parameters = {
            name.removeprefix(f"{node.name}."): np.asarray(values, np.float64)
            for name, values in weights.items()
            if name.rpartition(".")[0] == node.name
        }
        values = _value(node, [tensors[name] for name in node.inputs], parameters)
        tensors[node.name] = rounded(node.name, values)
    return tensors


def _value(node: Node, inputs: list[Values], parameters: Mapping[str, Values]) -> Values:
    x = inputs[0]
    if isinstance(node, Conv):
        return _convolution(node, x, parameters)
    if isinstance(node, BatchNorm):
        mean, variance = (parameters[f"running_{name}"] for name in ("mean", "var"))
        factor = parameters["weight"] / np.sqrt(variance + node.eps)
        return (x - mean[:, None, None]) * factor[:, None, None] + parameters["bias"][:, None, None]
    if isinstance(node, Activation):
        return activation(node.kind, x)
    if isinstance(node, LayerNorm):
        centred = x - x.mean() if node.center else x
        root = np.sqrt(np.mean(centred**2) + node.eps)
        return centred / root * parameters["weight"] + parameters["bias"]
    if isinstance(node, Add):
        return x + inputs[1]
    if isinstance(node, Mul):
        return x * inputs[1]
    if isinstance(node, GlobalAveragePool):
        return x.mean(axis=(1, 2), keepdims=node.keepdims)
    if isinstance(node, MaxPool):
        return _windows(x, node.kernel, node.stride, node.pads, -np.inf).max(axis=(3, 4))
    assert isinstance(node, Dense), node
    return parameters["weight"] @ x + parameters.get("bias", 0.0)


def activation(kind: str, x: Values) -> Values:
    """The value of an activation."""
    sigmoid = 1 / (1 + np.exp(-x))
    return {
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "swish": x * sigmoid,
        "sigmoid": sigmoid,
        "tanh": np.tanh(x),
        "gelu": x * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2))) / 2,
        "hard_swish": x * np.clip(x + 3, 0, 6) / 6,
        "leaky_relu": np.where(x > 0, x, 0.01 * x),
    }[kind]


def _convolution(node: Conv, x: Values, parameters: Mapping[str, Values]) -> Values:
    windows = _windows(x, node.kernel, node.stride, node.pads, 0.0)
    weight = parameters["weight"]
    size = weight.shape[1]  # input channels of a group
    per_group = node.channels // node.groups
    maps = [
        np.tensordot(
            weight[group * per_group : (group + 1) * per_group],
            windows[group * size : (group + 1) * size],
            axes=((1, 2, 3), (0, 3, 4)),
        )
        for group in range(node.groups)
    ]
    bias = parameters.get("bias", np.zeros(node.channels))
    return np.concatenate(maps) + bias[:, None, None]


def _windows(x: Values, kernel: int, stride: int, pads: Pads, fill: float) -> Values:
    """[channels, rows, columns, kernel, kernel]: what each output position sees."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(1, 2))
    return view[:, ::stride, ::stride]
