"""Class activation maps from OpenVINO files: the feature map is added as an output in memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.activation.maps import no_map, rows_of, weigh
from edge_effnet.errors import require
from edge_effnet.runtime.base import class_rows, filled
from edge_effnet.runtime.openvino import OpenVinoRunner

_POOLINGS, _DENSE = ("ReduceMean", "AvgPool"), ("MatMul", "Convolution")
_PASSING = (
    "Add", "Convert", "FakeQuantize", "Multiply", "Reshape", "Result", "Softmax", "Squeeze",
    "Subtract",
)  # fmt: skip


class OpenVinoActivation(OpenVinoRunner):
    """An `OpenVinoRunner` with the feature map as its second output."""

    def _adapt(self, model: Any, name: str) -> None:
        feature, weight = _find(model, name)
        channels = feature.get_partial_shape()[1].get_length()
        self._rows = rows_of(_constant(weight), channels, name)
        model.add_outputs([feature])
        self._features: NDArray[np.float32] | None = None

    def run(self, batch: NDArray[np.generic]) -> NDArray[np.float32]:
        """Logits, float32 [1, classes], of one input tensor [1, ...]."""
        size = self.input.batch
        results = self._request.infer([filled(batch, size)], share_inputs=True)
        self._features = np.asarray(results[1][0], np.float32)
        return class_rows(self._file, results[0], size)[:1]

    def activation(self, label: int) -> NDArray[np.float32]:
        """The class activation map of the last `run`, float32 [height, width]."""
        if self._features is None:
            raise ValueError("there is no activation before the first run")
        return weigh(self._features, self._rows[label])


def _find(model: Any, name: str) -> tuple[Any, Any]:
    """Node outputs that hold the last feature map and the dense layer's weight."""
    node, weight = model.get_results()[0], None
    while node.get_input_size():
        kind = node.get_type_name()
        if weight is None and kind in _DENSE:
            weight = node.input_value(1)
        elif weight is not None and kind in _POOLINGS:
            return node.input_value(0), weight
        elif kind not in _PASSING:
            raise no_map(name, f"it ends in {kind}")
        node = node.input_value(0).get_node()
    raise no_map(name, "it has no such layers")


def _constant(output: Any) -> NDArray[Any]:
    """Value of a node output that depends on constants only."""
    ov = require("openvino", "openvino")
    part = ov.Model([output], [], "constant")
    return np.asarray(ov.compile_model(part, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([])[0])
