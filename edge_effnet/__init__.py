"""EfficientNet checkpoints to phones, Raspberry Pis and edge accelerators, quantized once.

model = edge_effnet.load("lite0", weights="efficientnet-lite0.pth")
files = edge_effnet.export(model, calibration="photos/", out="out/")
classify = edge_effnet.open(files[0])
classify("cat.jpg", top=5)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_effnet import version

if TYPE_CHECKING:
    from edge_effnet.calibration.quantized_model import QuantizedModel
    from edge_effnet.card import ModelCard
    from edge_effnet.checkpoints import load
    from edge_effnet.checkpoints.canonical import save
    from edge_effnet.classifier import Classifier
    from edge_effnet.converters.export import export
    from edge_effnet.converters.quantize import calibrate
    from edge_effnet.errors import EdgeEffNetError
    from edge_effnet.model import Model
    from edge_effnet.preprocess import Preprocess
    from edge_effnet.runtime.opening import open_model as open

__all__ = [
    "Classifier",
    "EdgeEffNetError",
    "Model",
    "ModelCard",
    "Preprocess",
    "QuantizedModel",
    "__version__",
    "calibrate",
    "export",
    "load",
    "open",
    "save",
]

__version__ = version.VERSION

#: Public name -> where it lives; imported when first used, so that importing the package is quick.
_HOMES = {
    "Classifier": ("edge_effnet.classifier", "Classifier"),
    "EdgeEffNetError": ("edge_effnet.errors", "EdgeEffNetError"),
    "Model": ("edge_effnet.model", "Model"),
    "ModelCard": ("edge_effnet.card", "ModelCard"),
    "Preprocess": ("edge_effnet.preprocess", "Preprocess"),
    "QuantizedModel": ("edge_effnet.calibration.quantized_model", "QuantizedModel"),
    "calibrate": ("edge_effnet.converters.quantize", "calibrate"),
    "export": ("edge_effnet.converters.export", "export"),
    "load": ("edge_effnet.checkpoints", "load"),
    "open": ("edge_effnet.runtime.opening", "open_model"),
    "save": ("edge_effnet.checkpoints.canonical", "save"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
