"""Data passed between the camera's threads: frames, predictions, results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """A frame: ``image`` is uint8 BGR [height, width, 3].

    ``captured`` is the clock time of its capture in seconds. ``moment`` is its time in seconds on
    the source's own time line, which does not depend on this machine's speed.
    """

    image: NDArray[np.uint8]
    number: int
    captured: float
    moment: float


@dataclass(frozen=True)
class Prediction:
    """One model's prediction for one frame.

    ``probabilities`` is float32 [classes]. ``seconds`` is the inference time. ``activation`` is the
    class activation map of the top class, float32 [height, width] of the feature map; None if not
    requested.
    """

    model: int
    probabilities: NDArray[np.float32]
    seconds: float
    activation: NDArray[np.float32] | None = None

    @property
    def best(self) -> int:
        """Index of the most likely class."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Answer:
    """One model's answer to one frame.

    ``probabilities`` are smoothed over the frames so far, float32 [classes]. ``classes`` are the
    indices of the answered classes, most likely first; empty if the model is unsure.
    """

    model: int
    probabilities: NDArray[np.float32]
    classes: tuple[int, ...]


@dataclass(frozen=True)
class Result:
    """Predictions of the active models for one frame.

    ``preparing`` is the preprocessing time in seconds; ``ready`` is the clock time of the result in
    seconds. ``answers`` are the answers to the frame, one for each prediction; none before they are
    known.
    """

    frame: Frame
    predictions: tuple[Prediction, ...]
    preparing: float
    ready: float
    answers: tuple[Answer, ...] = ()

    @property
    def delay(self) -> float:
        """Seconds from the frame's capture to the result."""
        return self.ready - self.frame.captured
