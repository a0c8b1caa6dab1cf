"""Heads: the layers after the last convolution, and their conversion to nodes of a `Graph`.

A head is a pooling and a list of layers. `attach` converts it to nodes that all formats support.
Constant factors and shifts (BatchNorm at inference) are folded into adjacent linear layers. A
linear layer on two concatenated poolings becomes the sum of two linear layers. Adjacent linear
layers are merged into one if that has fewer weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import UsageError
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    MaxPool,
    Node,
)
from edge_effnet.model import Weights
from edge_effnet.variants import ActivationKind

Doubles = NDArray[np.float64]
#: avg, max: one pooling. avgmax: mean of average and max pooling. Two names joined by "+": both
#: poolings, concatenated in this order.
Pooling = Literal["avg", "max", "avgmax", "avg+max", "max+avg"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

POOL, CLASSIFIER = "head.pool", "classifier"
_SHORTEST = 1e-12  # lower bound of the norm in torch.nn.functional.normalize
_BEFORE_LINEAR = "can be converted only directly before a linear layer"


@dataclass(frozen=True)
class Linear:
    """A linear layer: ``weight`` [out, in], ``bias`` [out]."""

    weight: NDArray[Any]
    bias: NDArray[Any]


@dataclass(frozen=True)
class Affine:
    """x * factor + shift for each feature, as in BatchNorm at inference; both [features]."""

    factor: NDArray[Any]
    shift: NDArray[Any]


@dataclass(frozen=True)
class Function:
    """A pointwise activation function."""

    kind: ActivationKind


@dataclass(frozen=True)
class Normalization:
    """Layer normalisation of the features, as in `graph.LayerNorm`; both arrays [features]."""

    weight: NDArray[Any]
    bias: NDArray[Any]
    eps: float
    center: bool = True


Layer = Linear | Affine | Function | Normalization


@dataclass(frozen=True)
class Head:
    """``pooling`` of the last feature map, then ``layers``."""

    layers: tuple[Layer, ...]
    pooling: Pooling = "avg"

    @property
    def linear_layers(self) -> int:
        """Number of linear layers."""
        return sum(isinstance(layer, Linear) for layer in self.layers)


def cosine(weight: NDArray[Any], scale: float) -> tuple[Layer, Layer]:
    """Layers that compute ``scale`` times the cosine of the features and each row of ``weight``."""
    rows = weight.astype(np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), _SHORTEST)
    outputs, features = rows.shape
    unit = Normalization(np.ones(features), np.zeros(features), _SHORTEST**2, center=False)
    return unit, Linear(rows * (scale / np.sqrt(features)), np.zeros(outputs))


def trunk(graph: Graph) -> Graph:
    """``graph`` without its head, up to the tensor that the head pools."""
    return replace(graph, nodes=graph.nodes[: -len(head_nodes(graph))])


def head_nodes(graph: Graph) -> tuple[Node, ...]:
    """The nodes of the head: the head's pooling and all nodes after it."""
    start = next(i for i, node in enumerate(graph.nodes) if node.name.startswith(POOL))
    return graph.nodes[start:]


def is_plain(graph: Graph) -> bool:
    """Whether the head is average pooling followed by one linear layer."""
    return [type(node) for node in head_nodes(graph)] == [GlobalAveragePool, Dense]


def with_head_nodes(trunk: Graph, nodes: Sequence[Node]) -> Graph:
    """``trunk`` with the head's ``nodes``, whose pooling windows cover the whole feature map."""
    side = trunk.shapes[trunk.output][1]
    fitting = [
        replace(node, kernel=side, stride=side) if isinstance(node, MaxPool) else node
        for node in nodes
    ]
    return replace(trunk, nodes=(*trunk.nodes, *fitting))


