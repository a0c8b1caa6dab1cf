"""Inference with numpy only: logits from a graph, weights and a batch of inputs.

Convolutions are float32 matrix products of unfolded inputs. B0 at 224 pixels takes about half a
second. This module verifies the weights read from a PyTorch or Keras model against the outputs of
that model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    Pads,
)
from edge_effnet.model import Weights

Floats = NDArray[np.float32]
LEAKY_SLOPE = 0.01


def erf(x: NDArray[Any]) -> NDArray[Any]:
    """The error function, in the dtype of ``x``."""
    values = np.frompyfunc(math.erf, 1, 1)(x)
    return np.asarray(values, np.asarray(x).dtype)


def logits(graph: Graph, weights: Weights, batch: Floats) -> Floats:
    """Output [n, classes] of ``graph`` for n normalised float32 images [n, channels, h, w]."""
    tensors = {graph.input: np.ascontiguousarray(batch, np.float32)}
    last_readers = {name: node for node in graph for name in node.inputs}
    for node in graph:
        inputs = [tensors[name] for name in node.inputs]
        parameters = {
            part: weights[f"{node.name}.{part}"]
            for part in _PARTS
            if f"{node.name}.{part}" in weights
        }
        tensors[node.name] = _COMPUTE[type(node)](node, inputs, parameters)
        for name in set(node.inputs):
            if last_readers[name] is node:
                del tensors[name]
    return tensors[graph.output]


_PARTS = ("weight", "bias", "running_mean", "running_var")
_Parameters = Mapping[str, Floats]


def _conv(node: Conv, inputs: list[Floats], parameters: _Parameters) -> Floats:
    weight, (x,) = parameters["weight"], inputs
    if node.kernel == 1 and node.stride == 1 and node.groups == 1 and not any(node.pads):
        n, channels, height, width = x.shape
        flat = weight.reshape(node.channels, channels) @ x.reshape(n, channels, -1)
        result = flat.reshape(n, node.channels, height, width)
    elif node.depthwise:
        windows = _windows(x, node.kernel, node.stride, node.pads, 0.0)
        result = np.zeros(windows.shape[:4], np.float32)
        for row in range(node.kernel):
            for column in range(node.kernel):
                result += windows[..., row, column] * weight[:, 0, row, column, None, None]
    else:
        windows = _windows(x, node.kernel, node.stride, node.pads, 0.0)
        size, outputs = weight.shape[1], node.channels // node.groups
        groups = [
            np.tensordot(
                windows[:, group * size : (group + 1) * size],
                weight[group * outputs : (group + 1) * outputs],
                axes=((1, 4, 5), (1, 2, 3)),
            )
            for group in range(node.groups)
        ]
        result = np.ascontiguousarray(np.concatenate(groups, axis=3).transpose(0, 3, 1, 2))
    if "bias" in parameters:
        result = result + parameters["bias"][:, None, None]
    return result


def _batch_norm(node: BatchNorm, inputs: list[Floats], parameters: _Parameters) -> Floats:
    (x,) = inputs
    factor = parameters["weight"] / np.sqrt(parameters["running_var"] + np.float32(node.eps))
    offset = parameters["bias"] - parameters["running_mean"] * factor
    shape = (-1, *(1,) * (x.ndim - 2))
    return np.asarray(x * factor.reshape(shape) + offset.reshape(shape))


def _activation(node: Activation, inputs: list[Floats], parameters: _Parameters) -> Floats:
    (x,) = inputs
    if node.kind == "relu":
        return np.maximum(x, np.float32(0))
    if node.kind == "relu6":
        return np.clip(x, np.float32(0), np.float32(6))
    if node.kind == "leaky_relu":
        return np.asarray(np.maximum(x, np.float32(LEAKY_SLOPE) * x))
    if node.kind == "hard_swish":
        return np.asarray(x * np.clip(x + 3, 0, 6) / np.float32(6))
    if node.kind == "tanh":
        return np.asarray(np.tanh(x))
    if node.kind == "gelu":
        return np.asarray(0.5 * x * (1 + erf(x / np.float32(np.sqrt(2)))))
    with np.errstate(over="ignore"):  # exp(-x) may overflow to infinity; sigmoid is then 0
        sigmoid = 1 / (1 + np.exp(-x))
    return np.asarray(x * sigmoid if node.kind == "swish" else sigmoid)


def _add(node: Add, inputs: list[Floats], parameters: _Parameters) -> Floats:
    return inputs[0] + inputs[1]


def _concat(node: Concat, inputs: list[Floats], parameters: _Parameters) -> Floats:
    return np.concatenate(inputs, axis=1)


def _mul(node: Mul, inputs: list[Floats], parameters: _Parameters) -> Floats:
    return inputs[0] * inputs[1]


def _average_pool(node: GlobalAveragePool, inputs: list[Floats], parameters: _Parameters) -> Floats:
    return np.asarray(inputs[0].mean(axis=(2, 3), keepdims=node.keepdims))


def _max_pool(node: MaxPool, inputs: list[Floats], parameters: _Parameters) -> Floats:
    windows = _windows(inputs[0], node.kernel, node.stride, node.pads, -np.inf)
    return np.asarray(windows.max(axis=(4, 5)))


def _dense(node: Dense, inputs: list[Floats], parameters: _Parameters) -> Floats:
    result = inputs[0] @ parameters["weight"].T
    return np.asarray(result + parameters["bias"] if "bias" in parameters else result)


def _layer_norm(node: LayerNorm, inputs: list[Floats], parameters: _Parameters) -> Floats:
    return layer_norm(node, inputs[0], {f"{node.name}.{k}": v for k, v in parameters.items()})


def layer_norm(node: LayerNorm, x: Floats, weights: Weights) -> Floats:
    """Layer normalisation ``node`` applied to n vectors [n, features]."""
    if node.center:
        x = x - x.mean(axis=1, keepdims=True)
    root = np.sqrt(np.square(x).mean(axis=1, keepdims=True) + np.float32(node.eps))
    return np.asarray(x / root * weights[f"{node.name}.weight"] + weights[f"{node.name}.bias"])


def _windows(x: Floats, kernel: int, stride: int, pads: Pads, fill: float) -> Floats:
    """Input patch of each output position, [n, channels, rows, columns, kernel, kernel]."""
    top, left, bottom, right = pads
    if any(pads):
        sides = ((0, 0), (0, 0), (top, bottom), (left, right))
        x = np.pad(x, sides, constant_values=np.float32(fill))
    view = np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


_COMPUTE: dict[type[Node], Callable[..., Floats]] = {
    Activation: _activation,
    Add: _add,
    BatchNorm: _batch_norm,
    Concat: _concat,
    Conv: _conv,
    Dense: _dense,
    GlobalAveragePool: _average_pool,
    LayerNorm: _layer_norm,
    MaxPool: _max_pool,
    Mul: _mul,
}
