"""BatchNorm folding: a model or a graph without BatchNorm nodes that computes the same function."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_effnet.graph import BatchNorm, Conv, Graph, Node
from edge_effnet.model import Model


def fold_batch_norm(model: Model) -> Model:
    """Fold each BatchNorm (BN) into the convolution before it; the function is unchanged.

    W' = W * gamma / sqrt(var + eps), b' = beta + (b - mean) * gamma / sqrt(var + eps), in float64.
    The folded convolution keeps its name and replaces the BN as input of later nodes. A BN stays
    if it does not follow a convolution, or if another node also reads the convolution's output.
    """
    graph, weights = model.graph, dict(model.weights)
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if not isinstance(node, BatchNorm):
            nodes.append(replace(node, inputs=inputs))
            continue
        conv = nodes[-1] if nodes else None
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
    """The graph after BatchNorm (BN) folding, for computations that need shapes but no weights.

    It equals the graph of `fold_batch_norm` if each BN is the only reader of a convolution.
    """
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        if isinstance(node, BatchNorm):
            renamed[node.name] = inputs[0]
            if nodes and isinstance(nodes[-1], Conv):
                nodes[-1] = replace(nodes[-1], bias=True)
        else:
            nodes.append(replace(node, inputs=inputs))
    return Graph(graph.input, graph.input_shape, tuple(nodes))
