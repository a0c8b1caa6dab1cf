"""Where each format stores a tensor as integers; the weights are the plan's in all.

  tflite     every tensor: its int8 kernels read and write nothing else
  onnx       every tensor, for ONNX Runtime's int8 convolution needs a quantized output; the logits
             stay float
  openvino   no quantizer between a convolution and its swish nor before a sigmoid (formats of
             oneDNN's fused post-operations), nor after a swish or a sigmoid that only pools and
             products read; the logits stay float
What a squeeze-excite gate scales, x = z * sigmoid(z), is in tflite and onnx made anew from z: as
z * (sigmoid(z) * gate), where the product of the two sigmoids lies on a grid of 1/255, if the plan
says so (``fused_gates``). x, which the gate itself is made from, has a rounding step that a few
channels set, and V2-B0's logits lose 2 dB by it; by that product's next to nothing. A layer's or a
sum's own output is never stored where a clipping activation follows: the activation's grid clips it
in the same step.

Mixed precision: a tensor stays float where both the node that makes it and all that read it compute
in float; OpenVINO's kernels also give float to float readers as they are.
"""

from __future__ import annotations

from edge_effnet.calibration.plan import Placement, QuantPlan
from edge_effnet.graph import Activation, Add, Conv, Dense, GlobalAveragePool, Graph, Mul

CLIPPING = ("relu", "relu6")


def quantized_tensors(graph: Graph, plan: QuantPlan, placement: Placement) -> frozenset[str]:
    """Names of the tensors that ``placement`` stores on their grids, the input included."""
    found = set()
    for name in graph.shapes:
        if name not in plan.quant_params:
            continue
        if name == graph.output and placement != "tflite":
            continue
        if placement == "openvino" and _open(graph, name):
            continue
        if plan.float_layers and not _stored(graph, plan, placement, name):
            continue
        found.add(name)
    return frozenset(found)


def _open(graph: Graph, name: str) -> bool:
    """Whether OpenVINO's kernels gain nothing from integers of the tensor."""
    if activation_of(graph, name) is not None:
        return True
    node, readers = graph.by_name.get(name), graph.consumers[name]
    smooth = isinstance(node, Activation) and node.kind not in CLIPPING
    return smooth and all(isinstance(reader, (GlobalAveragePool, Mul)) for reader in readers)


def _stored(graph: Graph, plan: QuantPlan, placement: Placement, name: str) -> bool:
    """Whether an integer kernel makes the tensor, where it has no other form, or reads it."""
    if name not in plan.float_layers and (placement != "openvino" or name == graph.input):
        return True
    return any(reader.name not in plan.float_layers for reader in graph.consumers[name])


def fusable_gates(graph: Graph, float_layers: frozenset[str] = frozenset()) -> frozenset[str]:
    """The products of a swish and a squeeze-excite gate, none of these among ``float_layers``."""
    found = set()
    for node in graph:
        if not isinstance(node, Mul) or float_layers & {node.name, node.inputs[0]}:
            continue
        tensor, gate = (graph.by_name.get(name) for name in node.inputs)
        if not isinstance(tensor, Activation) or not isinstance(gate, Activation):
            continue
        swish = tensor.kind == "swish" and activation_of(graph, tensor.inputs[0]) is tensor
        if swish and gate.kind == "sigmoid":
            found.add(node.name)
    return frozenset(found)


def activation_of(graph: Graph, name: str) -> Activation | None:
    """The activation that alone reads the layer or sum ``name``, if there is one."""
    readers = graph.consumers[name]
    if isinstance(graph.by_name.get(name), (Conv, Dense, Add)) and len(readers) == 1:
        reader = readers[0]
        return reader if isinstance(reader, Activation) else None
    return None


def fused_activation(graph: Graph, name: str) -> Activation | None:
    """The clipping activation that is fused into the layer or the sum ``name``."""
    activation = activation_of(graph, name)
    return activation if activation is not None and activation.kind in CLIPPING else None
