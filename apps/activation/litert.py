"""Class activation maps from .tflite files: LiteRT preserves all intermediate tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.activation.maps import no_map, rows_of, weigh
from edge_effnet.runtime.litert import LiteRTRunner
from edge_effnet.runtime.tflite_verifier import Record, parse

#: Operator codes from the enum BuiltinOperator of the TFLite schema.
_POOLINGS, _DENSE, _CONV = (40, 1), 9, 3  # MEAN and AVERAGE_POOL_2D, FULLY_CONNECTED, CONV_2D
_DEQUANTIZE = 6
_PASSING = (6, 22, 25, 43, 114)  # DEQUANTIZE, RESHAPE, SOFTMAX, SQUEEZE, QUANTIZE


class LiteRTActivation(LiteRTRunner):
    """A `LiteRTRunner` that preserves intermediate tensors; logits and speed do not change."""

    def __init__(self, data: bytes, threads: int, name: str) -> None:
        super().__init__(data, threads, name, keep_tensors=True)
        feature, weight = _find(parse(data), name)
        details = {int(item["index"]): item for item in self._interpreter.get_tensor_details()}
        self._feature = details[feature]
        channels = int(self._feature["shape"][-1])
        self._rows = rows_of(self._value(details[weight]), channels, name)

    def activation(self, label: int) -> NDArray[np.float32]:
        """The class activation map of the last `run`, float32 [height, width]."""
        features = self._value(self._feature)[0].transpose(2, 0, 1)
        return weigh(features, self._rows[label])

    def _value(self, detail: dict[str, Any]) -> NDArray[np.float32]:
        """The dequantized values of a tensor."""
        values = np.asarray(self._interpreter.get_tensor(detail["index"]))
        quantization = detail["quantization_parameters"]
        if values.dtype.kind == "f" or not len(quantization["scales"]):
            return values.astype(np.float32)
        shape = [1] * values.ndim
        shape[quantization["quantized_dimension"]] = -1 if len(quantization["scales"]) > 1 else 1
        scales, zeros = (np.reshape(quantization[key], shape) for key in ("scales", "zero_points"))
        return np.asarray((values.astype(np.float32) - zeros) * scales, np.float32)


def _find(model: Record, name: str) -> tuple[int, int]:
    """Tensor indices of the last feature map and of the dense layer's weight."""
    graph = model["subgraphs"][0]
    codes = [max(item["code"], item["old_code"]) for item in model["operator_codes"]]
    maker = {int(index): operator for operator in graph["operators"]
             for index in operator["outputs"]}  # fmt: skip
    tensor, weight = int(graph["outputs"][0]), None
    while tensor in maker:
        operator = maker[tensor]
        code, inputs = codes[operator["code"]], [int(index) for index in operator["inputs"]]
        if weight is None and code in (_DENSE, _CONV):
            weight = inputs[1]
            producer = maker.get(weight)
            if producer is not None and codes[producer["code"]] == _DEQUANTIZE:
                # float16 weights: XNNPACK reads them directly and never writes the float32 tensor
                weight = int(producer["inputs"][0])
        elif weight is not None and code in _POOLINGS:
            return inputs[0], weight
        elif code not in _PASSING:
            raise no_map(name, "it ends in something else")
        tensor = inputs[0]
    raise no_map(name, "it has no such layers")
