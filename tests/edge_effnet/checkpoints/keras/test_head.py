"""Heads of Keras models: what is read gives Keras' own answers, the rest is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.keras.config import describe
from edge_effnet.converters.frameworks import keras as converter
from edge_effnet.errors import CheckpointError, UsageError
from support.keras_models import SIDE, answers, application, keras, pixels
from support.onnx_logits import relative, run

pytestmark = pytest.mark.slow

layers = keras.layers
Build = Callable[[Any], Any]


@pytest.fixture(scope="module")
def base() -> Any:
    return application("EfficientNetB0", include_top=False)


def model_of(base: Any, build: Build) -> Any:
    """``base`` with a head: ``build`` gets its feature map. Normalisations are randomised."""
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, build(base(image)))
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, (layers.BatchNormalization, layers.LayerNormalization)):
            layer.set_weights([rng.uniform(0.2, 1.5, w.shape) for w in layer.get_weights()])
            if layer.beta is not None:
                layer.beta.assign(rng.normal(0, 0.3, layer.beta.shape))
        elif isinstance(layer, layers.Dense) and layer.use_bias:
            layer.bias.assign(rng.normal(0, 0.3, layer.bias.shape))
    return model


def average(x: Any) -> Any:
    return layers.GlobalAveragePooling2D()(x)


def stacked(x: Any) -> Any:
    x = layers.Dense(24, activation="relu")(layers.BatchNormalization(epsilon=0.1)(average(x)))
    x = layers.Dense(16, use_bias=False)(layers.Dropout(0.3)(x))
    x = layers.Activation("swish")(layers.BatchNormalization(scale=False)(x))
    return layers.Dense(5)(layers.Flatten()(x))


def joined(x: Any) -> Any:
    both = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), average(x)])
    return layers.Dense(5)(layers.Dense(8)(both))


def layer_norms(x: Any) -> Any:
    x = layers.Dense(12, activation="gelu")(layers.LayerNormalization(epsilon=0.01)(average(x)))
    x = layers.Activation("tanh")(layers.LayerNormalization(scale=False)(x))
    return layers.Dense(5)(layers.LeakyReLU(0.01)(layers.Dense(8)(x)))


def normalised(x: Any) -> Any:
    x = layers.Dense(12, activation="gelu")(layers.LayerNormalization(epsilon=0.01)(average(x)))
    return layers.Dense(5)(layers.LayerNormalization(center=False)(x))


HEADS: dict[str, tuple[Build, str]] = {
    "stacked": (stacked, "softmax"),
    "layer norms": (layer_norms, "softmax"),
    "max": (lambda x: layers.Dense(5)(layers.GlobalMaxPooling2D()(x)), "softmax"),
    "joined": (joined, "softmax"),
    "mean of both": (
        lambda x: layers.Dense(5)(layers.Average()([average(x), layers.GlobalMaxPooling2D()(x)])),
        "softmax",
    ),
    "norm before the pooling": (
        lambda x: layers.Dense(5)(average(layers.BatchNormalization(center=False)(x))),
        "softmax",
    ),
    "relu6": (lambda x: layers.Dense(5)(layers.ReLU(6)(layers.Dense(9)(average(x)))), "softmax"),
    "several labels": (lambda x: layers.Dense(5, activation="sigmoid")(average(x)), "sigmoid"),
    "one label": (lambda x: layers.Dense(1, activation="sigmoid")(average(x)), "sigmoid"),
    "softmax apart": (lambda x: layers.Softmax()(layers.Dense(5)(average(x))), "softmax"),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_the_answers_are_keras(base: Any, tmp_path: Path, name: str, suffix: str) -> None:
    build, activation = HEADS[name]
    whole = model_of(base, build)
    path = tmp_path / f"m.{suffix}"
    whole.save(path)
    model = load("b0", path, notify=lambda text: None)
    assert model.info.output_activation == activation
    logits = run(model, pixels())
    if activation == "sigmoid":
        logits = 1 / (1 + np.exp(-logits))
    elif name == "softmax apart":
        logits = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert relative(logits, answers(whole, pixels())) < 1e-4


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda x: layers.Dense(5)(layers.Flatten()(x)), "'flatten', a Flatten of a whole feature"),
        (lambda x: layers.Dense(5)(layers.UnitNormalization()(average(x))), "UnitNormalization"),
        (
            lambda x: layers.Dense(5)(layers.LayerNormalization(rms_scaling=True)(average(x))),
            "LayerNormalization of another kind",
        ),
        (lambda x: layers.Dense(5)(layers.Dense(4, activation="elu")(average(x))), "elu"),
        (lambda x: layers.Dense(5)(layers.LeakyReLU()(layers.Dense(4)(average(x)))), "LeakyReLU"),
        (lambda x: layers.Dense(5, activation="relu")(average(x)), "activation relu"),
        (
            lambda x: layers.Dense(5)(layers.Add()([average(x), layers.GlobalMaxPooling2D()(x)])),
            "'add', a Add",
        ),
    ],
)
def test_other_heads_are_refused_by_name(
    base: Any, tmp_path: Path, build: Build, reason: str
) -> None:
    keras.backend.clear_session()
    model_of(base, build).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError) as caught:
        load("b0", tmp_path / "m.keras")
    assert reason in str(caught.value)
    assert "tf2onnx.convert" in str(caught.value)


def test_two_outputs_are_refused(base: Any, tmp_path: Path) -> None:
    def build(x: Any) -> Any:
        pooled = average(x)
        return [layers.Dense(5, name="kind")(pooled), layers.Dense(3, name="colour")(pooled)]

    model_of(base, build).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match=r"2 outputs \(kind, colour\)"):
        load("b0", tmp_path / "m.keras")


def normed(x: Any) -> Any:
    return layers.Dense(5)(layers.BatchNormalization(scale=False)(average(x)))


def test_weights_alone_with_a_norm_tell_of_its_epsilon(base: Any, tmp_path: Path) -> None:
    whole = model_of(base, normed)
    whole.save_weights(tmp_path / "m.weights.h5")
    told: list[str] = []
    model = load("b0", tmp_path / "m.weights.h5", resolution=SIDE, notify=told.append)
    assert relative(run(model, pixels()), answers(whole, pixels())) < 1e-4
    assert any("epsilon of the batch normalisation" in text for text in told)
    assert any("taken for the shift" in text for text in told)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (stacked, "3 Dense layers"),
        (lambda x: layers.Dense(5)(layers.GlobalMaxPooling2D()(x)), "global_max_pooling2d"),
    ],
)
def test_weights_alone_that_do_not_tell_the_head_are_refused(
    base: Any, tmp_path: Path, build: Build, reason: str
) -> None:
    model_of(base, build).save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(CheckpointError) as caught:
        load("b0", tmp_path / "m.weights.h5")
    assert reason in str(caught.value)
    assert "model.save('model.keras')" in str(caught.value)


@pytest.mark.parametrize(
    ("build", "head"),
    [
        (stacked, "batchnorm:0.1, linear, relu, dropout, linear, batchnorm, swish, linear"),
        (normalised, "layernorm:0.01, linear, gelu, layernorm, linear"),
        (joined, "maxpool+avgpool, linear, linear"),
    ],
)
@pytest.mark.parametrize("name", ["m.weights.h5", "m.h5"])
def test_weights_alone_with_a_list_of_their_head(
    base: Any, tmp_path: Path, build: Build, head: str, name: str
) -> None:
    whole = model_of(base, build)
    whole.save_weights(tmp_path / "m.weights.h5")
    if name == "m.h5":
        whole.save(tmp_path / name)
        with pytest.raises(UsageError, match="files that do not tell their head"):
            load("b0", tmp_path / name, head=head)
        return
    model = load("b0", tmp_path / name, resolution=SIDE, head=head, notify=lambda text: None)
    assert relative(run(model, pixels()), answers(whole, pixels())) < 1e-4


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("linear, linear", "has fewer linear layers"),
        ("linear", "batch_normalization.* not in the head"),
        ("batchnorm:2, linear", "an epsilon is a number"),
        ("linear:3, batchnorm", "only cosine, batchnorm, layernorm have numbers"),
        ("cosine:30", "no layer of Keras is a cosine layer"),
        ("linear, batchnorm", "a layer of 1280 inputs after one of 5 outputs"),
    ],
)
def test_a_list_that_does_not_fit_is_refused(
    base: Any, tmp_path: Path, head: str, reason: str
) -> None:
    model_of(base, normed).save_weights(tmp_path / "m.weights.h5")
    with pytest.raises((CheckpointError, UsageError), match=reason):
        load("b0", tmp_path / "m.weights.h5", head=head)


def test_weights_alone_do_not_tell_softmax_from_sigmoid(base: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    model_of(base, lambda x: layers.Dense(5)(average(x))).save_weights(path)
    for activation in (None, "sigmoid"):
        told: list[str] = []
        load("b0", path, output_activation=activation, notify=told.append)
        assert any("taken for softmax" in text for text in told) == (activation is None)


@pytest.mark.parametrize("name", ["EfficientNetB0", "EfficientNetV2B0"])
def test_grey_networks_take_rgb(tmp_path: Path, name: str) -> None:
    grey = application(name, include_top=True, input_shape=(SIDE, SIDE, 1), classes=5)
    values = pixels()[..., :1]
    paths = [tmp_path / file for file in ("m.keras", "m.weights.h5")]
    grey.save(paths[0])
    grey.save_weights(paths[1])
    for path in paths:
        model = load("auto", path, resolution=SIDE, notify=lambda text: None)
        outputs = run(model, np.repeat(values, 3, axis=3))
        assert relative(outputs, answers(grey, values)) < 1e-4


def test_an_open_size_keeps_to_sides_that_its_padding_is_made_for(
    base: Any, tmp_path: Path
) -> None:
    """Keras pads B0-B7 by ZeroPadding2D, for even maps where it does not know the size."""
    trunk = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(None, None, 3)
    )
    trunk.set_weights(base.get_weights())
    whole = keras.Sequential([trunk, layers.GlobalAveragePooling2D(), layers.Dense(5)])
    whole.save(tmp_path / "m.keras")
    read = load("b0", tmp_path / "m.keras", resolution=96)
    reference = keras.models.load_model(tmp_path / "m.keras")
    assert relative(run(read, pixels(96)), answers(reference, pixels(96))) < 1e-4
    with pytest.raises(CheckpointError, match="give resolution=64 or resolution=96"):
        load("b0", tmp_path / "m.keras", resolution=75)


def test_lite_is_read_with_its_own_normalisation(tmp_path: Path) -> None:
    lite = converter.build(load("lite0", weights="random", resolution=SIDE, classes=5))
    lite.save(tmp_path / "m.keras")
    told: list[str] = []
    model = load("auto", tmp_path / "m.keras", notify=told.append)
    assert model.variant.short_name == "lite0"
    assert (model.info.preprocess.mean[0], model.info.preprocess.std[0]) == (127.0, 128.0)
    assert any("does not normalise its input" in text for text in told)
    normalised = model.info.preprocess.normalise(pixels())
    wanted = np.asarray(lite(normalised, training=False))
    assert relative(run(model, pixels()), wanted) < 1e-4


def test_swish_is_not_taken_for_relu6(tmp_path: Path) -> None:
    lite = converter.build(load("lite0", weights="random", resolution=SIDE, classes=5))
    lite.save(tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"relu6"', '"swish"')
    with pytest.raises(CheckpointError, match="followed by swish, and those of efficientnet-lite0"):
        load("auto", tmp_path / "m.h5")


def test_a_model_of_a_class_of_its_own_is_named() -> None:
    """Keras 3 saves a subclassed model without its layers."""
    config = {"module": None, "class_name": "Net", "config": {"trainable": True}}
    with pytest.raises(CheckpointError, match="class of its own, Net") as caught:
        describe(config, [])
    assert "tf2onnx" in str(caught.value)
