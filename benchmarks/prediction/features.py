"""Graph -> what it costs: counts of work by kind of kernel, which a device has a price for.

The kernels are those that runtimes make of a network with BN folded: a clipping activation is part
of its convolution, swish is not everywhere, so it counts apart. Every kernel has a price of its own
for being called, a multiply-add, a byte of what it reads, writes and multiplies with. Bytes that no
second-level cache holds cost something more, the same for all: few pieces have many of them, and a
price for each kernel would hang on the one or two that do.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Mul,
    Node,
    multiply_adds,
)

#: Bytes of activations beyond which a kernel's bytes count as far: about a core's L2.
_CACHE = 1e6
_MEGA = 1e6
#: Bytes of an activation, by precision; weights are as wide, but for fp16, which widens them.
_BYTES = {"int8": 1}


def counts(graph: Graph, precision: str) -> Mapping[str, float]:
    """How often each price is to be paid, by ``kind.what``: calls, and millions of the rest."""
    width = _BYTES.get(precision, 4)
    found: defaultdict[str, float] = defaultdict(float)
    found["network.call"] = 1.0
    for node in graph:
        kind = _kind(graph, node)
        if kind is None:
            continue
        read, written = (math.prod(graph.shapes[name]) for name in (node.inputs[0], node.name))
        moved = (read + written) * width
        found[f"{kind}.call"] += 1.0
        found["network.far"] += max(0.0, moved - _CACHE) / _MEGA
        if isinstance(node, (Conv, Dense)):
            found[f"{kind}.read"] += read * width / _MEGA
            found[f"{kind}.written"] += written * width / _MEGA
            found[f"{kind}.multiply_adds"] += multiply_adds(node, graph.shapes) / _MEGA
            found[f"{kind}.weights"] += _weights(graph, node) * width / _MEGA
        else:
            found[f"{kind}.moved"] += moved / _MEGA
    return dict(found)


def _kind(graph: Graph, node: Node) -> str | None:
    """The kernel that computes a node; None for what is free or fused."""
    if isinstance(node, Conv):
        if node.depthwise:
            return f"depthwise{node.kernel}s{node.stride}"
        if graph.shapes[node.inputs[0]][1:] == (1, 1):
            return "gate"
        if node.inputs[0] == graph.input:
            return f"first{node.kernel}"
        return "pointwise" if node.kernel == 1 else f"conv{node.kernel}s{node.stride}"
    if isinstance(node, Activation):
        on_map = graph.shapes[node.name][1:] not in ((), (1, 1))
        return "swish" if node.kind == "swish" and on_map else None
    kinds = {Dense: "dense", Add: "add", Mul: "scale", GlobalAveragePool: "pool", MaxPool: "max"}
    return kinds.get(type(node))


def _weights(graph: Graph, node: Conv | Dense) -> int:
    inputs = graph.shapes[node.inputs[0]][0]
    if isinstance(node, Dense):
        return node.units * inputs
    return node.channels * (inputs // node.groups) * node.kernel**2
