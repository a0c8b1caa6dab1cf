"""Quantizers that others wrote, behind one function: the references that ours is measured against.

Every module of a vendor has the same ``quantize(model, samples, card) -> Files``. It hands our
float model to the vendor's tool with the tool's own defaults, and puts a `ModelCard` into what
comes back.
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
    """A quantizer: the format it makes, the extra it comes with, the module that calls it."""

    format: Literal["tflite", "onnx", "openvino"]
    extra: str
    module: str

    def quantize(self, model: Model, samples: NDArray[np.uint8], card: ModelCard) -> Files:
        """The int8 file of ``model``, whose BatchNorm is folded.

        ``samples`` are calibration pictures, uint8 RGB [n, size, size, 3] as `Preprocess.pixels`
        gives them. The file's card is ``card`` with precision, input, quantizer and recipe set to
        what the file is. Raises `MissingExtra` if the tool is not installed, `QuantizationError`
        for samples of another shape and where the tool itself fails.
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
