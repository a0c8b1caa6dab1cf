"""Model -> trainable PyTorch module and back.

Parameters have the graph's canonical names (``stages.2.blocks.0.expand.weight``). The
``state_dict`` is therefore the model's weights plus BatchNorm's counters. Feature maps are NCHW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.converters.frameworks.stochastic_depth import drop_rates
from edge_effnet.errors import require
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
)
from edge_effnet.model import Model, Weights
from edge_effnet.variants import Variant

require("torch", "torch")

import torch  # noqa: E402  (after the check, whose message names the extra)
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional  # noqa: E402

BN_MOMENTUM = 0.01  # 1 - batch_norm_momentum of the released TensorFlow code


def build(model: Model) -> Network:
    """A trainable module from normalised float32 [n, 3, height, width] to logits [n, classes].

    For training, ``model`` should have unfolded BatchNorm. The module is in evaluation mode. Call
    ``.train()`` for dropout, stochastic depth and batch statistics.
    """
    return Network(model.graph, model.weights, model.variant).eval()


def to_weights(network: Network) -> dict[str, NDArray[np.float32]]:
    """Weights of a module from `build`, by canonical name in the graph's order."""
    state = network.state_dict()
    return {
        name: state[name].detach().cpu().numpy().astype(np.float32, order="C", copy=True)
        for name in network.graph.parameter_shapes
    }


class Network(nn.Module):
    """Computes the nodes of a graph in order.

    In training, the residual branch of a block is dropped per sample, with a rate that grows
    linearly over the blocks up to the variant's ``drop_connect``. ``dropout`` precedes the
    classifier.
    """

    def __init__(self, graph: Graph, weights: Weights, variant: Variant) -> None:
        super().__init__()
        self.graph = graph
        self.dropout = variant.dropout
        self.drop_rates = drop_rates(graph, variant.drop_connect)
        for node in graph:
            layer = plain_layer(node, graph)
            if layer is not None:
                _attach(self, node.name, layer)
        values = {name: torch.tensor(weights[name]) for name in graph.parameter_shapes}
        self.load_state_dict(values, strict=False)  # BatchNorm's counters are not in the weights

    def forward(self, image: Tensor) -> Tensor:
        """Logits of a batch of images."""
        values = {self.graph.input: image}
        pending = {name: len(nodes) for name, nodes in self.graph.consumers.items()}
        for node in self.graph:
            values[node.name] = self._compute(node, [values[name] for name in node.inputs])
            for name in node.inputs:
                pending[name] -= 1
                if not pending[name]:
                    del values[name]  # frees memory; autograd keeps the tensors that it needs
        return values[self.graph.output]

    def resize(self, graph: Graph) -> None:
        """Compute ``graph`` from now on: the same layers with pads for another input size."""
        self.graph = graph
        for node in graph:
            if isinstance(node, Conv):
                layer = cast("nn.Conv2d", self.get_submodule(node.name))
                layer.padding = node.pads[:2] if _symmetric(node) else (0, 0)

    def _layer(self, node: Node, x: Tensor) -> Tensor:
        return cast("Tensor", self.get_submodule(node.name)(x))

    def _compute(self, node: Node, inputs: list[Tensor]) -> Tensor:
        x = inputs[0]
        if isinstance(node, Conv):
            return self._layer(node, padded(x, node, 0.0))
        if isinstance(node, (BatchNorm, LayerNorm)):
            return self._layer(node, x)
        if isinstance(node, Dense):
            if self.training and node.name == self.graph.output:
                x = functional.dropout(x, self.dropout)
            return self._layer(node, x)
        if isinstance(node, Activation):
            return ACTIVATIONS[node.kind](x)
        if isinstance(node, Add):
            if self.training:
                x = _drop_samples(x, self.drop_rates.get(node.name, 0.0))
            return x + inputs[1]
        if isinstance(node, Mul):
            return x * inputs[1]
        if isinstance(node, GlobalAveragePool):
            return x.mean((2, 3), keepdim=node.keepdims)
        if isinstance(node, MaxPool):
            return functional.max_pool2d(padded(x, node, -torch.inf), node.kernel, node.stride)
        raise TypeError(f"no PyTorch form for {type(node).__name__} ({node.name})")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "swish": functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": functional.gelu,
    "hard_swish": functional.hardswish,
    "leaky_relu": functional.leaky_relu,
}


def _drop_samples(branch: Tensor, rate: float) -> Tensor:
    """Set the branch of each sample to 0 with probability ``rate``.

    Other branches are divided by 1 - ``rate``, so that the expected output is unchanged.
    """
    if rate == 0.0:
        return branch
    mask = torch.rand((len(branch), 1, 1, 1), dtype=branch.dtype, device=branch.device) >= rate
    return branch * mask / (1.0 - rate)


class _RootMeanSquare(nn.Module):
    """A layer normalisation that does not subtract the mean."""

    def __init__(self, features: int, node: LayerNorm) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.eps = node.eps

    def forward(self, x: Tensor) -> Tensor:
        """X / sqrt(mean square + eps), times the weight, plus the bias."""
        root = torch.sqrt(x.square().mean(1, keepdim=True) + self.eps)
        return x / root * self.weight + self.bias


def plain_layer(node: Node, graph: Graph) -> nn.Module | None:
    """The module that holds a node's parameters; None for nodes without parameters."""
    channels = graph.shapes[node.inputs[0]][0]
    if isinstance(node, Conv):
        return nn.Conv2d(
            channels,
            node.channels,
            node.kernel,
            node.stride,
            groups=node.groups,
            bias=node.bias,
            padding=node.pads[:2] if _symmetric(node) else 0,
        )
    if isinstance(node, BatchNorm):
        return nn.BatchNorm2d(channels, eps=node.eps, momentum=BN_MOMENTUM)
    if isinstance(node, LayerNorm):
        return nn.LayerNorm(channels, node.eps) if node.center else _RootMeanSquare(channels, node)
    if isinstance(node, Dense):
        return nn.Linear(channels, node.units, bias=node.bias)
    return None


def padded(x: Tensor, node: Conv | MaxPool, value: float) -> Tensor:
    """``x`` padded with ``value`` if PyTorch's layer for ``node`` cannot pad it; else unchanged.

    This function pads for convolutions with asymmetric padding, and for max poolings.
    """
    if not any(node.pads) or (isinstance(node, Conv) and _symmetric(node)):
        return x
    top, left, bottom, right = node.pads
    return functional.pad(x, (left, right, top, bottom), value=value)


def _symmetric(node: Conv) -> bool:
    return node.pads[:2] == node.pads[2:]


def _attach(root: nn.Module, path: str, layer: nn.Module) -> None:
    """Attach ``layer`` at the dotted ``path``, which gives its parameters the canonical names."""
    *folders, name = path.split(".")
    for folder in folders:
        if folder not in dict(root.named_children()):
            root.add_module(folder, nn.Module())
        root = root.get_submodule(folder)
    root.add_module(name, layer)
