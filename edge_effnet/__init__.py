"""EfficientNet checkpoints quantized once and exported for edge devices.

run = edge_effnet.train("photos/", variant="lite0", out="run/")
model = edge_effnet.load("lite0", weights="efficientnet-lite0.pth")
files = edge_effnet.export(model, calibration="photos/", out="out/")
classify = edge_effnet.open(files[0])
classify("cat.jpg", top=5)
edge_effnet.evaluate(files, images="test/")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edge_effnet import version

if TYPE_CHECKING:
    from edge_effnet.apps.training.train import train
    from edge_effnet.benchmarks.compare import benchmark, compare, evaluate
    from edge_effnet.benchmarks.records import Record, Results
    from edge_effnet.calibration.quantized_model import QuantizedModel
    from edge_effnet.card import ModelCard, ModelInfo
    from edge_effnet.checkpoints import load
    from edge_effnet.checkpoints.canonical import save
    from edge_effnet.classifier import Classifier
    from edge_effnet.converters.analyze import analyze
    from edge_effnet.converters.export import export
    from edge_effnet.converters.quantize import calibrate
    from edge_effnet.errors import (
        CameraError,
        CheckpointError,
        DeviceError,
        DownloadError,
        EdgeEffNetError,
        ImageError,
        MissingExtra,
        ModelFileError,
        OutputError,
        QuantizationError,
        UsageError,
    )
    from edge_effnet.model import Model
    from edge_effnet.preprocess import Preprocess
    from edge_effnet.registry import get_variant, list_variants
    from edge_effnet.runtime.opening import open_model as open
    from edge_effnet.variants import Variant

__all__ = [
    "CameraError",
    "CheckpointError",
    "Classifier",
    "DeviceError",
    "DownloadError",
    "EdgeEffNetError",
    "ImageError",
    "MissingExtra",
    "Model",
    "ModelCard",
    "ModelFileError",
    "ModelInfo",
    "OutputError",
    "Preprocess",
    "QuantizationError",
    "QuantizedModel",
    "Record",
    "Results",
    "UsageError",
    "Variant",
    "__version__",
    "analyze",
    "benchmark",
    "calibrate",
    "compare",
    "evaluate",
    "export",
    "get_variant",
    "list_variants",
    "load",
    "open",
    "save",
    "train",
]

__version__ = version.VERSION

#: Module -> its public names. A module is imported at the first use of a name, so that importing
#: the package is fast.
_MODULES = {
    "apps.training.train": ("train",),
    "benchmarks.compare": ("benchmark", "compare", "evaluate"),
    "benchmarks.records": ("Record", "Results"),
    "calibration.quantized_model": ("QuantizedModel",),
    "card": ("ModelCard", "ModelInfo"),
    "checkpoints": ("load",),
    "checkpoints.canonical": ("save",),
    "classifier": ("Classifier",),
    "converters.analyze": ("analyze",),
    "converters.export": ("export",),
    "converters.quantize": ("calibrate",),
    "errors": tuple(name for name in __all__ if name.endswith(("Error", "Extra"))),
    "model": ("Model",),
    "preprocess": ("Preprocess",),
    "registry": ("get_variant", "list_variants"),
    "runtime.opening": ("open",),
    "variants": ("Variant",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    return getattr(module, "open_model" if name == "open" else name)


def __dir__() -> list[str]:
    return __all__
