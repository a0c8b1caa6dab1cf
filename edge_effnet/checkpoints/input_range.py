"""Input range of the training, estimated from the first layer's weights and BN statistics.

A linear filter with weights w has the output variance w' C w over photos. C is the covariance of 3
x 3 RGB patches with pixels in 0..1; it varies little between photos. The running variance of BN
divided by w' C w is therefore the squared scale of the training inputs. The estimated scale
(difference between white and black) has the median 2.3 on the released Lite0, Lite1 and Lite2
(quartiles 2.25 and 2.5). The true value is 2.0 for (x - 127) / 128; with ImageNet's deviation the
estimate would be 5.1.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.source import Tensors
from edge_effnet.model import Weights
from edge_effnet.preprocess import HALVES, IMAGENET_MEAN, IMAGENET_STD, Preprocess

Range = Literal["0..1", "-1..1", "ImageNet's", "0..255"]

#: Difference between white and black in the network's input, by kind of normalisation.
_SPANS: dict[Range, float] = {"0..1": 1.0, "-1..1": 2.0, "ImageNet's": 4.42, "0..255": 255.0}
#: Mean and standard deviation in pixel units, by kind of normalisation.
NORMALISATIONS: dict[Range, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "0..1": ((0.0,) * 3, (255.0,) * 3),
    "-1..1": (HALVES, HALVES),
    "ImageNet's": (IMAGENET_MEAN, IMAGENET_STD),
    "0..255": ((0.0,) * 3, (1.0,) * 3),
}
_ARGUMENTS: dict[Range, str] = {
    "0..1": "mean=0, std=255",
    "-1..1": "mean=127.5, std=127.5",
    "ImageNet's": "mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)",
    "0..255": "mean=0, std=1",
}
#: Ratio of estimated to true scale: training crops vary more than the photos of `_COLOURS`. On Lite
#: it is 2.3 / 2.0.
_TRAINING = 1.15
# Statistics of 150 photos at 224 pixels, with pixels in 0..1: covariance of R, G, B, and
# correlation exp(-distance * decay) between pixels, accurate to 0.01 within a 3 x 3 patch.
_COLOURS = ((0.0621, 0.0536, 0.0493), (0.0536, 0.0556, 0.0503), (0.0493, 0.0503, 0.0583))
_DECAY = 0.037
_SPREAD = 1.5  # largest ratio of third to first quartile for a clear result
_FEWEST = 8  # minimum number of filters that are not dead


def range_in(tensors: Tensors, conv: str, norm: str) -> Range | None:
    """`trained_range` of the tensors of the layers ``conv`` and ``norm``."""
    weight, variance = tensors.get(f"{conv}.weight"), tensors.get(f"{norm}.running_var")
    return None if weight is None or variance is None else trained_range(weight, variance)


def trained_range(weight: NDArray[Any], variance: NDArray[Any]) -> Range | None:
    """Input range of the training, from the first convolution's ``weight``; None if unclear.

    ``weight`` is [out, 3, k, k] with kernel size k. ``variance`` [out] is the running variance of
    the following batch normalisation.
    """
    span = _span(weight, variance)
    if span is None:
        return None
    return min(_SPANS, key=lambda kind: abs(np.log(span / (_TRAINING * _SPANS[kind]))))


def contradiction(weights: Weights, preprocess: Preprocess) -> str | None:
    """A warning if ``preprocess`` gives another input range than that of the training.

    None if the ranges agree, or if the training's range is unclear.
    """
    trained = trained_range(weights["stem.conv.weight"], weights["stem.bn.running_var"])
    actual = range_of(preprocess)
    if trained is None or trained == actual:
        return None
    return (
        f"the statistics of the first layer are those of inputs in {trained} range, while the "
        f"preprocessing makes {actual}: predictions may be wrong; if they are, try "
        f"{_ARGUMENTS[trained]}"
    )


def range_of(preprocess: Preprocess) -> Range:
    """Input range of ``preprocess``."""
    span = 255.0 / float(np.mean(preprocess.std))
    return min(_SPANS, key=lambda kind: abs(np.log(span / _SPANS[kind])))


def _span(weight: NDArray[Any], variance: NDArray[Any]) -> float | None:
    if weight.ndim != 4 or weight.shape[1] != 3 or variance.shape != weight.shape[:1]:
        return None
    filters = weight.reshape(len(weight), -1).astype(np.float64)
    predicted = np.einsum("oi,ij,oj->o", filters, _patch_covariance(weight.shape[2]), filters)
    usable = np.isfinite(predicted) & np.isfinite(variance) & (variance > 0)
    usable &= predicted > 1e-4 * np.median(predicted)
    if usable.sum() < _FEWEST:
        return None
    ratios = np.sqrt(variance[usable] / predicted[usable])
    low, middle, high = np.percentile(ratios, (25, 50, 75))
    return float(middle) if high < _SPREAD * low else None


def _patch_covariance(kernel: int) -> NDArray[np.float64]:
    places = np.indices((kernel, kernel)).reshape(2, -1)
    distances = np.hypot(*(places[:, :, None] - places[:, None, :]))
    return np.kron(np.asarray(_COLOURS), np.exp(-_DECAY * distances))
