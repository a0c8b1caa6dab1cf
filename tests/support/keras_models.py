"""Keras applications with seeded random weights, and what Keras itself answers."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tensorflow", reason="Keras's own models are the reference")
keras: Any = pytest.importorskip("keras")

SIDE = 64
#: Function of keras.applications -> our name.
APPLICATIONS = {f"EfficientNetB{n}": f"b{n}" for n in range(8)} | {
    f"EfficientNetV2{size}": f"v2-{size.lower()}"
    for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
}


def application(name: str, side: int = SIDE, seed: int = 0, **options: Any) -> Any:
    """A model of keras.applications whose output is logits, with every variable randomised."""
    options = {"weights": None, "input_shape": (side, side, 3), "classes": 1000} | options
    if options.get("include_top", True):
        options.setdefault("classifier_activation", None)
    model = getattr(keras.applications, name)(**options)
    randomise(model, seed)
    return model


def randomise(model: Any, seed: int = 0) -> None:
    """Random weights; batch statistics near those of random pixels, so that signals stay alive."""
    rng = np.random.default_rng(seed)
    layers = list(model._flatten_layers(include_self=False))
    norms = [x for x in layers if isinstance(x, keras.layers.BatchNormalization)]
    for layer in layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            channels = model.input_shape[3]
            statistics = np.array([[0.4, 0.5, 0.6], [0.05, 0.06, 0.07]])[:, :channels]
            layer.set_weights([*statistics, np.zeros(())])
            layer.finalize_state()
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            _assign(layer, lambda v: rng.normal(0, np.prod(v.shape[:-1]) ** -0.5, v.shape))
        elif isinstance(layer, keras.layers.DepthwiseConv2D):
            _assign(layer, lambda v: rng.normal(0, np.prod(v.shape[:2]) ** -0.5, v.shape))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.gamma.assign(rng.uniform(0.7, 1.3, norm.gamma.shape))
        norm.beta.assign(rng.normal(0, 0.2, norm.beta.shape))
        norm.momentum = 0.0  # the next batch's statistics become the moving ones
    photos = pixels(model.input_shape[1], 4, seed=99)[..., : model.input_shape[3]]
    model(photos.astype(np.float32), training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.moving_mean.assign_add(rng.normal(0, 0.1, norm.moving_mean.shape))
        variance = np.asarray(norm.moving_variance) + 0.1
        norm.moving_variance.assign(variance * rng.uniform(0.8, 1.2, variance.shape))


def pixels(side: int = SIDE, count: int = 2, seed: int = 1) -> NDArray[np.uint8]:
    """Smooth pictures: coloured blobs, each another."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)
    repeats = -(-side // 8)
    return coarse.repeat(repeats, 1).repeat(repeats, 2)[:, :side, :side]


def answers(model: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What Keras says at inference."""
    return np.asarray(model(images.astype(np.float32), training=False))


def _assign(layer: Any, draw: Any) -> None:
    for variable in layer.weights:
        values = draw(variable) if len(variable.shape) > 1 else np.full(variable.shape, 0.1)
        variable.assign(values)
