"""Dead-channel reuse: first-layer channels that are always 0 become copies of other channels.

In networks with ReLU6, some first-layer channels are 0 for every image (4 of 32 in Lite0 and Lite2,
7 in Lite1). Other channels carry fine detail on a large constant, and 8 bits over [0, 6] are too
coarse for this detail. On Lite1, rounding these channels alone limits the logits' SQNR to 28 dB.
Rounding all other activations costs less.

A dead channel and its depthwise filter become a copy of a channel with fine detail. A fraction of a
quantization step is added to the copy's bias, and the depthwise bias subtracts its effect. The
copies therefore round differently, and the 1x1 projection averages them. The mean of n channels has
the resolution of n times as many quantization levels. The float function and the latency are
unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.plan import LEVELS
from edge_effnet.graph import Activation, Conv, Graph
from edge_effnet.model import Model

_STEP = CLIPS["relu6"][1] / LEVELS


def reuse_dead_channels(model: Model) -> Model:
    """Replace the first layer's dead channels, which are 0 for every image, with useful copies.

    Each becomes a copy of another channel, with a fraction of a quantization step added to its
    bias. The average over a channel and its copies has a smaller rounding error than the channel.

    Args:
        model: Network with BN folded.

    Returns:
        An equivalent network. ``model`` itself if it has no dead channels, if the projection reads
        no other channel, or if it does not begin with convolution, ReLU6, depthwise convolution,
        ReLU6 and 1x1 convolution.
    """
    chain = _first_layers(model.graph)
    if chain is None:
        return model
    stem, depthwise, project = (_DoubleLayer.of(model, node) for node in chain)
    dead = _dead_channels(model, stem)
    noise = np.square(depthwise.weight).sum(axis=(1, 2, 3))
    noise *= np.square(project.weight).sum(axis=(0, 2, 3))
    noise[dead] = 0
    if not len(dead) or not noise.any():
        return model
    # The constant output of a dead channel moves into the projection's bias.
    constants = np.clip(depthwise.bias[dead], *CLIPS["relu6"])
    project.bias[:] += project.weight[:, dead, 0, 0] @ constants
    for channel, copies in _assign(noise, dead).items():
        _copy_channel(stem, depthwise, project, channel, copies)
    weights = {**model.weights}
    for layer in (stem, depthwise, project):
        weights[f"{layer.name}.weight"] = layer.weight.astype(np.float32)
        weights[f"{layer.name}.bias"] = layer.bias.astype(np.float32)
    return replace(model, weights=weights)


@dataclass(frozen=True)
class _DoubleLayer:
    """A layer's weight (OIHW) and bias [out] in float64; both are changed in place."""

    name: str
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    @classmethod
    def of(cls, model: Model, node: Conv) -> _DoubleLayer:
        weight, bias = (model.weights[f"{node.name}.{part}"] for part in ("weight", "bias"))
        return cls(node.name, weight.astype(np.float64), bias.astype(np.float64))


def _dead_channels(model: Model, stem: _DoubleLayer) -> NDArray[np.intp]:
    """Indices of the channels whose output is at most 0 for all pixels."""
    low, high = _pixel_bounds(model)
    largest = np.maximum(stem.weight * low, stem.weight * high).sum(axis=(1, 2, 3)) + stem.bias
    return np.flatnonzero(largest <= 0)


def _copy_channel(
    stem: _DoubleLayer,
    depthwise: _DoubleLayer,
    project: _DoubleLayer,
    channel: int,
    copies: list[int],
) -> None:
    """Overwrite the channels ``copies`` with ``channel``.

    A different fraction of a quantization step is added to the first layer's bias of each copy. The
    projection weights are divided by the number of equal channels, so the sum is unchanged.
    """
    count = len(copies) + 1
    project.weight[:, channel] /= count
    for number, copy in enumerate(copies, 1):
        shift = _STEP * number / count
        stem.weight[copy], stem.bias[copy] = stem.weight[channel], stem.bias[channel] + shift
        depthwise.weight[copy] = depthwise.weight[channel]
        filter_sum = depthwise.weight[channel].sum()
        depthwise.bias[copy] = depthwise.bias[channel] - shift * filter_sum
        project.weight[:, copy] = project.weight[:, channel]


def _first_layers(graph: Graph) -> tuple[Conv, Conv, Conv] | None:
    """First, depthwise and 1x1 convolution; None unless joined by ReLU6 at the network's start."""
    convolutions: list[Conv] = []
    name = graph.input
    while len(convolutions) < 3:
        readers = graph.consumers[name]
        if len(readers) != 1 or not isinstance(readers[0], Conv) or not readers[0].bias:
            return None
        conv = readers[0]
        convolutions.append(conv)
        after = graph.consumers[conv.name]
        if len(convolutions) < 3:
            if len(after) != 1 or not isinstance(after[0], Activation) or after[0].kind != "relu6":
                return None
            name = after[0].name
    first, depthwise, project = convolutions
    fits = first.groups == 1 and depthwise.depthwise and project.kernel == project.groups == 1
    return (first, depthwise, project) if fits else None


def _pixel_bounds(model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest input per channel, [3, 1, 1], among normalised pixels and padding."""
    extremes = [
        model.info.preprocess.normalise(np.full((1, 1, 1, 3), value, np.uint8)).reshape(3, 1, 1)
        for value in (0, 255)
    ]
    low, high = np.minimum(extremes[0], extremes[1]), np.maximum(extremes[0], extremes[1])
    return np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64)


def _assign(noise: NDArray[np.float64], dead: NDArray[np.intp]) -> dict[int, list[int]]:
    """The dead channels that become copies of each channel, by the channel's index.

    Greedy: each dead channel goes to the channel where it reduces noise / copies**2 the most.
    ``noise`` [channels] is the noise gain of each channel up to the projection's output.
    """
    copies = np.ones(len(noise))
    assigned: dict[int, list[int]] = {}
    for dead_channel in dead:
        channel = int(np.argmax(noise / copies**2 - noise / (copies + 1) ** 2))
        copies[channel] += 1
        assigned.setdefault(channel, []).append(int(dead_channel))
    return assigned
