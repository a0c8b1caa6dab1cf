"""Mapping of canonical parameter names to a framework's names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_effnet.graph import Graph

_BLOCK_PARTS = 4  # stages.S.blocks.B, followed by the layer's name


@dataclass(frozen=True)
class Block:
    """One block of a graph: ``place`` is its index in the stage, ``index`` in the network.

    ``layers`` are the block's layers with parameters, in execution order: ``expand``,
    ``expand_bn``, ``depthwise``, ``se.reduce``, ...
    """

    stage: int
    place: int
    index: int
    layers: tuple[str, ...]


def rename(
    graph: Graph, ends: Mapping[str, str], block: Callable[[Block], Mapping[str, str]]
) -> dict[str, str]:
    """Name in the framework of every parameter of ``graph``.

    Args:
        graph: The network.
        ends: Names of the layers outside the blocks: stem, head, classifier.
        block: Function from a block to the full names of its layers.
    """
    names: dict[str, str] = {}
    tables: dict[str, Mapping[str, str]] = {}
    blocks = blocks_of(graph)
    for parameter in graph.parameter_shapes:
        layer, _, part = parameter.rpartition(".")
        if layer in ends:
            names[parameter] = f"{ends[layer]}.{part}"
            continue
        where, inner = _split(layer)
        if where not in tables:
            tables[where] = block(blocks[where])
        names[parameter] = f"{tables[where][inner]}.{part}"
    return names


def blocks_of(graph: Graph) -> dict[str, Block]:
    """All blocks of ``graph`` that have parameters, by name (``stages.2.blocks.0``)."""
    layers: dict[str, list[str]] = {}
    for parameter in graph.parameter_shapes:
        if parameter.startswith("stages."):
            where, inner = _split(parameter.rpartition(".")[0])
            names = layers.setdefault(where, [])
            if inner not in names:
                names.append(inner)
    blocks = {}
    for index, (where, names) in enumerate(layers.items()):
        _, stage, _, place = where.split(".")
        blocks[where] = Block(int(stage), int(place), index, tuple(names))
    return blocks


def _split(layer: str) -> tuple[str, str]:
    parts = layer.split(".")
    return ".".join(parts[:_BLOCK_PARTS]), ".".join(parts[_BLOCK_PARTS:])
