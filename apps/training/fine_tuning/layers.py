"""Layers for fine-tuning: frozen stages, other input sizes, parameter groups, BatchNorm modes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.converters.frameworks.stochastic_depth import drop_rates
from edge_effnet.converters.frameworks.torch import Network
from edge_effnet.graph import BatchNorm, Conv, Graph, MaxPool, Node, Shape, output_shape, same_pads
from edge_effnet.model import Model
from edge_effnet.network import padding_of

import torch  # isort: skip  (after the module that checks for the extra)

_BLOCK = re.compile(r"stages\.\d+\.blocks\.\d+|[^.]+")
_IDENTITY = 0.01  # deviation of a folded variance from 1, such as an epsilon left out
_STAGE = re.compile(r"stages\.(\d+)\.")


def split(graph: Graph, stages: int) -> tuple[Graph | None, Graph]:
    """``graph`` cut after its first ``stages`` stages.

    Returns:
        The nodes from the image to the cut (None for 0 stages), and the nodes after it, whose input
        is the feature map at the cut.
    """
    if not stages:
        return None, graph
    last = max(
        index
        for index, node in enumerate(graph.nodes)
        if (match := _STAGE.match(node.name)) and int(match[1]) < stages
    )
    lower = replace(graph, nodes=graph.nodes[: last + 1])
    upper = Graph(lower.output, graph.shapes[lower.output], graph.nodes[last + 1 :])
    return lower, upper


def trainable(model: Model, graph: Graph, recipe: Recipe) -> Network:
    """The module of ``graph``, a part of ``model`` up to its output, with the recipe's rates."""
    network = Network(graph, model.weights, model.variant)
    rate = model.variant.drop_connect if recipe.drop_connect is None else recipe.drop_connect
    network.drop_rates = drop_rates(model.graph, rate)
    return network.to(memory_format=torch.channels_last)


def train_mode(network: Network, *, batch_statistics: bool) -> None:
    """Training mode; without ``batch_statistics``, BatchNorm keeps its running statistics."""
    network.train()
    if not batch_statistics:
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval()


def is_untrained(model: Model) -> bool:
    """Whether layers were never trained: the network was adapted, or has random weights.

    Random weights come with BatchNorm whose means and biases are all 0.
    """
    norms = _batch_norms(model)
    random = not any(
        np.any(model.weights[f"{node.name}.{part}"])
        for node in norms
        for part in ("running_mean", "bias")
    )
    return model.info.untrained or (bool(norms) and random)


def has_batch_statistics(model: Model) -> bool:
    """Whether training can go on with BatchNorm's statistics of batches.

    It cannot if BatchNorm was folded, or if all its means are 0 and its variances plus epsilon 1.
    Such checkpoints were folded by their writer, and batch statistics would change their function.
    Untrained networks have no statistics yet.
    """
    norms = _batch_norms(model)
    if is_untrained(model):
        return bool(norms)
    return any(
        np.any(model.weights[f"{node.name}.running_mean"])
        or np.any(np.abs(model.weights[f"{node.name}.running_var"] + node.eps - 1) > _IDENTITY)
        for node in norms
    )


def _batch_norms(model: Model) -> list[BatchNorm]:
    return [node for node in model.graph if isinstance(node, BatchNorm)]


def at_size(graph: Graph, side: int) -> Graph:
    """``graph`` for images of ``side`` pixels, with the same parameters.

    TensorFlow's SAME pads are computed again for the new size. Other pads stay. A pooling over the
    whole feature map still covers the whole feature map.
    """
    same = padding_of(graph) == "same"
    shapes: dict[str, Shape] = {graph.input: (graph.input_shape[0], side, side)}
    nodes: list[Node] = []
    for node in graph:
        before, shape = graph.shapes[node.inputs[0]], shapes[node.inputs[0]]
        if isinstance(node, MaxPool) and node.kernel == before[1]:
            node = replace(node, kernel=shape[1], stride=shape[1])
        elif (
            same
            and isinstance(node, (Conv, MaxPool))
            and node.pads == same_pads(before, node.kernel, node.stride)
        ):
            node = replace(node, pads=same_pads(shape, node.kernel, node.stride))
        shapes[node.name] = output_shape(node, [shapes[name] for name in node.inputs])
        nodes.append(node)
    return Graph(graph.input, shapes[graph.input], tuple(nodes))


def parameter_groups(network: Network, recipe: Recipe) -> list[dict[str, Any]]:
    """Optimizer groups: one per block and kind of parameter.

    ``lr_scale`` is ``layer_decay`` to the power of the number of blocks after the group's block;
    timm's schedulers multiply by it. Biases and BatchNorm's parameters have no weight decay.
    """
    blocks = list(dict.fromkeys(_block(node.name) for node in network.graph))
    groups: dict[tuple[str, bool], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((_block(name), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr_scale": recipe.layer_decay ** (len(blocks) - 1 - blocks.index(block)),
            "weight_decay": recipe.weight_decay if decayed else 0.0,
        }
        for (block, decayed), parameters in groups.items()
    ]


def _block(name: str) -> str:
    """Block of a node or parameter: ``stages.S.blocks.B``, ``stem``, ``head`` or ``classifier``."""
    match = _BLOCK.match(name)
    assert match is not None, name  # noqa: S101  (every name has a first part)
    return match[0]
