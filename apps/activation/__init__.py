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
from typing import TYPE_CHECKING, Protocol

from edge_effnet import digest
from edge_effnet.classifier import Classifier
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.opening import read_model_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
