"""Quantizer placement: the tensors that each format stores quantized.

- tflite: every tensor, because TFLite's int8 kernels read and write int8 only.
- onnx: every tensor but the logits, because ONNX Runtime's int8 convolution needs a quantized
  output.
- onnx-contrib: as onnx. Swishes are QuickGelu, a contributed operator of ONNX Runtime, which has no
  quantized sigmoid; only those with fused sigmoid gating have one.
- openvino: every tensor but the logits, the inputs of swishes and sigmoids, and the outputs of
  swishes and sigmoids that only pools and products read. oneDNN fuses swish and sigmoid into the
  convolution.

Fused sigmoid gating (``fused_gates``): squeeze-excite multiplies x = z * sigmoid(z) by a gate,
which is a sigmoid too. A few channels with large values set the quantization step of x, which costs
V2-B0's logits 2 dB of SQNR. TFLite and ONNX files therefore compute z * (sigmoid(z) * gate). The
bracket lies in 0..1, so its quantization step of 257/65536 (about 1/255) costs almost nothing.

A layer's or sum's output before a clipping activation is never stored. Quantizing the output with
the activation's parameters already clips it.

Mixed precision: a tensor stays float if its producer and all its readers compute in float. In
OpenVINO files, the readers alone decide.
"""

from __future__ import annotations

from edge_effnet.calibration.plan import QuantizerPlacement, QuantPlan
from edge_effnet.graph import (
    Activation,
    Add,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    LayerNorm,
    Mul,
)

CLIPPING = ("relu", "relu6")


def quantized_tensors(
    graph: Graph, plan: QuantPlan, placement: QuantizerPlacement
) -> frozenset[str]:
    """Names of the tensors that a format stores quantized, the input included.

    Args:
        graph: The network.
        plan: Quantization parameters and float layers.
        placement: The format.
    """
    names = set()
    for name in graph.shapes:
        if name not in plan.quant_params:
            continue
        if name == graph.output and placement != "tflite":
            continue
        if placement == "openvino" and _stays_float_in_openvino(graph, name):
            continue
        if plan.float_layers and not _stored(graph, plan, placement, name):
            continue
        names.add(name)
    return frozenset(names)


def _stays_float_in_openvino(graph: Graph, name: str) -> bool:
    """Whether OpenVINO files keep the tensor ``name`` in float; see the module's list."""
    if activation_of(graph, name) is not None:
        return True
    node, readers = graph.by_name.get(name), graph.consumers[name]
    smooth = isinstance(node, Activation) and node.kind not in CLIPPING
    return smooth and all(isinstance(reader, (GlobalAveragePool, Mul)) for reader in readers)


def _stored(graph: Graph, plan: QuantPlan, placement: QuantizerPlacement, name: str) -> bool:
    """Whether a mixed-precision file stores the tensor ``name`` quantized.

    An integer kernel reads the tensor or, except in OpenVINO files, writes the tensor.
    """
    if name not in plan.float_layers and (placement != "openvino" or name == graph.input):
        return True
    return any(reader.name not in plan.float_layers for reader in graph.consumers[name])


def fusable_gates(graph: Graph, float_layers: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the squeeze-excite products that can use fused sigmoid gating.

    Args:
        graph: The network.
        float_layers: Nodes in float; products among them are left out.

    Returns:
        The products of a swish output and a sigmoid.
    """
    products = set()
    for node in graph:
        if not isinstance(node, Mul) or float_layers & {node.name, node.inputs[0]}:
            continue
        tensor, gate = (graph.by_name.get(name) for name in node.inputs)
        if not isinstance(tensor, Activation) or not isinstance(gate, Activation):
            continue
        swish = tensor.kind == "swish" and activation_of(graph, tensor.inputs[0]) is tensor
        if swish and gate.kind == "sigmoid":
            products.add(node.name)
    return frozenset(products)


def activation_of(graph: Graph, name: str) -> Activation | None:
    """The activation after a layer, sum or layer normalisation; None unless it is the only reader.

    Args:
        graph: The network.
        name: The layer, sum or normalisation.
    """
    readers = graph.consumers[name]
    producers = (Conv, Dense, Add, LayerNorm)
    if isinstance(graph.by_name.get(name), producers) and len(readers) == 1:
        reader = readers[0]
        return reader if isinstance(reader, Activation) else None
    return None


def fused_activation(graph: Graph, name: str) -> Activation | None:
    """The clipping activation that is fused into a layer or sum; None without one.

    Args:
        graph: The network.
        name: The layer or sum.
    """
    activation = activation_of(graph, name)
    if activation is None or isinstance(graph.by_name[name], LayerNorm):
        return None
    return activation if activation.kind in CLIPPING else None


def fused_activations(graph: Graph) -> dict[str, Activation]:
    """All fused clipping activations, each by the name of the layer or sum before it."""
    pairs = {node.name: fused_activation(graph, node.name) for node in graph}
    return {name: activation for name, activation in pairs.items() if activation is not None}
