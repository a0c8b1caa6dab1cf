"""The float input of a .tflite: normalised alike in all colours, the rest in the file.

MediaPipe's tasks know a single mean and deviation and refuse a file whose metadata states one for
each channel (ImageNet's). Such a file takes pixels normalised by the average of both and begins
with a product and a sum for each channel, which give exactly what the network was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.preprocess import Preprocess


@dataclass(frozen=True)
class CommonInput:
    """``preprocess`` is what the file asks for; its input * ``factor`` + ``shift`` the network's.

    ``factor`` and ``shift`` are float32 of shape [3].
    """

    preprocess: Preprocess
    factor: NDArray[np.float32]
    shift: NDArray[np.float32]


def common_input(preprocess: Preprocess) -> CommonInput | None:
    """None where all channels are normalised alike already."""
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    if len(set(preprocess.mean)) == len(set(preprocess.std)) == 1:
        return None
    centre, spread = round(float(mean.mean()), 3), round(float(std.mean()), 3)
    return CommonInput(
        preprocess=replace(preprocess, mean=(centre,) * 3, std=(spread,) * 3),
        factor=(spread / std).astype(np.float32),
        shift=((centre - mean) / std).astype(np.float32),
    )
