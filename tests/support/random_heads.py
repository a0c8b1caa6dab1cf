"""Random heads, and their value straight from the definitions of their layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_effnet.heads import POOLINGS, Affine, Function, Head, Layer, Linear, Pooling

FUNCTIONS = ("relu", "relu6", "swish", "sigmoid")


@dataclass(frozen=True)
class RandomHead:
    """A pooling, the widths of the linear layers, and what stands before and between them.

    ``between`` has, for each linear layer but the last, an activation or none, and whether a batch
    normalisation comes before and after it.
    """

    pooling: Pooling
    neck: bool
    widths: tuple[int, ...]
    between: tuple[tuple[str | None, bool, bool], ...]

    def head(self, features: int, classes: int, rng: np.random.Generator) -> Head:
        size = features * (2 if "+" in self.pooling else 1)
        layers: list[Layer] = [_affine(rng, size)] if self.neck else []
        for width, (function, before, after) in zip(
            (*self.widths, classes), (*self.between, (None, False, False)), strict=True
        ):
            layers.append(_linear(rng, size, width))
            size = width
            if before:
                layers.append(_affine(rng, size))
            if function is not None:
                layers.append(Function(function))  # type: ignore[arg-type]
                if after:
                    layers.append(_affine(rng, size))
        return Head(tuple(layers), self.pooling)


@st.composite
def heads(draw: st.DrawFn) -> RandomHead:
    """At most two hidden layers."""
    widths = tuple(draw(st.lists(st.integers(1, 9), max_size=2)))
    between = tuple(
        (draw(st.sampled_from((None, *FUNCTIONS))), draw(st.booleans()), draw(st.booleans()))
        for _ in widths
    )
    return RandomHead(draw(st.sampled_from(POOLINGS)), draw(st.booleans()), widths, between)


def value(head: Head, features: NDArray[Any]) -> NDArray[np.float64]:
    """The output of ``head`` on a feature map [channels, side, side]."""
    average, maximum = features.mean(axis=(1, 2)), features.max(axis=(1, 2))
    x = {
        "avg": average,
        "max": maximum,
        "avgmax": (average + maximum) / 2,
        "avg+max": np.concatenate([average, maximum]),
        "max+avg": np.concatenate([maximum, average]),
    }[head.pooling]
    for layer in head.layers:
        if isinstance(layer, Linear):
            x = layer.weight.astype(np.float64) @ x + layer.bias
        elif isinstance(layer, Affine):
            x = x * layer.factor + layer.shift
        else:
            x = function(layer.kind, x)
    return np.asarray(x, np.float64)


def function(kind: str, x: NDArray[np.float64]) -> NDArray[np.float64]:
    sigmoid = 1 / (1 + np.exp(-x))
    return {
        "relu": np.maximum(x, 0),
        "relu6": np.clip(x, 0, 6),
        "swish": x * sigmoid,
        "sigmoid": sigmoid,
    }[kind]


def _linear(rng: np.random.Generator, inputs: int, outputs: int) -> Linear:
    weight = rng.normal(0, np.sqrt(2 / inputs), (outputs, inputs)).astype(np.float32)
    return Linear(weight, rng.normal(0, 0.3, outputs).astype(np.float32))


def _affine(rng: np.random.Generator, size: int) -> Affine:
    return Affine(rng.uniform(0.5, 1.5, size), rng.normal(0, 0.3, size))