def attach(trunk: Graph, weights: Weights, head: Head) -> tuple[Graph, Weights]:
    """The network ``trunk`` with ``head``; its last node is named ``classifier``.

    Args:
        trunk: A graph whose output is a feature map.
        weights: Weights of ``trunk``.
        head: The head; its last layer with weights is linear.

    Returns:
        The graph, and the weights of all its parameters.

    Raises:
        UsageError: A layer cannot be folded into a neighbour.
    """
    writer = _Writer(trunk)
    writer.write(simplified(head))
    graph = replace(trunk, nodes=(*trunk.nodes, *writer.nodes))
    values = {**weights, **writer.weights}
    return graph, {name: values[name] for name in graph.parameter_shapes}


def simplified(head: Head) -> Head:
    """An equivalent head with as few layers as possible; its `Linear` weights are float64.

    An `Affine` remains only as the first layer, directly before an activation or a `Normalization`.
    """
    layers: list[Layer] = []
    head_layers = head.layers
    if isinstance(head_layers[0], Function):
        one = np.ones(1)
        head_layers = (Affine(one, 0 * one), *head_layers)
    for layer in head_layers:
        last = layers[-1] if layers else None
        if isinstance(layer, Linear):
            layer = Linear(layer.weight.astype(np.float64), layer.bias.astype(np.float64))
            if isinstance(last, Affine):
                layer = _composed(layer, last)
                layers.pop()
            elif isinstance(last, Linear) and _smaller_together(last, layer):
                layer = Linear(layer.weight @ last.weight, layer.weight @ last.bias + layer.bias)
                layers.pop()
        elif isinstance(layer, Affine):
            if isinstance(last, Linear):
                factor = layer.factor.astype(np.float64)
                layers.pop()
                layer = Linear(last.weight * factor[:, None], last.bias * factor + layer.shift)
            elif isinstance(last, Normalization):
                layers.pop()
                weight, bias = last.weight * layer.factor, last.bias * layer.factor + layer.shift
                layer = replace(last, weight=weight, bias=bias)
            elif isinstance(last, Affine):
                factor = layer.factor.astype(np.float64)
                layers.pop()
                layer = Affine(last.factor * factor, last.shift * factor + layer.shift)
        layers.append(layer)
    return replace(head, layers=(*layers[:1], *map(_dense_form, layers[1:])))


def _dense_form(layer: Layer) -> Layer:
    """A remaining `Affine` as a `Linear` with a diagonal weight; other layers unchanged."""
    if not isinstance(layer, Affine):
        return layer
    return Linear(np.diag(np.asarray(layer.factor, np.float64)), layer.shift)


def _composed(linear: Linear, before: Affine) -> Linear:
    shift = np.asarray(before.shift, np.float64)
    return Linear(linear.weight * before.factor, linear.bias + linear.weight @ shift)


def _smaller_together(first: Linear, second: Linear) -> bool:
    (hidden, features), outputs = first.weight.shape, len(second.weight)
    return bool(outputs * features <= hidden * (features + outputs))


