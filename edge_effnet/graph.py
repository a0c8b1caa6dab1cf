"""Graph: a network as a list of typed nodes over named tensors, with shapes and parameter counts.

Every node computes one tensor, which has the node's name. Shapes are without batch: a feature map
is (channels, height, width), a vector (channels,). Padding is explicit on each side and computed
for the graph's input size. No format therefore needs size-dependent padding such as SAME.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from edge_effnet.variants import ActivationKind

Shape = tuple[int, ...]
Pads = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node of the network; ``inputs`` are the names of the tensors that it reads."""

    name: str
    inputs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Conv(Node):
    """Convolution. Weight ``name.weight`` is [out, in / groups, kernel, kernel] (OIHW), bias [out].

    The convolution is depthwise if ``groups`` equals the number of input channels.
    """

    channels: int
    kernel: int
    stride: int = 1
    pads: Pads = (0, 0, 0, 0)
    groups: int = 1
    bias: bool = False

    @property
    def depthwise(self) -> bool:
        """Whether this is a depthwise convolution."""
        return self.groups == self.channels and self.groups > 1


@dataclass(frozen=True, kw_only=True)
class BatchNorm(Node):
    """Batch normalisation with ``name.{weight,bias,running_mean,running_var}``, each [channels]."""

    eps: float


@dataclass(frozen=True, kw_only=True)
class Activation(Node):
    """Pointwise activation function."""

    kind: ActivationKind


@dataclass(frozen=True, kw_only=True)
class Add(Node):
    """Sum of two tensors of equal shape."""


@dataclass(frozen=True, kw_only=True)
class Concat(Node):
    """Concatenation of tensors along the channels."""


@dataclass(frozen=True, kw_only=True)
class Mul(Node):
    """Product of a feature map and a (channels, 1, 1) squeeze-excite gate."""


@dataclass(frozen=True, kw_only=True)
class GlobalAveragePool(Node):
    """Mean over height and width: (C, 1, 1) with ``keepdims``, else (C,)."""

    keepdims: bool = False


