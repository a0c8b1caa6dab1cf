"""Partial graph: the nodes read so far, and what each ONNX tensor is in them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.foreign.onnx_file import Network, onnx
from edge_effnet.graph import (
    Activation,
    BatchNorm,
    Conv,
    Graph,
    Node,
    Pads,
    Shape,
    output_shape,
)
from edge_effnet.variants import ActivationKind

_INPUT = "image"
Array = NDArray[Any]
Attributes = dict[str, Any]


class UnknownLayerError(Exception):
    """`Graph` cannot express a layer of the network; the text names the layer."""


class PartialGraph:
    """The nodes that were read, and tables by the names of ONNX tensors.

    A vector is a map of 1 x 1. Some operators leave no node: the next layer absorbs them.

    Attributes:
        nodes: The nodes, in order.
        shapes: Shapes by the names of nodes.
        weights: float32 parameters.
        maps: The node that computes a tensor.
        constants: Weights and other constants.
        scaled: Factor of a tensor, which the weights of the next layer absorb.
        shifted: (node, a, b) of the tensor a * node + b.
        clipped: (node, a, b) of the tensor clip(a * node + b, 0, 6).
        padded: Pads of a tensor and their value, which the next window absorbs.
        flattened: Shape of a map whose elements are a vector for the next dense layer.
        channels_last: The input with shape [1, side, side, 3], until it is transposed.
    """

    def __init__(self, network: Network) -> None:
        side = network.input.size[0]
        self.current = ""  # the operator that is read, for messages
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {_INPUT: (3, side, side)}
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.maps = {network.tensor: _INPUT}
        self.constants: dict[str, Array] = {
            tensor.name: onnx.numpy_helper.to_array(tensor)
            for tensor in network.proto.graph.initializer
        }
        self.scaled: dict[str, float] = {}
        self.shifted: dict[str, tuple[str, float, float]] = {}
        self.clipped: dict[str, tuple[str, float, float]] = {}
        self.padded: dict[str, tuple[Pads, float]] = {}
        self.flattened: dict[str, Shape] = {}
        self.channels_last = {network.tensor} if network.input.layout == "NHWC" else set[str]()

    def unknown(self, reason: str = "") -> UnknownLayerError:
        """The error for the operator that is read."""
        return UnknownLayerError(self.current + (f" ({reason})" if reason else ""))

    def graph(self, output: str) -> Graph:
        """The graph that ends in the ONNX tensor ``output``, a map [classes, 1, 1]."""
        name = self.map(output)
        if self.shapes[name][1:] != (1, 1) or name == _INPUT:
            raise UnknownLayerError(f"an output of shape {list(self.shapes[name])}")
        needed, nodes = {name}, []
        for node in reversed(self.nodes):
            if node.name in needed:
                needed.update(node.inputs)
                nodes.append(node)
        return Graph(_INPUT, self.shapes[_INPUT], tuple(reversed(nodes)))

    def map(self, name: str, *, scale: bool = False, pads: bool = False) -> str:
        """The node that computes the ONNX tensor ``name``.

        A factor or pads without a node get one, unless the caller absorbs them.

        Args:
            name: The tensor.
            scale: Whether the caller absorbs a factor.
            pads: Whether the caller absorbs pads.
        """
        if name in self.shifted:
            x, a, b = self.shifted.pop(name)
            self.maps[name] = self.affine(f"{name}/affine", x, a, b)
        if name in self.clipped:
            x, a, b = self.clipped.pop(name)
            inner = x if (a, b) == (1.0, 0.0) else self.affine(f"{name}/affine", x, a, b)
            self.maps[name] = self.add(Activation, name, [inner], kind="relu6")
        if name not in self.maps or name in self.channels_last or name in self.flattened:
            raise self.unknown("its input is no feature map")
        if name in self.padded and not pads:
            raise self.unknown("after padding")
        if name in self.scaled and not scale:
            factor = self.scaled.pop(name)
            self.maps[name] = self.affine(f"{name}/affine", self.maps[name], factor, 0.0)
        return self.maps[name]

    def shape(self, name: str) -> Shape:
        """Shape of the ONNX tensor ``name`` as a map, without pads."""
        return self.shapes[self.map(name, scale=True, pads=True)]

    def constant(self, name: str) -> Array:
        """Value of a weight or another constant."""
        if name not in self.constants:
            raise self.unknown("its weights are computed")
        return self.constants[name]

    def maker(self, name: str) -> Node | None:
        """The node of the ONNX tensor ``name``; None for the input, or without one."""
        return next((node for node in self.nodes if node.name == self.maps.get(name)), None)

    def add(self, node_type: type[Node], name: str, inputs: list[str], /, **fields: Any) -> str:
        """Append a node.

        Args:
            node_type: Its type.
            name: Its name; slashes become dots, and the result is made unique.
            inputs: The nodes that it reads.
            **fields: Further fields of the type.

        Returns:
            The name.
        """
        base = name.strip("/").replace("/", ".") or "tensor"
        unique, number = base, 1
        while unique in self.shapes:
            unique, number = f"{base}.{number}", number + 1
        node = node_type(name=unique, inputs=tuple(inputs), **fields)
        self.shapes[unique] = output_shape(node, [self.shapes[each] for each in inputs])
        if min(self.shapes[unique]) < 1:
            raise self.unknown("an empty feature map")
        self.nodes.append(node)
        return unique

    def activation(self, node: Any, x: str, kind: ActivationKind) -> None:
        """Make the output of the ONNX ``node`` an activation of the node ``x``."""
        self.maps[node.output[0]] = self.add(Activation, title(node), [x], kind=kind)

    def layer(self, node: Any, weight: Array, bias: Array | None, **fields: Any) -> None:
        """Append a convolution that absorbs the factor and pads of its input.

        Args:
            node: The ONNX node.
            weight: [out, in / groups, kernel, kernel].
            bias: [out], or None.
            **fields: Further fields of `Conv`.
        """
        source = node.input[0]
        x = self.map(source, scale=True, pads=True)
        name = self.add(
            Conv, title(node), [x], channels=len(weight), bias=bias is not None, **fields
        )
        weight = weight * np.float32(self.scaled.get(source, 1.0))
        self.weights[f"{name}.weight"] = np.ascontiguousarray(weight, np.float32)
        if bias is not None:
            self.weights[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)
        self.maps[node.output[0]] = name

    def affine(self, name: str, x: str, scale: Any, shift: Any) -> str:
        """Append scale * x + shift, with one value or one value per channel, as a `BatchNorm`."""
        added = self.add(BatchNorm, name, [x], eps=0.0)
        channels = self.shapes[x][0]
        values = {"weight": scale, "bias": shift, "running_mean": 0.0, "running_var": 1.0}
        for part, value in values.items():
            array = np.broadcast_to(np.asarray(value, np.float32), (channels,))
            self.weights[f"{added}.{part}"] = np.ascontiguousarray(array)
        return added

    def alias(self, source: str, target: str) -> None:
        """Give the ONNX tensor ``target`` the value of ``source``."""
        tables: tuple[dict[str, Any], ...] = (
            self.maps, self.constants, self.scaled, self.shifted, self.clipped, self.padded,
            self.flattened,
        )  # fmt: skip
        for table in tables:
            if source in table:
                table[target] = table[source]
        if source in self.channels_last:
            self.channels_last.add(target)

    def copy_scale(self, source: str, target: str) -> None:
        """Leave the factor of ``source`` to the layer that reads ``target``."""
        if source in self.scaled:
            self.scaled[target] = self.scaled[source]


def title(node: Any) -> str:
    """Name of an ONNX node; without one, the name of its output."""
    return str(node.name or node.output[0])
