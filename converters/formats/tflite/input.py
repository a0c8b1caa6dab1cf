"""Float input of a .tflite file, normalised with one mean and one deviation for all channels.

MediaPipe Tasks refuse a file whose metadata has one mean or deviation per channel, as ImageNet's
normalisation has. The float file of a network with this normalisation takes pixels normalised with
the averages over the channels. The file's first operator, an ADD, and the weights of the first
convolution convert the input to the training normalisation:

    (p - m_c) / s_c = a_c * ((p - m) / s + b_c)    with a_c = s / s_c and b_c = (m - m_c) / s

The factors a_c scale the convolution's weights, which is exact: zero padding comes after the ADD.
Moving b_c into the bias too would change the outputs at the borders.

The ADD's constant has the width of the image, [1, 1, width, 3]. XNNPACK then adds whole rows. A
constant of 3 values costs 3 % of V2-B0's float latency, for the innermost loop has 3 steps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv, Graph
from edge_effnet.model import Weights
from edge_effnet.preprocess import Preprocess


@dataclass(frozen=True)
class CommonInput:
    """Preprocessing with one mean and deviation, and the conversion to the network's input.

    The network's input is (the file's input + ``shift``) * ``factor``, both [3].
    """

    preprocess: Preprocess
    factor: NDArray[np.float64]
    shift: NDArray[np.float64]

    def rows(self, width: int) -> NDArray[np.float32]:
        """``shift`` for each pixel of a row, float32 [1, 1, ``width``, 3]."""
        return np.tile(self.shift.astype(np.float32), width).reshape(1, 1, width, 3)

    def fold(self, graph: Graph, weights: Weights) -> Weights:
        """``weights`` in which the first convolution multiplies its inputs by ``factor``.

        Raises:
            QuantizationError: A node other than an ungrouped convolution reads the input.
        """
        changed = {}
        for node in graph.consumers[graph.input]:
            if not isinstance(node, Conv) or node.groups != 1:
                raise QuantizationError(
                    f"{node.name} reads the input, whose normalisation differs between channels: "
                    "only an ungrouped convolution can absorb it; export ONNX or OpenVINO instead"
                )
            weight = weights[f"{node.name}.weight"] * self.factor[:, None, None]
            changed[f"{node.name}.weight"] = weight.astype(np.float32)
        return {**weights, **changed}


def common_input(preprocess: Preprocess) -> CommonInput | None:
    """Conversion from one mean and deviation to the network's; None if it has only one of each."""
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    if len(set(preprocess.mean)) == len(set(preprocess.std)) == 1:
        return None
    centre, spread = round(float(mean.mean()), 3), round(float(std.mean()), 3)
    return CommonInput(
        preprocess=replace(preprocess, mean=(centre,) * 3, std=(spread,) * 3),
        factor=spread / std,
        shift=(centre - mean) / spread,
    )
