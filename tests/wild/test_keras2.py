"""Keras 2 (TensorFlow 2.15) and the package "efficientnet": their files give their own answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["SM_FRAMEWORK"] = "tf.keras"

import numpy as np
import pytest
import tensorflow as tf

import edge_effnet
from edge_effnet.forward import logits
from support.seeded_values import images

keras, layers = tf.keras, tf.keras.layers
SIDE = 64
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def alive(model: Any, scale: Callable[[Any], Any] = lambda pixels: pixels) -> Any:
    """``model`` with random shifts, the statistics of some pictures, and a lively classifier."""
    keras.utils.set_random_seed(1)
    norms = [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    for norm in norms:
        norm.beta.assign(tf.random.normal(norm.beta.shape, 0, 0.2))
        norm.momentum = 0.0
    model(scale(images(SIDE, 6).astype(np.float32)), training=True)
    for norm in norms:
        norm.momentum = 0.99
        least = tf.reduce_mean(norm.moving_variance)
        norm.moving_variance.assign(tf.maximum(norm.moving_variance, least))
    return model


def dense(units: int, **options: Any) -> Any:
    return layers.Dense(
        units, kernel_initializer=keras.initializers.RandomNormal(0, 0.3), **options
    )


def course() -> Any:
    """The model of a well-known course: augmentation, a nested base, a functional head."""
    augmentation = keras.Sequential(
        [layers.RandomFlip("horizontal"), layers.RandomRotation(0.2), layers.RandomZoom(0.2)],
        name="data_augmentation",
    )
    base = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)
    )
    image = layers.Input((SIDE, SIDE, 3), name="input_layer")
    x = layers.GlobalAveragePooling2D()(base(augmentation(image)))
    return alive(keras.Model(image, dense(5, activation="softmax")(x)))


def sequential(units: int, activation: str) -> Any:
    base = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(SIDE, SIDE, 3)
    )
    base.trainable = True
    for layer in base.layers[:-40]:
        layer.trainable = False  # legacy files list the trainable weights first
    norm = layers.BatchNormalization(epsilon=0.01)
    model = keras.Sequential(
        [base, layers.GlobalAveragePooling2D(), norm, layers.Dropout(0.2),
         dense(units, activation=activation)]
    )  # fmt: skip
    return alive(model)


def check(path: Path, expected: np.ndarray, **options: Any) -> Any:
    """Compare the probabilities of the file with those of Keras."""
    model = edge_effnet.load("auto", path, notify=lambda text: None, **options)
    values = model.info.preprocess.normalise(images(SIDE)).transpose(0, 3, 1, 2)
    outputs = logits(model.graph, model.weights, np.ascontiguousarray(values))
    if model.info.output_activation == "sigmoid":
        outputs = 1 / (1 + np.exp(-outputs))
    else:
        outputs = np.exp(outputs - outputs.max(1, keepdims=True))
        outputs /= outputs.sum(1, keepdims=True)
    assert np.abs(outputs - expected).max() < 1e-4 * np.abs(expected).max()
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The course's model in all of Keras 2's formats, and its answers."""
    folder, model = tmp_path_factory.mktemp("course"), course()
    for name in ("m.h5", "m.keras", "saved_model"):
        model.save(folder / name)
    model.save_weights(folder / "weights.h5")
    model.save_weights(folder / "checkpoint" / "m.ckpt")
    return folder, model.predict(images(SIDE).astype(np.float32), verbose=0)


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "saved_model"])
def test_whole_models(saved: tuple[Path, np.ndarray], name: str) -> None:
    folder, expected = saved
    check(folder / name, expected)


@pytest.mark.parametrize("name", ["weights.h5", "checkpoint"])
def test_weights_alone_ask_for_the_normalisation(saved: tuple[Path, np.ndarray], name: str) -> None:
    folder, expected = saved
    with pytest.raises(edge_effnet.CheckpointError, match="normalises pixels itself") as caught:
        edge_effnet.load("auto", folder / name)
    assert "mean=(123.675" in str(caught.value.hint)
    check(folder / name, expected, resolution=SIDE, **IMAGENET)


@pytest.mark.parametrize(("units", "activation"), [(5, "softmax"), (5, "sigmoid"), (1, "sigmoid")])
def test_partly_frozen_heads(tmp_path: Path, units: int, activation: str) -> None:
    model = sequential(units, activation)
    expected = model.predict(images(SIDE).astype(np.float32), verbose=0)
    model.save(tmp_path / "m.h5")
    model.save_weights(tmp_path / "w.h5")
    assert check(tmp_path / "m.h5", expected).info.output_activation == activation
    options = {"head": "batchnorm:0.01, linear", "output_activation": activation}
    check(tmp_path / "w.h5", expected, resolution=SIDE, **options)


def test_the_package_efficientnet(tmp_path: Path) -> None:
    """qubvel's networks do not normalise: their own preprocess_input does."""
    import efficientnet.tfkeras as package

    def scale(pixels: Any) -> Any:
        return ((pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).astype(np.float32)

    base = package.EfficientNetB0(
        weights=None, include_top=False, input_shape=(SIDE, SIDE, 3), pooling="avg"
    )
    model = alive(keras.Sequential([base, dense(5, activation="softmax")]), scale)
    model.save(tmp_path / "m.h5")
    expected = model.predict(scale(images(SIDE).astype(np.float32)), verbose=0)
    check(tmp_path / "m.h5", expected, **IMAGENET)
