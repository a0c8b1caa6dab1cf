"""Vendors' quantizers behind one function: the references for our own.

Every vendor's module has the same ``quantize(model, samples, card) -> Files``. It passes our float
model to the vendor's tool with the tool's defaults, and adds a `ModelCard` to the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.errors import EdgeEffNetError, QuantizationError
from edge_effnet.model import Model

#: A model's bytes: the file to open, and its companion (an .xml's .bin, else empty). The card
#: inside holds `edge_effnet.digest.PLACEHOLDER`: stamp it before writing.
Files = tuple[bytes, bytes]


@dataclass(frozen=True)
class Vendor:
    """A vendor's quantizer: its format, its extra, and the module that calls it."""

    format: Literal["tflite", "onnx", "openvino"]
    extra: str
    module: str

    def quantize(self, model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
        """The int8 file of ``model``, with BN folded.

        Args:
            model: The float network.
            samples: Calibration pictures, uint8 RGB [n, size, size, 3] from `Preprocess.pixels`.
            card: The card, whose precision, input, quantizer and recipe are replaced.

        Raises:
            MissingExtra: The tool is not installed.
            QuantizationError: The samples have another shape, or the tool fails.
        """
        shape = (*model.graph.input_shape[1:], 3)
        if samples.dtype != np.uint8 or samples.shape[1:] != shape or not len(samples):
            raise QuantizationError(
                f"calibration pictures must be uint8 [n, {', '.join(map(str, shape))}], not "
                f"{samples.dtype} {list(samples.shape)}"
            )
        module = import_module(self.module)
        try:
            files: Files = module.quantize(model, samples, card)
        except EdgeEffNetError:
            raise
        except Exception as error:  # foreign code: its errors share no base
            raise QuantizationError(
                f"the quantizer {module.NAME} failed on {model.variant.name} "
                f"({type(error).__name__}: {error})",
                hint="use quantizer='edge-effnet'",
            ) from error
        return files


VENDORS: dict[str, Vendor] = {
    "tensorflow": Vendor("tflite", "tensorflow", f"{__name__}.tensorflow"),
    "ai-edge-quantizer": Vendor("tflite", "ai-edge-quantizer", f"{__name__}.ai_edge_quantizer"),
    "onnxruntime": Vendor("onnx", "export", f"{__name__}.onnxruntime"),
    "nncf": Vendor("openvino", "nncf", f"{__name__}.nncf"),
}
