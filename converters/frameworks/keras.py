"""Model -> trainable Keras model and back. TensorFlow's converter reads the Keras model too.

Layers have the names of the graph's nodes, dots included. Three kinds of layers are additional:
padding that Keras's "same" cannot express (``<node>.pad``), stochastic depth on the branch of a
residual Add (``<add>.drop``), and dropout before the classifier (``classifier.dropout``).

Feature maps are NHWC, kernels in Keras's layout:
  Conv       [out, in / groups, kh, kw]  <->  [kh, kw, in / groups, out]
  depthwise  [channels, 1, kh, kw]       <->  [kh, kw, channels, 1]
  Dense      [out, in]                   <->  [in, out]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.frameworks.stochastic_depth import drop_rates
from edge_effnet.errors import UsageError, require
from edge_effnet.forward import LEAKY_SLOPE
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
    same_pads,
)
from edge_effnet.model import Model

require("tensorflow", "tensorflow")
keras: Any = require("keras", "tensorflow")

BN_MOMENTUM = 0.99  # batch_norm_momentum of the released TensorFlow code
_BN_PARTS = ("weight", "bias", "running_mean", "running_var")  # Keras: gamma, beta, mean, variance
_FUNCTIONS = {"hard_swish": "hard_silu"}  # names in Keras that differ from ours
_NHWC = {"data_format": "channels_last"}  # overrides the user's keras.json


def build(model: Model, batch: int | None = None) -> Any:
    """A trainable functional ``keras.Model`` from normalised float32 ``image`` NHWC to logits.

    With ``training=True`` the residual branch of a block is dropped per sample, with a rate that
    grows over the blocks up to the variant's ``drop_connect``.

    Args:
        model: The network; keep BatchNorm unfolded for training.
        batch: Fixed batch size; None for any.
    """
    graph, variant = model.graph, model.variant
    rates = drop_rates(graph, variant.drop_connect) | {graph.output: variant.dropout}
    channels, height, width = graph.input_shape
    image = keras.Input((height, width, channels), batch_size=batch, name=graph.input)
    tensors = {graph.input: image}
    for node in graph:
        branch, *others = (tensors[name] for name in node.inputs)
        rate = rates.get(node.name, 0.0)
        if rate and isinstance(node, Add):
            per_sample = (None, 1, 1, 1)  # one random decision per sample
            branch = keras.layers.Dropout(rate, per_sample, name=f"{node.name}.drop")(branch)
        elif rate and isinstance(node, Dense):
            branch = keras.layers.Dropout(rate, name=f"{node.name}.dropout")(branch)
        tensors[node.name] = _apply(graph, node, [branch, *others])
    network = keras.Model(image, tensors[graph.output], name=model.variant.name)
    for node in graph:
        names = _parameters(node)
        if names:
            values = [_to_keras(node, model.weights[name]) for name in names]
            network.get_layer(node.name).set_weights(values)
    return network


def to_weights(network: Any, graph: Graph) -> dict[str, NDArray[np.float32]]:
    """Weights of a Keras model that `build` made from ``graph``, by canonical name."""
    weights = {}
    for node in graph:
        names = _parameters(node)
        if names:
            values = network.get_layer(node.name).get_weights()
            for name, value in zip(names, values, strict=True):
                weights[name] = _from_keras(node, np.asarray(value, np.float32))
    return weights


def _apply(graph: Graph, node: Node, inputs: list[Any]) -> Any:
    """The Keras tensor of one node."""
    layers, name, x = keras.layers, node.name, inputs[0]
    if isinstance(node, Conv):
        x, padding = _padded(graph, node, x, 0.0)
        shared = {"padding": padding, "use_bias": node.bias, "name": name, **_NHWC}
        if node.depthwise:
            return layers.DepthwiseConv2D(node.kernel, node.stride, **shared)(x)
        shared["groups"] = node.groups
        return layers.Conv2D(node.channels, node.kernel, node.stride, **shared)(x)
    if isinstance(node, BatchNorm):
        return layers.BatchNormalization(epsilon=node.eps, momentum=BN_MOMENTUM, name=name)(x)
    if isinstance(node, Activation):
        if node.kind == "leaky_relu":
            return layers.LeakyReLU(negative_slope=LEAKY_SLOPE, name=name)(x)
        return layers.Activation(_FUNCTIONS.get(node.kind, node.kind), name=name)(x)
    if isinstance(node, LayerNorm) and node.center:
        return layers.LayerNormalization(epsilon=node.eps, name=name)(x)
    if isinstance(node, Add):
        return layers.Add(name=name)(inputs)
    if isinstance(node, Mul):
        return layers.Multiply(name=name)(inputs)
    if isinstance(node, GlobalAveragePool):
        return layers.GlobalAveragePooling2D(keepdims=node.keepdims, name=name, **_NHWC)(x)
    if isinstance(node, MaxPool):
        x, padding = _padded(graph, node, x, -np.inf)
        return layers.MaxPooling2D(node.kernel, node.stride, padding, name=name, **_NHWC)(x)
    if isinstance(node, Dense):
        return layers.Dense(node.units, use_bias=node.bias, name=name)(x)
    raise UsageError(
        f"{node.name}: Keras has no layer for this {type(node).__name__}, so TensorFlow cannot "
        "write the network"
    )


def _padded(graph: Graph, node: Conv | MaxPool, x: Any, value: float) -> tuple[Any, str]:
    """Input of a convolution or pooling, padded if Keras's "same" differs, and the padding mode."""
    if node.pads == same_pads(graph.shapes[node.inputs[0]], node.kernel, node.stride):
        return x, "same"
    if any(node.pads):
        top, left, bottom, right = node.pads
        if value == 0.0 or _never_negative(graph, node.inputs[0]):
            pads = ((top, bottom), (left, right))
            x = keras.layers.ZeroPadding2D(pads, name=f"{node.name}.pad", **_NHWC)(x)
        else:
            x = keras.ops.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), "constant", value)
    return x, "valid"


def _never_negative(graph: Graph, tensor: str) -> bool:
    node = graph.by_name.get(tensor)
    return isinstance(node, Activation) and node.kind in ("relu", "relu6", "sigmoid")


def _parameters(node: Node) -> list[str]:
    """Canonical names of a node's parameters, in the order of ``keras.Layer.get_weights``."""
    if isinstance(node, BatchNorm):
        return [f"{node.name}.{part}" for part in _BN_PARTS]
    if isinstance(node, LayerNorm):
        return [f"{node.name}.weight", f"{node.name}.bias"]
    if isinstance(node, (Conv, Dense)):
        return [f"{node.name}.weight"] + ([f"{node.name}.bias"] if node.bias else [])
    return []


def _to_keras(node: Node, values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.ndim != 4:
        return values.T
    return values.transpose(2, 3, 0, 1) if _stays(node) else values.transpose(2, 3, 1, 0)


def _from_keras(node: Node, values: NDArray[np.float32]) -> NDArray[np.float32]:
    if values.ndim == 4:
        values = values.transpose(2, 3, 0, 1) if _stays(node) else values.transpose(3, 2, 0, 1)
        return np.ascontiguousarray(values)
    return np.ascontiguousarray(values.T)


def _stays(node: Node) -> bool:
    """Whether the kernel is depthwise; (channels, 1) then have the same order in both layouts."""
    return isinstance(node, Conv) and node.depthwise
