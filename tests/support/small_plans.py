"""Calibration samples of the small networks, and checks of the plans calibrated on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.weights.gptq import pair_stride
from edge_effnet.card import CalibrationRecord
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Model
from edge_effnet.preprocess import Preprocess
from support import tflite_models as small
from support.pairs import worst_pair

COUNT = 18
#: Another mean and deviation for each colour.
IMAGENET = Preprocess(small.SIDE, 0.875, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4))


def samples_of(count: int = COUNT) -> Samples:
    """Six photos, then mirrored, then upside down; the first ``count`` of them."""
    pictures = small.photos(6)
    flips = [picture[:, ::-1] for picture in pictures]
    turned = [picture[::-1] for picture in pictures]
    pixels = np.stack([*pictures, *flips, *turned])[:count]
    return Samples(pixels, CalibrationRecord(len(pixels), len(pixels), "0" * 64))


def overflowing(name: str) -> Model:
    """The ReLU6 network with weights of layer ``name`` whose outputs exceed float32."""
    model = small.model_of(small.LITE)
    huge = np.sign(model.weights[f"{name}.weight"]) * np.float32(3e38)
    return replace(model, weights={**model.weights, f"{name}.weight": huge})


def layers_of(model: Model) -> list[Conv | Dense]:
    return [node for node in model.graph if isinstance(node, (Conv, Dense))]


def decibels(model: Model, plan: QuantPlan) -> float:
    """Signal-to-noise ratio of the plan's logits, by the tests' own simulation of its integers."""
    signal = noise = 0.0
    for pixels in samples_of(6).pixels:
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        signal += float((expected**2).sum())
        noise += float(((small.simulate(model, plan, pixels) - expected) ** 2).sum())
    return 10 * np.log10(signal / noise)


def pair_violations(model: Model, plan: QuantPlan) -> list[str]:
    """Layers with a pair that would saturate; integers in the order in which kernels accumulate."""
    found = []
    for node in layers_of(model):
        if node.name in plan.float_layers or (isinstance(node, Conv) and node.depthwise):
            continue
        weight = plan.layers[node.name].weight
        matrix = weight if weight.ndim == 2 else weight.transpose(0, 2, 3, 1)
        if worst_pair(matrix.reshape(len(weight), -1), pair_stride(weight.shape[1])) > 128:
            found.append(node.name)
    return found
