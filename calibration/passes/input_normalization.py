"""Input normalisation -> one scale and zero point for raw pixels, the rest in the first layer.

A quantized file takes uint8 pixels, whose tensor has a single scale and zero point. Where the
network's normalisation differs between channels (ImageNet's mean and deviation), the first
convolution takes over what one grid cannot say: with pixel p, (p - m_c) / s_c equals
a_c * (p - z) / s + b_c, where a_c = s / s_c scales its weights and b_c = (z - m_c) / s_c moves its
bias. Its padding then stands for pixel z in every channel instead of m_c; z lies between the means,
so this touches the outermost outputs alone, and by little.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_effnet.calibration.plan import QuantParams
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv
from edge_effnet.model import Model
from edge_effnet.preprocess import Preprocess


def input_quant_params(preprocess: Preprocess) -> QuantParams:
    """The grid on which raw pixels are the input of `share_input_normalization`'s model."""
    zero, scale = _common(preprocess)
    return QuantParams(float(np.float32(1 / scale)), zero)


def share_input_normalization(model: Model) -> Model:
    """The same network (BN folded) for pixels normalised alike in all channels.

    Unchanged where the normalisation is already one whole mean and one deviation. Raises
    `QuantizationError` where something else than one ungrouped convolution reads the input.
    """
    preprocess = model.info.preprocess
    zero, scale = _common(preprocess)
    if set(preprocess.mean) == {float(zero)} and set(preprocess.std) == {scale}:
        return model
    readers = model.graph.consumers[model.graph.input]
    conv = readers[0]
    if len(readers) != 1 or not isinstance(conv, Conv) or conv.groups != 1 or not conv.bias:
        raise QuantizationError(
            f"the input's normalisation differs between channels ({preprocess.mean}, "
            f"{preprocess.std}) and no single convolution reads the input to take that over"
        )
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    weight = model.weights[f"{conv.name}.weight"].astype(np.float64)
    shift = np.einsum("oikl,i->o", weight, (zero - mean) / std)
    changed = {
        f"{conv.name}.weight": (weight * (scale / std)[:, None, None]).astype(np.float32),
        f"{conv.name}.bias": (model.weights[f"{conv.name}.bias"] + shift).astype(np.float32),
    }
    common = replace(preprocess, mean=(float(zero),) * 3, std=(float(scale),) * 3)
    return replace(
        model,
        weights={**model.weights, **changed},
        info=replace(model.info, preprocess=common),
    )


def _common(preprocess: Preprocess) -> tuple[int, float]:
    """Zero point and deviation: the whole pixel value with the least squared offset from the means.

    Offsets count in units of each channel's deviation.
    """
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    zero = int(np.clip(np.rint((mean / std**2).sum() / (1 / std**2).sum()), 0, 255))
    return zero, float(preprocess.std[0]) if len(set(preprocess.std)) == 1 else float(std.mean())
