"""Float input of a .tflite file with one mean and deviation for all channels.

MediaPipe's tasks accept a single mean and deviation and refuse a file whose metadata has one per
channel (ImageNet's). Such a file takes pixels normalised with the averages over the channels. It
begins with a product and a sum per channel, which restore the training normalisation exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.preprocess import Preprocess


@dataclass(frozen=True)
class CommonInput:
    """The file's ``preprocess``; its input * ``factor`` + ``shift`` is the network's input.

    ``factor`` and ``shift`` are float32 of shape [3].
    """

    preprocess: Preprocess
    factor: NDArray[np.float32]
    shift: NDArray[np.float32]


def common_input(preprocess: Preprocess) -> CommonInput | None:
    """The common normalisation; None if all channels have the same mean and deviation already."""
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    if len(set(preprocess.mean)) == len(set(preprocess.std)) == 1:
        return None
    centre, spread = round(float(mean.mean()), 3), round(float(std.mean()), 3)
    return CommonInput(
        preprocess=replace(preprocess, mean=(centre,) * 3, std=(spread,) * 3),
        factor=(spread / std).astype(np.float32),
        shift=((centre - mean) / std).astype(np.float32),
    )
