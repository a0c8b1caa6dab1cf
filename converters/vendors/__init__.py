"""Vendors' quantizers behind one function, for comparison with ours.

Every vendor's module has a function ``quantize(model, samples, card) -> Files``. The function runs
the vendor's tool with its default options on our float model and adds a `ModelCard` to the result.
``nncf-histogram`` is NNCF with the ranges of another option.
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

#: Bytes of a file, and of the .bin of an .xml file (else empty). The card in the file contains
#: `edge_effnet.digest.PLACEHOLDER`, which the digest replaces before writing.
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
            samples: Calibration samples, uint8 RGB [n, size, size, 3] from `Preprocess.pixels`.
            card: The card to store. Its precision, input, quantizer and recipe are replaced.

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
        except Exception as error:  # the tool's errors have no common base
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
    "nncf-histogram": Vendor("openvino", "nncf", f"{__name__}.nncf_histogram"),
}
