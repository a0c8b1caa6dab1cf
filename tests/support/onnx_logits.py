"""Logits of the ONNX file of a model, and how far logits are apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.converters.formats import onnx
from edge_effnet.model import Model

ort = pytest.importorskip("onnxruntime")


def run(model: Model, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Logits of our ONNX file."""
    folded = fold_batch_norm(model)
    proto = onnx.build(folded.graph, folded.weights, batch="n")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    batch = model.info.preprocess.normalise(images).transpose(0, 3, 1, 2)
    (logits,) = session.run(None, {folded.graph.input: batch})
    return np.asarray(logits)


def relative(got: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())
