"""Activation functions in numpy: values and derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import Activation

Floats = NDArray[np.float32]
_Real = TypeVar("_Real", bound=np.floating[Any])
CLIPS = {"relu": (0.0, np.inf), "relu6": (0.0, 6.0)}


@dataclass(frozen=True)
class ActivationFunction:
    """An activation function; the identity if ``kind`` is empty."""

    kind: str = ""

    @classmethod
    def of(cls, activation: Activation | None) -> ActivationFunction:
        """The function of ``activation``; the identity for None."""
        return cls("" if activation is None else activation.kind)

    def __call__(self, x: NDArray[_Real]) -> NDArray[_Real]:
        """The function's value, of the shape of ``x``."""
        if self.kind in CLIPS:
            return np.asarray(np.clip(x, *CLIPS[self.kind]), x.dtype)
        if self.kind == "swish":
            return np.asarray(x * _sigmoid(x))
        return _sigmoid(x) if self.kind == "sigmoid" else x

    def slope(self, x: NDArray[_Real]) -> NDArray[_Real]:
        """The function's derivative, of the shape of ``x``."""
        if self.kind in CLIPS:
            low, high = CLIPS[self.kind]
            return ((x > low) & (x < high)).astype(x.dtype)
        if not self.kind:
            return np.ones_like(x)
        s = _sigmoid(x)
        if self.kind == "sigmoid":
            return np.asarray(s * (1 - s))
        return np.asarray(s * (1 + x * (1 - s)))


def _sigmoid(x: NDArray[_Real]) -> NDArray[_Real]:
    """1 / (1 + exp(-x)), computed with tanh, which cannot overflow."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, x.dtype)
