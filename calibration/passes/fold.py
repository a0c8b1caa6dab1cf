"""BatchNorm folding: a model or a graph without BatchNorm nodes that computes the same function."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_effnet.graph import BatchNorm, Conv, Graph, Node
from edge_effnet.model import Model


def fold_batch_norm(model: Model) -> Model:
    """The same function without BatchNorm: each is folded into the convolution before it.

    W' = W * gamma / sqrt(var + eps), b' = beta - mean * gamma / sqrt(var + eps), in float64.
    The folded convolution keeps its name; readers of the BN's tensor read the convolution's. A BN
    that follows no convolution, or one whose output others read too, stays.
    """
    graph, weights = model.graph, dict(model.weights)
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if not isinstance(node, BatchNorm):
            nodes.append(replace(node, inputs=inputs))
            continue
        conv = nodes[-1]
        alone = len(graph.consumers[node.inputs[0]]) == 1
        if not isinstance(conv, Conv) or inputs != (conv.name,) or not alone:
            nodes.append(replace(node, inputs=inputs))
            continue
        gamma, beta, mean, var = (
            np.asarray(weights.pop(f"{node.name}.{part}"), dtype=np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(var + node.eps)
        shift = beta - mean * factor
        if conv.bias:
            shift = shift + np.asarray(weights[f"{conv.name}.bias"], dtype=np.float64) * factor
        kernel = np.asarray(weights[f"{conv.name}.weight"], dtype=np.float64)
        weights[f"{conv.name}.weight"] = (kernel * factor[:, None, None, None]).astype(np.float32)
        weights[f"{conv.name}.bias"] = shift.astype(np.float32)
        nodes[-1] = replace(conv, bias=True)
        renamed[node.name] = conv.name
    folded = Graph(graph.input, graph.input_shape, tuple(nodes))
    return replace(
        model, graph=folded, weights={name: weights[name] for name in folded.parameter_shapes}
    )


def fold_structure(graph: Graph) -> Graph:
    """The graph that `fold_batch_norm` gives where every BN follows a convolution read by it alone.

    Without weights: for what depends on shapes only.
    """
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if isinstance(node, BatchNorm):
            renamed[node.name] = inputs[0]
            if isinstance(nodes[-1], Conv):
                nodes[-1] = replace(nodes[-1], bias=True)
        else:
            nodes.append(replace(node, inputs=inputs))
    return Graph(graph.input, graph.input_shape, tuple(nodes))
