"""Units of a network: what one integer kernel computes; and its segments between bottlenecks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from edge_effnet.calibration.quantizer_placement import activation_of
from edge_effnet.graph import Conv, Graph, Node


@dataclass(frozen=True)
class Unit:
    """One integer kernel: ``nodes`` are a node and, if it has one, its activation."""

    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        """The first node's name, as in the plan's ``layers``."""
        return self.nodes[0].name

    @property
    def output(self) -> str:
        """The tensor that other units read."""
        return self.nodes[-1].name

    @property
    def kind(self) -> str:
        """Operator in lower case: conv, depthwise, dense, add, mul, activation, or a pool."""
        first = self.nodes[0]
        if isinstance(first, Conv) and first.depthwise:
            return "depthwise"
        return type(first).__name__.lower()


def units(graph: Graph) -> tuple[Unit, ...]:
    """The units of ``graph`` (BN folded) in graph order; every node belongs to one unit."""
    partition: list[Unit] = []
    assigned: set[str] = set()
    for node in graph:
        if node.name in assigned:
            continue
        activation = activation_of(graph, node.name)
        partition.append(Unit((node,) if activation is None else (node, activation)))
        assigned.update(part.name for part in partition[-1].nodes)
    return tuple(partition)


def segments(
    graph: Graph, all_units: Sequence[Unit], fused_gates: Collection[str]
) -> Iterator[tuple[str, tuple[Unit, ...]]]:
    """The segments of a network: the input tensor and the units of each.

    A segment is a shortest sequence of units between two bottleneck tensors. Later units read the
    output of earlier ones only through a bottleneck tensor. Nodes with fused sigmoid gating also
    read the input of the swish.
    """
    last_reader: dict[str, int] = {}
    for index, unit in enumerate(all_units):
        for node in unit.nodes:
            inputs = [*node.inputs]
            if node.name in fused_gates:
                inputs += graph.by_name[node.inputs[0]].inputs
            last_reader.update(dict.fromkeys(inputs, index))
    begin, source, needed = 0, graph.input, last_reader[graph.input]
    for index, unit in enumerate(all_units):
        needed = max([needed, *(last_reader[node.name] for node in unit.nodes[:-1])])
        if needed <= index:
            yield source, tuple(all_units[begin : index + 1])
            begin, source = index + 1, unit.output
        needed = max(needed, last_reader.get(unit.output, index))
