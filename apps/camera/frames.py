"""What travels through the camera's threads: frames, predictions, results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """A picture: ``image`` is uint8 BGR [height, width, 3], ``captured`` is a clock's seconds."""

    image: NDArray[np.uint8]
    number: int
    captured: float


@dataclass(frozen=True)
class Prediction:
    """One model's answer to one frame.

    ``probabilities`` is float32 [classes]; ``activation`` is the class activation map of the most
    likely class, float32 [h, w], where it was asked for.
    """

    model: int
    probabilities: NDArray[np.float32]
    seconds: float
    activation: NDArray[np.float32] | None = None

    @property
    def best(self) -> int:
        """The most likely class."""
        return int(self.probabilities.argmax())


@dataclass(frozen=True)
class Result:
    """The answers of the active models to one frame; ``ready`` is a clock's seconds."""

    frame: Frame
    predictions: tuple[Prediction, ...]
    preparing: float
    ready: float

    @property
    def delay(self) -> float:
        """Seconds from the frame's arrival to the result."""
        return self.ready - self.frame.captured
