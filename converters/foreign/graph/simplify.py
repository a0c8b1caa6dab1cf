"""Simplification of a graph that was read: BatchNorm folded, dense layers at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.foreign.graph.partial_graph import UnknownLayerError
from edge_effnet.graph import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    Node,
)

Weights = Mapping[str, NDArray[np.float32]]


def simplify(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """The same function in the form that calibration needs, with only the weights it uses.

    Args:
        graph: A graph whose vectors are maps of 1 x 1.
        weights: Its parameters, and possibly others.

    Raises:
        UnknownLayerError: A layer has no such form.
    """
    values = dict(weights)
    for step in (_fold, _expand, _separate_activations, _add_biases, _vector_tail):
        graph = step(graph, values)
    return graph, {name: values[name] for name in graph.parameter_shapes}


def single_reader_of_input(graph: Graph, weights: Weights) -> tuple[Graph, Weights]:
    """The same function with one ungrouped convolution that reads the input.

    Its weights absorb a normalisation that differs between the channels. If several nodes read the
    input, or another node, an identity convolution is inserted.
    """
    readers = graph.consumers[graph.input]
    first = readers[0]
    if len(readers) == 1 and isinstance(first, Conv) and first.groups == 1:
        return graph, weights
    channels, name = graph.input_shape[0], f"{graph.input}.identity"
    identity = Conv(name=name, inputs=(graph.input,), channels=channels, kernel=1, bias=True)
    values = {
        f"{name}.weight": np.eye(channels, dtype=np.float32)[:, :, None, None],
        f"{name}.bias": np.zeros(channels, np.float32),
    }
    nodes = [
        replace(node, inputs=tuple(name if each == graph.input else each for each in node.inputs))
        for node in graph
    ]
    return replace(graph, nodes=(identity, *nodes)), {**values, **weights}


def _fold(graph: Graph, weights: dict[str, NDArray[np.float32]]) -> Graph:
    """Each BatchNorm folded into the convolution that it alone reads, in float64."""
    nodes: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        before = nodes.get(inputs[0])
        alone = len(graph.consumers[node.inputs[0]]) == 1
        if not isinstance(node, BatchNorm) or not isinstance(before, Conv) or not alone:
            nodes[node.name] = replace(node, inputs=inputs)
            continue
        scale, shift = _affine(node, weights)
        if before.bias:
            shift = shift + scale * weights[f"{before.name}.bias"]
        weight = weights[f"{before.name}.weight"] * scale[:, None, None, None]
        weights[f"{before.name}.weight"] = weight.astype(np.float32)
        weights[f"{before.name}.bias"] = shift.astype(np.float32)
        nodes[before.name] = replace(before, bias=True)
        renamed[node.name] = before.name
    return replace(graph, nodes=tuple(nodes.values()))


def _affine(
    node: BatchNorm, weights: dict[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and summand per channel."""
    parts = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, var = (weights[f"{node.name}.{part}"].astype(np.float64) for part in parts)
    scale = gamma / np.sqrt(var + node.eps)
    return scale, beta - mean * scale


def _expand(graph: Graph, weights: dict[str, NDArray[np.float32]]) -> Graph:
    """Every other BatchNorm as a depthwise convolution of 1 x 1."""
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, BatchNorm):
            scale, shift = _affine(node, weights)
            weights[f"{node.name}.weight"] = scale.astype(np.float32).reshape(-1, 1, 1, 1)
            weights[f"{node.name}.bias"] = shift.astype(np.float32)
            node = _per_channel(node.name, node.inputs[0], len(scale))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _per_channel(name: str, source: str, channels: int) -> Conv:
    return Conv(
        name=name, inputs=(source,), channels=channels, kernel=1, groups=channels, bias=True
    )


def _separate_activations(graph: Graph, weights: dict[str, NDArray[np.float32]]) -> Graph:
    """An identity convolution before each activation that is not alone behind a layer or sum.

    Calibration computes an activation together with the layer or sum before it.
    """
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Activation):
            (source,) = node.inputs
            layer = isinstance(graph.by_name.get(source), (Conv, Add, LayerNorm))
            if not layer or len(graph.consumers[source]) > 1:
                channels, name = graph.shapes[source][0], f"{node.name}.identity"
                weights[f"{name}.weight"] = np.ones((channels, 1, 1, 1), np.float32)
                weights[f"{name}.bias"] = np.zeros(channels, np.float32)
                nodes.append(_per_channel(name, source, channels))
                node = replace(node, inputs=(name,))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _add_biases(graph: Graph, weights: dict[str, NDArray[np.float32]]) -> Graph:
    """Every convolution with a bias, which calibration corrects."""
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, Conv) and not node.bias:
            weights[f"{node.name}.bias"] = np.zeros(node.channels, np.float32)
            node = replace(node, bias=True)
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _vector_tail(graph: Graph, weights: dict[str, NDArray[np.float32]]) -> Graph:
    """Dense layers in place of the last 1 x 1 convolutions, and the output as a vector.

    Raises:
        UnknownLayerError: A layer normalisation is not among these last layers.
    """
    tail: set[str] = set()
    name = graph.output
    while name in graph.by_name and len(graph.consumers[name]) <= 1:
        node = graph.by_name[name]
        window = isinstance(node, Conv) and graph.shapes[node.inputs[0]][1:] != (1, 1)
        grouped = isinstance(node, Conv) and node.groups > 1
        if not isinstance(node, (Conv, Activation, LayerNorm)) or window or grouped:
            break
        tail.add(name)
        name = node.inputs[0]
    pooled = isinstance(graph.by_name.get(name), GlobalAveragePool)
    pooled = pooled and len(graph.consumers[name]) <= 1
    vector = name if pooled else f"{name}.vector"
    nodes: list[Node] = []
    for node in graph:
        if isinstance(node, LayerNorm) and node.name not in tail:
            raise UnknownLayerError(f"LayerNormalization {node.name} before the last layers")
        if node.name in tail:
            inputs = tuple(vector if each == name else each for each in node.inputs)
            node = _on_vector(replace(node, inputs=inputs), weights)
        elif node.name == name and isinstance(node, GlobalAveragePool) and pooled:
            node = replace(node, keepdims=False)
        nodes.append(node)
        if node.name == name and not pooled:
            nodes.append(GlobalAveragePool(name=vector, inputs=(name,)))
    return replace(graph, nodes=tuple(nodes))


def _on_vector(node: Node, weights: dict[str, NDArray[np.float32]]) -> Node:
    """A node of the tail; a 1 x 1 convolution becomes a dense layer."""
    if not isinstance(node, Conv):
        return node
    weight = weights[f"{node.name}.weight"]
    weights[f"{node.name}.weight"] = weight.reshape(len(weight), -1)
    return Dense(name=node.name, inputs=node.inputs, units=node.channels, bias=node.bias)