class _Writer:
    """The nodes and weights of one head."""

    def __init__(self, trunk: Graph) -> None:
        self.source = trunk.output
        self.channels, self.side, _ = trunk.shapes[trunk.output]
        self.nodes: list[Node] = []
        self.weights: dict[str, NDArray[np.float32]] = {}

    def write(self, head: Head) -> None:
        layers = list(head.layers)
        if head.pooling == "avgmax":
            layers = _halved(layers)
        first, x = layers[0], ""
        if isinstance(first, Affine):
            function = layers[1] if isinstance(layers[1], Function) else None
            x = self.scaled_pool(head.pooling, first, function)
            layers = layers[1 if function is None else 2 :]
        elif "+" not in head.pooling:
            x = self.pool(head.pooling)
        elif not isinstance(first, Linear):
            raise UsageError(f"two concatenated poolings {_BEFORE_LINEAR}")
        linear = [index for index, layer in enumerate(layers) if isinstance(layer, Linear)]
        hidden = 0
        for index, layer in enumerate(layers):
            if isinstance(layer, Linear):
                final = index == linear[-1]
                name = CLASSIFIER if final else f"head.hidden{hidden}"
                x = self.split(name, layer, head.pooling) if not x else self.dense(name, layer, x)
                hidden += 1
            elif isinstance(layer, Normalization):
                x = self.normalisation(f"head.norm{index}", layer, x)
            elif isinstance(layer, Function):
                x = self.add(Activation(name=f"{x}_act", inputs=(x,), kind=layer.kind))

    def add(self, node: Node) -> str:
        self.nodes.append(node)
        return node.name

    def pool(self, pooling: str, name: str = POOL) -> str:
        """Add nodes that pool the feature map to a vector [channels]; returns the tensor's name."""
        if pooling == "avgmax":
            pooled = [self.pool(kind, f"{name}.{kind}") for kind in ("avg", "max")]
            return self.add(Add(name=name, inputs=tuple(pooled)))
        x = self.largest(name) if pooling == "max" else self.source
        return self.add(GlobalAveragePool(name=name, inputs=(x,)))

    def scaled_pool(self, pooling: Pooling, affine: Affine, function: Function | None) -> str:
        """Add nodes of ``function``(pooled * factor + shift), a vector [channels].

        The factor and shift of ``affine`` become a depthwise 1 x 1 convolution. Integer kernels
        fuse this convolution with the activation.
        """
        if pooling not in ("avg", "max"):
            raise UsageError(f"two poolings {_BEFORE_LINEAR}")
        x = self.largest(POOL) if pooling == "max" else self.source
        x = self.add(GlobalAveragePool(name=f"{POOL}.mean", inputs=(x,), keepdims=True))
        name, channels = "head.scale", self.channels
        x = self.add(
            Conv(name=name, inputs=(x,), channels=channels, kernel=1, groups=channels, bias=True)
        )
        factor = np.broadcast_to(affine.factor, channels)
        self.weights[f"{name}.weight"] = _single(factor).reshape(-1, 1, 1, 1)
        self.weights[f"{name}.bias"] = _single(np.broadcast_to(affine.shift, channels))
        if function is not None:
            x = self.add(Activation(name=f"{name}_act", inputs=(x,), kind=function.kind))
        return self.add(GlobalAveragePool(name=POOL, inputs=(x,)))

    def largest(self, name: str) -> str:
        """Add global max pooling to [channels, 1, 1]."""
        return self.add(
            MaxPool(
                name=f"{name}.largest",
                inputs=(self.source,),
                kernel=self.side,
                stride=self.side,
            )
        )

    def dense(self, name: str, layer: Linear, x: str, biased: bool = True) -> str:
        self.weights[f"{name}.weight"] = _single(layer.weight)
        self.weights[f"{name}.bias"] = _single(layer.bias if biased else 0 * layer.bias)
        return self.add(Dense(name=name, inputs=(x,), units=len(layer.weight)))

    def normalisation(self, name: str, layer: Normalization, x: str) -> str:
        self.weights[f"{name}.weight"] = _single(layer.weight)
        self.weights[f"{name}.bias"] = _single(layer.bias)
        return self.add(LayerNorm(name=name, inputs=(x,), eps=layer.eps, center=layer.center))

    def split(self, name: str, layer: Linear, pooling: str) -> str:
        """Add a linear layer on two concatenated poolings as a sum of two linear layers."""
        half = layer.weight.shape[1] // 2
        parts = zip(
            pooling.split("+"), (layer.weight[:, :half], layer.weight[:, half:]), strict=True
        )
        terms = []
        for index, (kind, weight) in enumerate(parts):
            x = self.pool(kind, f"{POOL}.{kind}")
            linear = Linear(weight, layer.bias)
            terms.append(self.dense(f"{name}.{kind}", linear, x, biased=not index))
        return self.add(Add(name=name, inputs=tuple(terms)))


def _halved(layers: Sequence[Layer]) -> list[Layer]:
    """``layers`` with half the first weight, so that two poolings may be added, not averaged."""
    first, *others = layers
    if not isinstance(first, Linear):
        raise UsageError(f"the mean of two poolings {_BEFORE_LINEAR}")
    return [Linear(first.weight * 0.5, first.bias), *others]


def _single(values: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, np.float32)