@dataclass(frozen=True, kw_only=True)
class MaxPool(Node):
    """Max pooling, used by the ResNet baselines."""

    kernel: int
    stride: int
    pads: Pads = (0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class LayerNorm(Node):
    """(x - mean) / sqrt(variance + eps) over a vector, times ``name.weight``, plus ``name.bias``.

    Without ``center`` (RMSNorm), the mean is not subtracted and the mean square replaces the
    variance.
    """

    eps: float
    center: bool = True


@dataclass(frozen=True, kw_only=True)
class Dense(Node):
    """Fully connected layer. Weight ``name.weight`` is [out, in], bias [out]."""

    units: int
    bias: bool = True


@dataclass(frozen=True)
class Graph:
    """Nodes in execution order, with one input; the tensor of the last node is the output."""

    input: str
    input_shape: Shape
    nodes: tuple[Node, ...]

    @property
    def output(self) -> str:
        """Name of the output tensor."""
        return self.nodes[-1].name

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    @cached_property
    def by_name(self) -> dict[str, Node]:
        """The nodes by name."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def consumers(self) -> dict[str, tuple[Node, ...]]:
        """Tensor name -> nodes that read the tensor."""
        readers: dict[str, list[Node]] = {self.input: [], **{node.name: [] for node in self.nodes}}
        for node in self.nodes:
            for name in node.inputs:
                readers[name].append(node)
        return {name: tuple(nodes) for name, nodes in readers.items()}

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every tensor by name, without the batch dimension."""
        shapes = {self.input: self.input_shape}
        for node in self.nodes:
            shapes[node.name] = output_shape(node, [shapes[name] for name in node.inputs])
        return shapes

    @cached_property
    def parameter_shapes(self) -> dict[str, Shape]:
        """Name and shape of every parameter (weights, biases, BN statistics), in order."""
        shapes_by_name: dict[str, Shape] = {}
        for node in self.nodes:
            shapes_by_name.update(parameter_shapes(node, self.shapes[node.inputs[0]]))
        return shapes_by_name

    @property
    def params(self) -> int:
        """Number of trainable parameters; BN's running mean and variance are not counted."""
        return sum(
            math.prod(shape)
            for name, shape in self.parameter_shapes.items()
            if not name.endswith((".running_mean", ".running_var"))
        )

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of convolutions and dense layers; the papers call them FLOPs."""
        return sum(multiply_adds(node, self.shapes) for node in self.nodes)

    @property
    def peak_activation_elements(self) -> int:
        """Largest number of tensor elements in memory at once, if pointwise nodes run in place.

        Multiplied by the bytes per element (4 for float32, 1 for int8), this is the activation
        memory at batch 1 with perfect memory planning.
        """
        last_use = dict.fromkeys(self.shapes, -1)
        for index, node in enumerate(self.nodes):
            for name in node.inputs:
                last_use[name] = index
        last_use[self.output] = len(self.nodes)
        sizes = {name: math.prod(shape) for name, shape in self.shapes.items()}
        live = {self.input: sizes[self.input]}
        peak = live[self.input]
        for index, node in enumerate(self.nodes):
            dying = [name for name in node.inputs if last_use[name] == index]
            in_place = isinstance(node, (BatchNorm, Activation, Add, Mul)) and any(
                sizes[name] == sizes[node.name] for name in dying
            )
            peak = max(peak, sum(live.values()) + (0 if in_place else sizes[node.name]))
            for name in set(dying):
                del live[name]
            live[node.name] = sizes[node.name]
        return peak


def output_shape(node: Node, inputs: list[Shape]) -> Shape:
    """Shape of the output of ``node`` for inputs of shapes ``inputs``."""
    first = inputs[0]
    if isinstance(node, Conv):
        return (node.channels, *_window_output(first, node.kernel, node.stride, node.pads))
    if isinstance(node, MaxPool):
        return (first[0], *_window_output(first, node.kernel, node.stride, node.pads))
    if isinstance(node, GlobalAveragePool):
        return (first[0], 1, 1) if node.keepdims else (first[0],)
    if isinstance(node, Dense):
        return (node.units,)
    if isinstance(node, Concat):
        return (sum(shape[0] for shape in inputs), *first[1:])
    return first


def parameter_shapes(node: Node, input_shape: Shape) -> dict[str, Shape]:
    """Parameters of one node whose first input has ``input_shape``."""
    channels = input_shape[0]
    if isinstance(node, Conv):
        weight: Shape = (node.channels, channels // node.groups, node.kernel, node.kernel)
        outputs, biased = node.channels, node.bias
    elif isinstance(node, Dense):
        weight, outputs, biased = (node.units, channels), node.units, node.bias
    elif isinstance(node, BatchNorm):
        names = ("weight", "bias", "running_mean", "running_var")
        return {f"{node.name}.{name}": (channels,) for name in names}
    elif isinstance(node, LayerNorm):
        return {f"{node.name}.weight": (channels,), f"{node.name}.bias": (channels,)}
    else:
        return {}
    shapes = {f"{node.name}.weight": weight}
    if biased:
        shapes[f"{node.name}.bias"] = (outputs,)
    return shapes


def multiply_adds(node: Node, shapes: dict[str, Shape]) -> int:
    """Multiply-adds of one node; 0 unless it is a convolution or dense layer."""
    if isinstance(node, Conv):
        taps = shapes[node.inputs[0]][0] // node.groups * node.kernel**2
        return math.prod(shapes[node.name]) * taps
    if isinstance(node, Dense):
        return shapes[node.inputs[0]][0] * node.units
    return 0


def same_pads(shape: Shape, kernel: int, stride: int) -> Pads:
    """Pads (top, left, bottom, right) of TensorFlow's SAME, for ceil(side / stride) outputs.

    If the total padding of an axis is odd, its end (bottom or right) has one pixel more.
    """
    height, width = (
        max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in shape[1:]
    )
    return (height // 2, width // 2, height - height // 2, width - width // 2)


def _window_output(shape: Shape, kernel: int, stride: int, pads: Pads) -> tuple[int, int]:
    top, left, bottom, right = pads
    height = (shape[1] + top + bottom - kernel) // stride + 1
    width = (shape[2] + left + right - kernel) // stride + 1
    return height, width
