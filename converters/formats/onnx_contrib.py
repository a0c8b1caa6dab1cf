"""Swishes of int8 ONNX files as QuickGelu, a contributed operator of ONNX Runtime.

With standard operators an int8 swish is two integer kernels, QLinearSigmoid and QLinearMul, which
take half of B0's latency in ONNX Runtime. ``com.microsoft.QuickGelu`` with alpha 1 computes
x * sigmoid(x) in float between DequantizeLinear and QuantizeLinear. It is faster, and its sigmoid
is not quantized. OpenVINO reads the operator; compilers of other accelerators may not.

Standard operators in float do not help: ONNX Runtime duplicates a DequantizeLinear with two readers
and then misses its fusion to QuickGelu. It splits Swish of opset 24 into Sigmoid and Mul too.
"""

from __future__ import annotations

from typing import Any

from edge_effnet.errors import require

onnx = require("onnx", "export")

DOMAIN = "com.microsoft"


def with_quick_gelu(data: bytes) -> bytes:
    """The int8 ONNX file ``data`` with QuickGelu instead of its quantized swishes.

    A swish whose sigmoid has another reader (fused sigmoid gating) stays as it is.
    """
    proto = onnx.load_model_from_string(data)
    graph = proto.graph
    producers = {node.output[0]: node for node in graph.node}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    removed: set[str] = set()
    replaced: dict[str, Any] = {}
    for node in graph.node:
        chain = _quantized_sigmoid(node, producers)
        if chain and all(readers[part.output[0]] == 1 for part in chain):
            removed.update(part.output[0] for part in chain)
            replaced[node.output[0]] = onnx.helper.make_node(
                "QuickGelu",
                [node.input[0]],
                list(node.output),
                name=node.name,
                domain=DOMAIN,
                alpha=1.0,
            )
    nodes = [
        replaced.get(node.output[0], node) for node in graph.node if node.output[0] not in removed
    ]
    used = {name for node in nodes for name in node.input}
    constants = [constant for constant in graph.initializer if constant.name in used]
    changed = onnx.helper.make_graph(nodes, graph.name, graph.input, graph.output, constants)
    graph.CopyFrom(changed)
    if replaced:
        proto.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    return bytes(proto.SerializeToString(deterministic=True))


def _quantized_sigmoid(node: Any, producers: dict[str, Any]) -> tuple[Any, ...]:
    """Sigmoid, QuantizeLinear and DequantizeLinear of a swish's Mul; empty for other nodes."""
    if node.op_type != "Mul":
        return ()
    chain = []
    name = node.input[1]
    for kind in ("DequantizeLinear", "QuantizeLinear", "Sigmoid"):
        part = producers.get(name)
        if part is None or part.op_type != kind:
            return ()
        chain.append(part)
        name = part.input[0]
    return tuple(chain) if name == node.input[0] else ()
