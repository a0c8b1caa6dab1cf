"""Random heads, and their value straight from the definitions of their layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_effnet.heads import (
    POOLINGS,
    Affine,
    Function,
    Head,
    Layer,
    Linear,
    Normalization,
    Pooling,
    cosine,
)
from edge_effnet.variants import ActivationKind
from support import numpy_network

FUNCTIONS = get_args(ActivationKind)
NORMS = (None, "batch", "layer")


@dataclass(frozen=True)
class RandomHead:
    """A pooling, the widths of the linear layers, and what stands before and between them.

    ``between`` has, for each linear layer but the last, an activation or none, and the
    normalisations before and after it. ``cosine`` makes the last layer one on unit vectors.
    """

    pooling: Pooling
    neck: str | None
    widths: tuple[int, ...]
    between: tuple[tuple[str | None, str | None, str | None], ...]
    cosine: bool = False

    def head(self, features: int, classes: int, rng: np.random.Generator) -> Head:
        size = features * (2 if "+" in self.pooling else 1)
        layers: list[Layer] = []
        linear_next = self.neck == "batch" and bool(self.widths or not self.cosine)
        if linear_next or (self.neck and self.pooling in ("avg", "max")):
            layers += _norm(rng, size, self.neck)
        for width, (function, before, after) in zip(
            (*self.widths, classes), (*self.between, (None, None, None)), strict=True
        ):
            layers.append(_linear(rng, size, width))
            size = width
            layers += _norm(rng, size, before)
            if function is not None:
                layers.append(Function(function))  # type: ignore[arg-type]
                layers += _norm(rng, size, after)
        if self.cosine and len(layers) > 1:
            last = layers.pop()
            assert isinstance(last, Linear)
            layers += cosine(last.weight, 3.0)
        return Head(tuple(layers), self.pooling)


@st.composite
def heads(draw: st.DrawFn) -> RandomHead:
    """At most two hidden layers."""
    widths = tuple(draw(st.lists(st.integers(2, 9), max_size=2)))
    between = tuple(
        tuple(draw(st.sampled_from(x)) for x in ((None, *FUNCTIONS), NORMS, NORMS)) for _ in widths
    )
    return RandomHead(
        draw(st.sampled_from(POOLINGS)),
        draw(st.sampled_from(NORMS)),
        widths,
        between,  # type: ignore[arg-type]
        draw(st.booleans()),
    )


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
        elif isinstance(layer, Normalization):
            x = x - x.mean() if layer.center else x
            x = x / np.sqrt(np.mean(x**2) + layer.eps) * layer.weight + layer.bias
        else:
            x = numpy_network.activation(layer.kind, x)
    return np.asarray(x, np.float64)


def _linear(rng: np.random.Generator, inputs: int, outputs: int) -> Linear:
    weight = rng.normal(0, np.sqrt(2 / inputs), (outputs, inputs)).astype(np.float32)
    return Linear(weight, rng.normal(0, 0.3, outputs).astype(np.float32))


def _affine(rng: np.random.Generator, size: int) -> Affine:
    return Affine(rng.uniform(0.5, 1.5, size), rng.normal(0, 0.3, size))


def _norm(rng: np.random.Generator, size: int, kind: str | None) -> list[Layer]:
    if kind is None:
        return []
    affine = _affine(rng, size)
    if kind == "batch":
        return [affine]
    return [Normalization(affine.factor, affine.shift, 1e-2)]
