"""OpenVINO IR writer (.xml and .bin), which converts the model's ONNX graph.

The int8 IR is converted from a QDQ graph with OpenVINO's quantizer placement. A convolution and its
swish have no quantizer between them, because OpenVINO fuses the two. fp16 stores float16 weights,
which OpenVINO decompresses.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from edge_effnet.calibration.plan import Plan
from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.formats.final_activation import with_probabilities
from edge_effnet.converters.formats.model_api import model_info
from edge_effnet.converters.formats.onnx import build, symbol
from edge_effnet.errors import require
from edge_effnet.model import Model
from edge_effnet.names import IO, Batch

ov: Any = require("openvino", "export")


def write(
    model: Model, plan: Plan | None, card: ModelCard, io: IO = "uint8", batch: Batch = 1
) -> tuple[bytes, bytes]:
    """The bytes of (.xml, .bin) of a model with BN folded; a ``plan`` gives int8 or w8.

    ``io`` is the input type of an int8 model, uint8 or float32. The output is always float32.
    """
    proto = build(
        model.graph,
        model.weights,
        plan,
        batch=symbol(batch),
        placement="openvino",
        float_input=io == "float32",
    )
    converted = ov.Core().read_model(with_probabilities(proto, card).SerializeToString())
    return serialise(converted, card)


def serialise(converted: Any, card: ModelCard) -> tuple[bytes, bytes]:
    """The bytes of (.xml, .bin) of an openvino.Model, with the card and Model API's metadata."""
    _number_unnamed(converted)
    converted.set_rt_info(card.to_json(), [CARD_KEY])
    for key, value in model_info(card).items():
        converted.set_rt_info(value, key.split(" "))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(converted, path, compress_to_fp16=card.precision == "fp16")
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()


def _number_unnamed(converted: Any) -> None:
    """Rename nodes with automatic names by their index in the model.

    OpenVINO's ONNX importer numbers the nodes that it adds over the whole process. A second export
    would otherwise have other names and another order of nodes.
    """
    for index, node in enumerate(converted.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            node.set_friendly_name(f"{node.get_type_name()}.{index}")
