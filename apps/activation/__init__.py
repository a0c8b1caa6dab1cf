"""Class activation maps from an exported file, unchanged: where in the picture a class was seen.

A class activation map (Zhou et al., "Learning Deep Features for Discriminative Localization", 2016;
figure 7 of the EfficientNet paper) is the last feature map weighted by the class's row of the
classifier. Its mean over the map plus the class's bias is exactly the class's logit, because the
network averages first and weighs then; the tests hold every format to that.

An `ActivationRunner` is a Runner that also gives out the feature map. It changes nothing in the
file: ONNX and OpenVINO models get one more output in memory, LiteRT keeps its tensors. Needed is a
network that ends in a global average pool and one dense layer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet import digest
from edge_effnet.classifier import Classifier
from edge_effnet.errors import ModelFileError
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.opening import read_model_files


class ActivationRunner(Runner, Protocol):
    """A Runner whose last feature map can be looked at."""

    def activation(self, label: int) -> NDArray[np.float32]:
        """float32 [height, width]: the class activation map of class ``label`` after a `run`."""


def with_activation(classifier: Classifier) -> tuple[Classifier, ActivationRunner]:
    """The same classifier over a runner that also gives activation maps.

    Raises `ModelFileError` for a network of another shape, `MissingExtra` for an .onnx file where
    the package onnx is not installed.
    """
    path, threads = Path(classifier.path), classifier.runner.info.threads
    data, companion = read_model_files(path)
    digest.verify(data, companion, str(path))
    suffix = path.suffix.lower()
    runner: ActivationRunner
    if suffix == ".tflite":
        from edge_effnet.apps.activation.litert import LiteRTActivation

        runner = LiteRTActivation(data, threads, str(path))
    elif suffix == ".onnx":
        from edge_effnet.apps.activation.onnxruntime import OnnxActivation

        runner = OnnxActivation(data, threads, str(path))
    else:
        from edge_effnet.apps.activation.openvino import OpenVinoActivation

        runner = OpenVinoActivation(data, companion, threads, str(path))
    return replace(classifier, runner=runner), runner


def weigh(features: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features [C, H, W] and one class's weights [C] -> [H, W]."""
    return np.asarray(np.tensordot(weights, features, axes=1), np.float32)


def rows_of(weights: NDArray[Any], channels: int, name: str) -> NDArray[np.float32]:
    """Classifier weights as float32 [classes, channels], whichever way the file stores them."""
    table = np.asarray(weights, np.float32).reshape([side for side in weights.shape if side != 1])
    if table.ndim == 2 and table.shape[1] == channels:
        return np.ascontiguousarray(table)
    if table.ndim == 2 and table.shape[0] == channels:
        return np.ascontiguousarray(table.T)
    raise no_map(name, f"its dense layer's weights are {list(weights.shape)}")


def no_map(name: str, reason: str) -> ModelFileError:
    """The error for a network that has no class activation map."""
    return ModelFileError(
        f"{name} has no class activation map ({reason}): that needs a global average pool followed "
        "by one dense layer"
    )
