"""Answers: from the probabilities of one image to the classes that a client names.

Every client has the same rule and the same defaults: the camera, a bundle and the web page. A
network with one class per image answers its most likely class, or is unsure. A multi-label network
answers every label from a threshold on, and may answer none.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_effnet.card import ModelInfo

#: Probability from which a multi-label network predicts a label.
THRESHOLD = 0.5
#: Probability below which the best class is no answer. docs/camera.md has the measurement.
MIN_CONFIDENCE = 0.35
#: Time constant in seconds of the exponential smoothing of live probabilities (docs/camera.md).
SMOOTHING = 0.5
#: Words for no answer: of a network with one class per image, and of a multi-label network.
UNSURE, NO_LABEL = "unsure", "none of the labels"


def answered(
    info: ModelInfo,
    probabilities: NDArray[np.float32],
    min_confidence: float = MIN_CONFIDENCE,
    threshold: float = THRESHOLD,
) -> tuple[int, ...]:
    """Indices of the answered classes, most likely first; of equals, the lower index first.

    Args:
        info: Description of the network.
        probabilities: float32 [classes].
        min_confidence: Least probability of an answer; multi-label networks ignore it.
        threshold: Least probability of a multi-label network's label; others ignore it.

    Returns:
        The indices; empty if the network is unsure, or if no label reaches the threshold.
    """
    if not info.multi_label:
        best = int(probabilities.argmax())
        return (best,) if probabilities[best] >= min_confidence else ()
    order = (-probabilities).argsort(kind="stable")
    return tuple(int(index) for index in order if probabilities[index] >= threshold)


def word_for_none(info: ModelInfo) -> str:
    """The word that a client shows if `answered` returns no class."""
    return NO_LABEL if info.multi_label else UNSURE


def check_threshold(threshold: float) -> None:
    """Raise `UsageError` unless ``threshold`` is a probability, above 0 and up to 1."""
    if not 0 < threshold <= 1:
        raise UsageError(
            f"a threshold of {threshold:g} is no probability above 0 and up to 1",
            hint="give threshold=0.5",
        )


def check_min_confidence(confidence: float) -> None:
    """Raise `UsageError` unless ``confidence`` is a probability from 0 to 1."""
    if not 0 <= confidence <= 1:
        raise UsageError(
            f"a least confidence of {confidence:g} is no probability from 0 to 1",
            hint=f"give min_confidence={MIN_CONFIDENCE:g}, or 0 to answer always",
        )


def check_smoothing(seconds: float) -> None:
    """Raise `UsageError` unless ``seconds`` is a finite time of 0 or more."""
    if not (math.isfinite(seconds) and seconds >= 0):
        raise UsageError(
            f"a smoothing time of {seconds:g} s is not possible",
            hint=f"give smoothing={SMOOTHING:g}, or 0 to answer frame by frame",
        )
