"""The output activation as the last ONNX operator, for files that return probabilities."""

from __future__ import annotations

from typing import Any

from edge_effnet.card import ModelCard
from edge_effnet.errors import require

onnx: Any = require("onnx", "export")

OUTPUT = "probabilities"


def with_probabilities(proto: Any, card: ModelCard) -> Any:
    """``proto``, a ModelProto, with a float32 Softmax or Sigmoid if ``card`` says so."""
    if not card.probabilities:
        return proto
    (logits,) = proto.graph.output
    softmax = card.output_activation == "softmax"
    kind, attributes = ("Softmax", {"axis": -1}) if softmax else ("Sigmoid", {})
    node = onnx.helper.make_node(kind, [logits.name], [OUTPUT], name=OUTPUT, **attributes)
    proto.graph.node.append(node)
    returned = onnx.ValueInfoProto()
    returned.CopyFrom(logits)
    returned.name = OUTPUT
    del proto.graph.output[:]
    proto.graph.output.append(returned)
    return proto
