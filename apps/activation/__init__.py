"""Class activation maps of an exported file: the image regions that support a class.

A class activation map (Zhou et al., "Learning Deep Features for Discriminative Localization", 2016;
figure 7 of the EfficientNet paper) is the last feature map weighted by the class's row of the
classifier. Its spatial mean plus the class's bias equals the class's logit, because global average
pooling and the dense layer are both linear. The tests verify this in every format.

An `ActivationRunner` is a Runner that also returns the feature map. The file is not changed. ONNX
and OpenVINO models get an additional output in memory. LiteRT preserves all intermediate tensors.
The network must end in a global average pool and one dense layer.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edge_effnet.classifier import Classifier
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.opening import read_safe_model_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ActivationRunner(Runner, Protocol):
    """A Runner that also computes class activation maps."""

    def activation(self, label: int) -> NDArray[np.float32]:
        """The class activation map of class ``label`` after a `run`, float32 [height, width]."""


def with_activation(classifier: Classifier) -> tuple[Classifier, ActivationRunner]:
    """The classifier with a new runner that also computes class activation maps, and this runner.

    Raises:
        ModelFileError: The network does not end in a global average pool and one dense layer.
        MissingExtra: For .onnx files, the package onnx is not installed.
    """
    path, threads = Path(classifier.path), classifier.runner.info.threads
    data, companion, _ = read_safe_model_files(path)
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
