"""Conversion of a graph to JSON and back: one object per node, with the name of its type."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

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

_NODES: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (
        *(Activation, Add, BatchNorm, Conv, Dense, GlobalAveragePool, LayerNorm, MaxPool, Mul),
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
    values = {name: value for name, value in content.items() if name != "type"}
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return _NODES[content["type"]](**values)
