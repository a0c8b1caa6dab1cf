"""Data passed between the camera's threads: frames, predictions, results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """A picture: ``image`` is uint8 BGR [height, width, 3], ``captured`` the time in seconds."""

    image: NDArray[np.uint8]
    number: int
    captured: float


@dataclass(frozen=True)
class Prediction:
    """One model's prediction for one frame.

    ``probabilities`` is float32 [classes]. ``activation`` is the top class's activation map,
    float32 [h, w], or None if it was not requested.
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
class Result:
    """Predictions of the active models for one frame; ``ready`` is the time in seconds."""

    frame: Frame
    predictions: tuple[Prediction, ...]
    preparing: float
    ready: float

    @property
    def delay(self) -> float:
        """Seconds from the frame's capture to the result."""
        return self.ready - self.frame.captured
