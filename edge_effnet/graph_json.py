"""Conversion of a graph to JSON and back: one object per node, with the name of its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

from edge_effnet.decoding import decode
from edge_effnet.graph import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    MaxPool,
    Mul,
    Node,
)

#: Largest channels, kernel, stride, groups, units or padding of a layer.
_LARGEST = 2**24

_NODES: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (
        *(Activation, Add, BatchNorm, Concat, Conv, Dense, GlobalAveragePool, LayerNorm),
        *(MaxPool, Mul),
    )
}


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """The graph as plain data: dicts, lists, strings and numbers."""
    nodes = nodes_to_json(graph.nodes)
    return {"input": graph.input, "input_shape": list(graph.input_shape), "nodes": nodes}


def nodes_to_json(nodes: Iterable[Node]) -> list[dict[str, Any]]:
    """The nodes as plain data: one dict per node."""
    return [{"type": type(node).__name__, **asdict(node)} for node in nodes]


def graph_from_json(content: Mapping[str, Any]) -> Graph:
    """The graph from the result of `graph_to_json`.

    Raises:
        ValueError, LookupError, TypeError: The data is not a valid graph.
    """
    shape = tuple(int(size) for size in content["input_shape"])
    return Graph(str(content["input"]), shape, nodes_from_json(content["nodes"]))


def nodes_from_json(content: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The nodes from the result of `nodes_to_json`; raises the errors of `graph_from_json`."""
    return tuple(_node(node) for node in content)


def _node(content: Mapping[str, Any]) -> Node:
    node: Node = decode(_NODES[content["type"]], content, "a layer", "save the network again")
    for entry in fields(node):
        value = getattr(node, entry.name)
        smallest = 0 if entry.name == "pads" else 1
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is int and not smallest <= number <= _LARGEST:
                raise ValueError(f"{entry.name} of the layer {node.name!r} is {number}")
    return node
