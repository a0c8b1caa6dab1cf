"""Answers: from the probabilities of one image to the classes that a client names.

Every client has the same rule and the same defaults: the camera, a bundle and the web page. A
network with one class per image answers its most likely class, or is unsure. A multi-label network
answers every label from a threshold on, and may answer none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge_effnet.card import ModelInfo

#: Probability from which a multi-label network predicts a label.
THRESHOLD = 0.5
#: Probability below which the best of many classes is no answer. docs/camera.md has the
#: measurement, and `Rule.least_confidence` the value for few classes.
MIN_CONFIDENCE = 0.35
#: Time constant in seconds of the exponential smoothing of live probabilities (docs/camera.md).
SMOOTHING = 0.5
#: Words for no answer: of a network with one class per image, and of a multi-label network.
UNSURE, NO_LABEL = "unsure", "none of the labels"


#: Mean difference of a picture's cells, in grey levels of 0..255, from which the scene has changed.
#: Measured: at most 2 between consecutive frames of a street (10 fps), at most 7 within 5 s; at
#: least 22 between 650 unrelated photos.
SCENE_CHANGE = 20.0


def check_threshold(threshold: float) -> None:
    """Raise `UsageError` unless ``threshold`` is a probability, above 0 and up to 1."""
    if not 0 < threshold <= 1:
        raise UsageError(
            f"a threshold of {threshold:g} is no probability above 0 and up to 1",
            hint="give threshold=0.5",
        )


@dataclass(frozen=True)
class Rule:
    """How a client turns probabilities into an answer.

    Attributes:
        min_confidence: Least probability of the best class; None for the default of
            `least_confidence`. Multi-label networks ignore it.
        threshold: Least probability of a multi-label network's label; others ignore it.
        smoothing: Time constant in seconds of the smoothing over frames; 0 for none.

    Raises:
        UsageError: A value is not possible.
    """

    min_confidence: float | None = None
    threshold: float = THRESHOLD
    smoothing: float = SMOOTHING

    def __post_init__(self) -> None:
        check_threshold(self.threshold)
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise UsageError(
                f"a least confidence of {self.min_confidence:g} is no probability from 0 to 1",
                hint=f"give min_confidence={MIN_CONFIDENCE:g}, or 0 to answer always",
            )
        if not (math.isfinite(self.smoothing) and self.smoothing >= 0):
            raise UsageError(
                f"a smoothing time of {self.smoothing:g} s is not possible",
                hint=f"give smoothing={SMOOTHING:g}, or 0 to answer frame by frame",
            )

    def least_confidence(self, classes: int) -> float:
        """Least probability of an answer of a network with ``classes`` classes.

        The default is `MIN_CONFIDENCE` on a scale from chance (1 / classes) to 1: 0.35 of 1,000
        classes, 0.48 of 5, 0.675 of 2. A network of few classes is never below chance.
        """
        if self.min_confidence is not None:
            return self.min_confidence
        chance = 1 / classes
        return chance + (1 - chance) * MIN_CONFIDENCE


#: The rule of a client whose user chooses none.
DEFAULT_RULE = Rule()


def answered(
    info: ModelInfo, probabilities: NDArray[np.float32], rule: Rule = DEFAULT_RULE
) -> tuple[int, ...]:
    """Indices of the answered classes, most likely first; of equals, the lower index first.

    Args:
        info: Description of the network.
        probabilities: float32 [classes].
        rule: The least probabilities.

    Returns:
        The indices; empty if the network is unsure, or if no label reaches the threshold.
    """
    if not info.multi_label:
        best = int(probabilities.argmax())
        least = rule.least_confidence(len(info.labels))
        return (best,) if probabilities[best] >= least else ()
    order = (-probabilities).argsort(kind="stable")
    return tuple(int(index) for index in order if probabilities[index] >= rule.threshold)


def word_for_none(info: ModelInfo) -> str:
    """The word that a client shows if `answered` returns no class."""
    return NO_LABEL if info.multi_label else UNSURE
