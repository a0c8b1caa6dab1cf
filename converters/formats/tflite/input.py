"""Float input of a .tflite file, normalised with one mean and one deviation for all channels.

MediaPipe Tasks refuse a file whose metadata has one mean or deviation per channel, as ImageNet's
normalisation has. The float file of a network with this normalisation takes pixels normalised with
the averages over the channels. The file's first operators, a MUL and an ADD with one constant per
channel, convert the input to the training normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.preprocess import Preprocess


@dataclass(frozen=True)
class CommonInput:
    """Preprocessing with one mean and deviation, and the conversion to the network's input.

    The network's input is the file's input * ``factor`` + ``shift``, both float32 [3].
    """

    preprocess: Preprocess
    factor: NDArray[np.float32]
    shift: NDArray[np.float32]


def common_input(preprocess: Preprocess) -> CommonInput | None:
    """Conversion from one mean and deviation to the network's; None if it has only one of each."""
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    if len(set(preprocess.mean)) == len(set(preprocess.std)) == 1:
        return None
    centre, spread = round(float(mean.mean()), 3), round(float(std.mean()), 3)
    return CommonInput(
        preprocess=replace(preprocess, mean=(centre,) * 3, std=(spread,) * 3),
        factor=(spread / std).astype(np.float32),
        shift=((centre - mean) / std).astype(np.float32),
    )
