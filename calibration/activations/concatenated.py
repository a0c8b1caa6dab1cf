"""Quantization parameters of concatenations: inputs take the output's, so that kernels only copy.

An input has its own parameters, and is requantized, if another node reads it too, or if its
parameters are fixed: the network's input, sigmoids, and sums, whose scales are tie-free.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_effnet.calibration.plan import QuantParams
from edge_effnet.graph import Activation, Add, Concat, Graph


def share(graph: Graph, quant_params: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    """``quant_params`` in which concatenations and their inputs have equal parameters.

    Concatenations that share inputs form a group, which has the parameters of its concatenation
    with the widest range: in a dense block, of the last one.

    Args:
        graph: The network.
        quant_params: Quantization parameters by tensor name.

    Returns:
        Quantization parameters of all tensors by name.
    """
    shared = dict(quant_params)
    for group in _groups(graph):
        outputs = [name for name in group if isinstance(graph.by_name[name], Concat)]
        widest = max((quant_params[name] for name in outputs), key=lambda params: params.scale)
        shared.update(dict.fromkeys(group, widest))
    return shared


def _groups(graph: Graph) -> list[set[str]]:
    """The concatenations that share inputs, directly or through others, with these inputs."""
    groups: list[set[str]] = []
    for node in graph:
        if not isinstance(node, Concat):
            continue
        group = {node.name, *(name for name in node.inputs if _follows(graph, name))}
        for other in [known for known in groups if known & group]:
            groups.remove(other)
            group |= other
        groups.append(group)
    return groups


def _follows(graph: Graph, name: str) -> bool:
    """Whether the tensor ``name`` may take the parameters of the concatenations that read it."""
    node = graph.by_name.get(name)
    if node is None or isinstance(node, Add):
        return False
    if isinstance(node, Activation) and node.kind == "sigmoid":
        return False
    return all(isinstance(reader, Concat) for reader in graph.consumers[name])
