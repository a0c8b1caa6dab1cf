"""Domain shift, measured by the variance ratio: activation variance on photos / in training.

BatchNorm stores the variance of each channel in training. On photos of another domain the
activations vary less. A channel's ratio is its variance on the photos, divided by its variance in
training. A layer's ratio is the geometric mean over its channels. The network's ratio is the median
over its layers.

Variance ratios of sets of 8 to 125 photos:

                                                       Lite0         V2-B0
  photos of things, a street, crops of one photo   0.73 - 0.98   1.07 - 1.82
  these photos in grey, or 4 times darker          0.65 - 0.71   1.34 - 1.54
  brick, grass, gravel, a page, the moon           0.26 - 0.49   0.33 - 0.57
  text, coins, line drawings, thermal pictures     0.32 - 0.63   0.66 - 0.87
  noise, near black                                0.07 - 0.18   0.16 - 0.21
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import Engine
from edge_effnet.calibration.segments import compile_segments, run_segments
from edge_effnet.graph import BatchNorm
from edge_effnet.model import Model

#: Variance ratio below which a domain shift is reported.
LEAST = 0.6
_FEWEST = 8  # photos that a reliable ratio needs
_MOST = 32  # photos measured, spread evenly over the samples
_CHUNK = 8  # photos in a batch
_DEAD = 1e-3  # channels with less than this fraction of the layer's mean variance are ignored


def variance_ratio(model: Model, pixels: NDArray[np.uint8], engine: Engine) -> float | None:
    """Variance of the activations on samples, divided by the variance in training.

    Args:
        model: Network with BN not folded.
        pixels: uint8 samples [n, size, size, 3].
        engine: Compiles the float network.

    Returns:
        The ratio. None if the network has random weights, if no BatchNorm has a variance above 0
        (folded checkpoints have none), or for fewer than 8 samples.
    """
    layers = [node for node in model.graph if isinstance(node, BatchNorm)]
    source = model.info.source
    random = source is not None and source.kind == "random"
    if not layers or random or len(pixels) < _FEWEST:
        return None
    chosen = pixels[:: max(1, len(pixels) // _MOST)][:_MOST]
    names = sorted({layer.inputs[0] for layer in layers})
    segments = compile_segments(model.graph, model.weights, engine, names, _CHUNK)
    moments = {name: np.zeros((2, model.graph.shapes[name][0])) for name in names}
    for start in range(0, len(chosen), _CHUNK):
        values = model.info.preprocess.normalise(chosen[start : start + _CHUNK])
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        for _, tensors in run_segments(segments, batch, engine):
            for name in moments.keys() & tensors.keys():
                rows = tensors[name].reshape(*tensors[name].shape[:2], -1)
                moments[name][0] += rows.mean(axis=2).sum(axis=0)
                moments[name][1] += np.square(rows).mean(axis=2).sum(axis=0)
            del tensors  # frees memory before the next step
    ratios = []
    for layer in layers:
        mean, square = moments[layer.inputs[0]] / len(chosen)
        trained = model.weights[f"{layer.name}.running_var"].astype(np.float64)
        alive = trained > _DEAD * trained.mean()
        if not alive.any():
            continue  # all variances are 0: a dead layer
        ratio = (square - mean**2) / (trained + layer.eps)
        ratios.append(float(np.exp(np.log(np.maximum(ratio[alive], 1e-6)).mean())))
    return float(np.median(ratios)) if ratios else None


def domain_shift_warnings(
    model: Model, pixels: NDArray[np.uint8], engine: Engine
) -> tuple[str, ...]:
    """A warning if the samples show a domain shift, else none.

    Args:
        model: Network with BN not folded.
        pixels: uint8 samples [n, size, size, 3].
        engine: Compiles the float network.
    """
    ratio = variance_ratio(model, pixels, engine)
    if ratio is None or ratio >= LEAST:
        return ()
    return (
        "the calibration photos look unlike those that the network was trained on: the variance of "
        f"its activations is {ratio:.2f} of that in training, where similar photos gave 0.65 and "
        "more. Clipping ranges will not fit other photos. Use photos like those the model will see",
    )
