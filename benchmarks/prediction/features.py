"""Features of a network for the latency model: amounts of work for each kind of kernel.

The latency model multiplies each feature by a coefficient. Kernels are those of a runtime after BN
folding. ReLU and ReLU6 are fused into their convolution. Swish is counted separately because not
all runtimes fuse it. Each kind of kernel has features for calls, multiply-adds, bytes read, bytes
written, and bytes of weights. Activation bytes that exceed the L2 cache have one feature for all
kinds. Few micro-benchmarks exceed it by much, so separate coefficients would depend on one or two
of them.
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

#: About the size of one core's L2 cache. Activation bytes of a kernel beyond it are counted as
#: distant.
_CACHE = 1e6
_MEGA = 1e6
#: Bytes per activation and per weight, by precision. fp16 is computed in float32.
_BYTES = {"int8": 1}


def layer_features(graph: Graph, precision: str) -> Mapping[str, float]:
    """Features of ``graph`` (BN folded) by their names ``kind.quantity``.

    Calls are counted one by one; multiply-adds, bytes and weights are in millions.
    """
    width = _BYTES.get(precision, 4)
    features: defaultdict[str, float] = defaultdict(float)
    features["network.call"] = 1.0
    for node in graph:
        kind = _kind(graph, node)
        if kind is None:
            continue
        read, written = (math.prod(graph.shapes[name]) for name in (node.inputs[0], node.name))
        moved = (read + written) * width
        features[f"{kind}.call"] += 1.0
        features["network.far"] += max(0.0, moved - _CACHE) / _MEGA
        if isinstance(node, (Conv, Dense)):
            features[f"{kind}.read"] += read * width / _MEGA
            features[f"{kind}.written"] += written * width / _MEGA
            features[f"{kind}.multiply_adds"] += multiply_adds(node, graph.shapes) / _MEGA
            features[f"{kind}.weights"] += _weights(graph, node) * width / _MEGA
        else:
            features[f"{kind}.moved"] += moved / _MEGA
    return dict(features)


def _kind(graph: Graph, node: Node) -> str | None:
    """The kind of kernel that computes ``node``; None if the node is free or fused."""
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
        # Hard swish takes about the time of swish: products and sums instead of a lookup.
        return "swish" if node.kind in ("swish", "hard_swish") and on_map else None
    kinds = {Dense: "dense", Add: "add", Mul: "scale", GlobalAveragePool: "pool", MaxPool: "max"}
    return kinds.get(type(node))


def _weights(graph: Graph, node: Conv | Dense) -> int:
    """Number of weights of a layer."""
    inputs = graph.shapes[node.inputs[0]][0]
    if isinstance(node, Dense):
        return node.units * inputs
    return node.channels * (inputs // node.groups) * node.kernel**2
