"""Dead channels of the first layer put to work: copies of others, read at shifted roundings.

Networks with ReLU6 have first-layer channels that no pixel can excite (4 of 32 in Lite0 and Lite2,
7 in Lite1), while others carry fine detail on a large constant, which 8 bits over [0, 6] hold
badly: on Lite1 their rounding alone costs the logits more (28 dB) than all other activations. A
dead channel becomes a copy of such a channel whose bias is shifted by a part of a step, along with
its depthwise filter, and the projection reads the mean of the copies: n of them round like a grid
of n times as many levels. In float the network computes what it did before, and it costs a device
nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.plan import LEVELS
from edge_effnet.graph import Activation, Conv, Graph
from edge_effnet.model import Model

_STEP = CLIPS["relu6"][1] / LEVELS


def reuse_dead_channels(model: Model) -> Model:
    """``model`` (BN folded) with its first layer's dead channels in use; itself if it has none.

    Only a network that begins with convolution, ReLU6, depthwise convolution, ReLU6, 1x1
    convolution is changed: there copies meet again in a sum.
    """
    chain = _beginning(model.graph)
    if chain is None:
        return model
    first, depthwise, project = chain
    names = [f"{node.name}.{part}" for node in chain for part in ("weight", "bias")]
    changed = {name: model.weights[name].astype(np.float64) for name in names}
    kernel, bias = changed[f"{first.name}.weight"], changed[f"{first.name}.bias"]
    filters, moved = changed[f"{depthwise.name}.weight"], changed[f"{depthwise.name}.bias"]
    mixing = changed[f"{project.name}.weight"]
    low, high = _pixel_bounds(model)
    largest = np.maximum(kernel * low, kernel * high).sum(axis=(1, 2, 3)) + bias
    dead = np.flatnonzero(largest <= 0)
    if not len(dead):
        return model
    # A dead channel's output is a constant, which the projection's bias takes over.
    changed[f"{project.name}.bias"] += mixing[:, dead, 0, 0] @ np.clip(moved[dead], *CLIPS["relu6"])
    noise = np.square(filters).sum(axis=(1, 2, 3)) * np.square(mixing).sum(axis=(0, 2, 3))
    noise[dead] = 0
    for channel, spares in _assign(noise, dead).items():
        count = len(spares) + 1
        mixing[:, channel] /= count
        for part, spare in enumerate(spares, 1):
            shift = _STEP * part / count
            kernel[spare], bias[spare] = kernel[channel], bias[channel] + shift
            filters[spare] = filters[channel]
            moved[spare] = moved[channel] - shift * filters[channel].sum()
            mixing[:, spare] = mixing[:, channel]
    narrowed = {name: values.astype(np.float32) for name, values in changed.items()}
    return replace(model, weights={**model.weights, **narrowed})


def _beginning(graph: Graph) -> tuple[Conv, Conv, Conv] | None:
    """First, depthwise and projecting convolution of a network that begins as it must."""
    found: list[Conv] = []
    name = graph.input
    while len(found) < 3:
        readers = graph.consumers[name]
        if len(readers) != 1 or not isinstance(readers[0], Conv) or not readers[0].bias:
            return None
        conv = readers[0]
        found.append(conv)
        after = graph.consumers[conv.name]
        if len(found) < 3:
            if len(after) != 1 or not isinstance(after[0], Activation) or after[0].kind != "relu6":
                return None
            name = after[0].name
    first, depthwise, project = found
    fits = first.groups == 1 and depthwise.depthwise and project.kernel == project.groups == 1
    return (first, depthwise, project) if fits else None


def _pixel_bounds(model: Model) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest normalised pixel of each channel, [3, 1, 1]; padding's 0 lies between."""
    ends = [
        model.info.preprocess.normalise(np.full((1, 1, 1, 3), value, np.uint8)).reshape(3, 1, 1)
        for value in (0, 255)
    ]
    low, high = np.minimum(ends[0], ends[1]), np.maximum(ends[0], ends[1])
    return np.minimum(low, 0).astype(np.float64), np.maximum(high, 0).astype(np.float64)


def _assign(noise: NDArray[np.float64], dead: NDArray[np.intp]) -> dict[int, list[int]]:
    """Channel -> its copies: each spare one goes where it takes most off ``noise`` / copies**2."""
    copies = np.ones(len(noise))
    assigned: dict[int, list[int]] = {}
    for spare in dead:
        channel = int(np.argmax(noise / copies**2 - noise / (copies + 1) ** 2))
        copies[channel] += 1
        assigned.setdefault(channel, []).append(int(spare))
    return assigned
