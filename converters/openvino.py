"""Model (+ QuantPlan) -> OpenVINO IR (.xml and .bin), by way of the ONNX graph of the same model.

The int8 IR comes from a QDQ graph of its own placement: no quantizer between a convolution and its
swish, which OpenVINO's kernels fuse. fp16 stores the weights as float16 (OpenVINO decompresses).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.card import CARD_KEY, ModelCard
from edge_effnet.converters.onnx import build, model_info
from edge_effnet.errors import require
from edge_effnet.model import Model


def write(model: Model, plan: QuantPlan | None, card: ModelCard) -> tuple[bytes, bytes]:
    """The bytes of (.xml, .bin) of a model whose BN is folded; int8 if ``plan`` is given."""
    ov = require("openvino", "export")
    proto = build(model.graph, model.weights, plan, placement="openvino")
    converted = ov.Core().read_model(proto.SerializeToString())
    return serialise(converted, card)


def serialise(converted: object, card: ModelCard) -> tuple[bytes, bytes]:
    """The bytes of (.xml, .bin) of an openvino.Model, with the card and Model API's entries."""
    ov = require("openvino", "export")
    converted.set_rt_info(card.to_json(), [CARD_KEY])  # type: ignore[attr-defined]
    for key, value in model_info(card).items():
        converted.set_rt_info(value, key.split(" "))  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.save_model(converted, path, compress_to_fp16=card.precision == "fp16")
        return path.read_bytes(), path.with_suffix(".bin").read_bytes()
