"""One input mean and deviation for all channels, so that pixels have one scale and zero point.

The input of a quantized file is a uint8 tensor with a single scale and zero point. ImageNet's mean
m_c and deviation s_c differ between the channels c. The first convolution absorbs the difference.
For a pixel value p, the common zero point z and the common deviation s:

    (p - m_c) / s_c = a_c * (p - z) / s + b_c    with a_c = s / s_c and b_c = (z - m_c) / s_c

The factors a_c scale the convolution's weights; the terms b_c change its bias.

Zero padding then represents the pixel value z in every channel instead of m_c. Since z lies between
the means, only the outermost outputs change, and only slightly.
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
    """Quantization parameters with which uint8 pixels are the input of the prepared network.

    The network is that of `share_input_normalization`.

    Args:
        preprocess: The network's preprocessing.
    """
    zero, scale = _common(preprocess)
    return QuantParams(float(np.float32(1 / scale)), zero)


def share_input_normalization(model: Model) -> Model:
    """The network with one mean and one deviation for all input channels.

    Args:
        model: Network with BN folded.

    Returns:
        An equivalent network; ``model`` itself if all channels have the same integer mean and the
        same deviation.

    Raises:
        QuantizationError: The only reader of the input is not an ungrouped convolution with a bias.
    """
    return with_normalization(model, *_common(model.info.preprocess))


def with_normalization(model: Model, zero: int, scale: float) -> Model:
    """The network for the input (pixel - ``zero``) / ``scale``.

    Args:
        model: Network with BN folded.
        zero: The mean of all channels, a pixel value.
        scale: The deviation of all channels.

    Returns:
        An equivalent network but for the outermost outputs, see the module; ``model`` itself if it
        has this input.

    Raises:
        QuantizationError: As for `share_input_normalization`.
    """
    preprocess = model.info.preprocess
    if set(preprocess.mean) == {float(zero)} and set(preprocess.std) == {scale}:
        return model
    readers = model.graph.consumers[model.graph.input]
    conv = readers[0]
    if len(readers) != 1 or not isinstance(conv, Conv) or conv.groups != 1 or not conv.bias:
        raise QuantizationError(
            f"the input's normalisation ({preprocess.mean}, {preprocess.std}) cannot move into the "
            "weights: only a single ungrouped convolution that reads the input can absorb it; "
            "export fp32 or fp16"
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
    """Zero point and deviation shared by all channels.

    The zero point is the pixel value with the least squared offset from the means, in units of each
    channel's deviation.
    """
    mean, std = (np.asarray(values, np.float64) for values in (preprocess.mean, preprocess.std))
    zero = int(np.clip(np.rint((mean / std**2).sum() / (1 / std**2).sum()), 0, 255))
    return zero, float(preprocess.std[0]) if len(set(preprocess.std)) == 1 else float(std.mean())
