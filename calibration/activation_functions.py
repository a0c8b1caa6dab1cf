"""Activation functions in numpy: values and derivatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_effnet.forward import LEAKY_SLOPE, erf
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
        if self.kind in _CURVES:
            return np.asarray(_CURVES[self.kind][0](x), x.dtype)
        return _sigmoid(x) if self.kind == "sigmoid" else x

    def slope(self, x: NDArray[_Real]) -> NDArray[_Real]:
        """The function's derivative, of the shape of ``x``."""
        if self.kind in CLIPS:
            low, high = CLIPS[self.kind]
            return ((x > low) & (x < high)).astype(x.dtype)
        if not self.kind:
            return np.ones_like(x)
        if self.kind in _CURVES:
            return np.asarray(_CURVES[self.kind][1](x), x.dtype)
        s = _sigmoid(x)
        if self.kind == "sigmoid":
            return np.asarray(s * (1 - s))
        return np.asarray(s * (1 + x * (1 - s)))


def _normal_cdf(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(0.5 * (1 + erf(x / np.sqrt(2))))


def _gelu_slope(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(_normal_cdf(x) + x * np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi))


def _hard_swish_slope(x: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0))


#: Further activation functions: (value, derivative).
_CURVES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tanh": (np.tanh, lambda x: 1 - np.square(np.tanh(x))),
    "gelu": (lambda x: x * _normal_cdf(x), _gelu_slope),
    "hard_swish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, _hard_swish_slope),
    "leaky_relu": (
        lambda x: np.maximum(x, LEAKY_SLOPE * x),
        lambda x: np.where(x > 0, 1, LEAKY_SLOPE),
    ),
}


def _sigmoid(x: NDArray[_Real]) -> NDArray[_Real]:
    """1 / (1 + exp(-x)), computed with tanh, which cannot overflow."""
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5, x.dtype)
