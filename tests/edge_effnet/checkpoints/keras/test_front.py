"""What stands in front of a Keras network: composed, left out, asked for, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edge_effnet import forward
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.keras.front import read_front
from edge_effnet.checkpoints.keras.layers import flatten
from edge_effnet.errors import CheckpointError
from support.keras_models import SIDE, answers, application, keras, pixels
from support.onnx_logits import relative, run

pytestmark = pytest.mark.slow

layers = keras.layers
Front = Callable[[Any], Any]


@pytest.fixture(scope="module")
def bare() -> Any:
    return application("EfficientNetV2B0", classes=4, include_preprocessing=False)


@pytest.fixture(scope="module")
def whole() -> Any:
    return application("EfficientNetV2B0", classes=4)


def behind(network: Any, front: Front, side: int = SIDE) -> Any:
    image = keras.Input((side, side, 3))
    return keras.Model(image, network(front(image)))


def augmented(x: Any) -> Any:
    for layer in (
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.1),
        layers.RandomContrast(0.1),
        layers.RandomTranslation(0.1, 0.1),
        layers.GaussianNoise(0.1),
    ):
        x = layer(x)
    return x / 127.5 - 1


FRONTS: dict[str, Front] = {
    "operators": lambda x: x / 127.5 - 1,
    "each colour": lambda x: (x - np.float32([120, 110, 100])) * np.float32([0.01, 0.02, 0.015]),
    "preprocess_input": keras.applications.mobilenet_v2.preprocess_input,
    "constant first": lambda x: keras.ops.add(-1.0, keras.ops.multiply(1 / 127.5, x)),
    "rescaling": layers.Rescaling(1 / 127.5, offset=-1),
    "augmented": augmented,
    "same size": lambda x: layers.Resizing(SIDE, SIDE)(x / 127.5 - 1),
}


@pytest.mark.parametrize("name", FRONTS)
def test_plain_arithmetic_becomes_the_preprocessing(bare: Any, tmp_path: Path, name: str) -> None:
    model = behind(bare, FRONTS[name])
    model.save(tmp_path / "m.keras")
    read = load("v2-b0", tmp_path / "m.keras")
    assert relative(run(read, pixels()), answers(model, pixels())) < 1e-4


@pytest.mark.parametrize(
    ("front", "reason"),
    [
        (lambda x: layers.Lambda(lambda y: y / 127.5 - 1, name="scale")(x), "'scale' is a Lambda"),
        (lambda x: x * x / 255, "not with one constant"),
        (lambda x: keras.ops.flip(x, axis=-1), "is a flip"),
        (lambda x: 255 - x, "scale that is not positive"),
        (lambda x: layers.Solarization()(x), "is a Solarization"),
        (lambda x: layers.Add()([x, x]), "is a Add"),
    ],
)
def test_the_rest_is_refused_by_name(bare: Any, tmp_path: Path, front: Front, reason: str) -> None:
    behind(bare, front).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError) as caught:
        load("v2-b0", tmp_path / "m.keras")
    assert reason in str(caught.value)


def test_a_change_of_size_inside_the_network_is_asked_for(bare: Any, tmp_path: Path) -> None:
    model = behind(bare, lambda x: layers.Resizing(SIDE, SIDE)(x / 127.5 - 1), side=96)
    model.save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match=f"resolution={SIDE}, crop_mode='squash'"):
        load("v2-b0", tmp_path / "m.keras")
    read = load("v2-b0", tmp_path / "m.keras", resolution=SIDE, crop_mode="squash")
    images = pixels(96)
    small = np.asarray(layers.Resizing(SIDE, SIDE)(images.astype(np.float32)))
    batch = (small - 127.5) / 127.5
    got = forward.logits(read.graph, read.weights, batch.transpose(0, 3, 1, 2))
    assert relative(got, answers(model, images)) < 1e-4


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_second_rescaling_is_read_from_the_graph(whole: Any, tmp_path: Path, suffix: str) -> None:
    model = behind(whole, layers.Rescaling(1 / 255))
    model.save(tmp_path / f"m.{suffix}")
    read = load("v2-b0", tmp_path / f"m.{suffix}", notify=lambda text: None)
    assert relative(run(read, pixels()), answers(model, pixels())) < 1e-4


def test_weights_alone_do_not_tell_a_second_rescaling(whole: Any, tmp_path: Path) -> None:
    """The error gives the mean and std of Rescaling(1/255) with the network's normalisation."""
    model = behind(whole, layers.Rescaling(1 / 255))
    model.save_weights(tmp_path / "m.weights.h5")
    with pytest.raises(
        CheckpointError, match=r"does not tell what its layer .*rescaling"
    ) as caught:
        load("v2-b0", tmp_path / "m.weights.h5")
    found = re.search(r"mean=\((.*?)\) and std=\((.*?)\) for Rescaling", str(caught.value))
    assert found is not None
    mean, std = (tuple(map(float, numbers.split(","))) for numbers in found.groups())
    settings: dict[str, Any] = {"mean": mean, "std": std, "resolution": SIDE}
    read = load("v2-b0", tmp_path / "m.weights.h5", notify=lambda text: None, **settings)
    assert relative(run(read, pixels()), answers(model, pixels())) < 1e-4


def legacy(model: Any, path: Path) -> Path:
    """``model``'s weights as Keras 2 wrote them: what a nested model holds in one group."""
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    with h5py.File(path, "w") as file:
        save_weights_to_hdf5_group(file, model)
    return path


def test_nested_legacy_weights_keep_their_statistics(tmp_path: Path) -> None:
    """B0's Normalization has its statistics among the weights, so its graph normalises."""
    model = behind(application("EfficientNetB0", classes=4), layers.RandomFlip())
    told: list[str] = []
    path = legacy(model, tmp_path / "m_weights.h5")
    read = load("b0", path, resolution=SIDE, notify=told.append)
    assert not any("does not normalise" in text for text in told)
    assert relative(run(read, pixels()), answers(model, pixels())) < 1e-4


def test_nested_legacy_weights_of_v2_are_asked_for(whole: Any, tmp_path: Path) -> None:
    model = behind(whole, layers.RandomFlip())
    path = legacy(model, tmp_path / "m_weights.h5")
    with pytest.raises(CheckpointError, match=r"whether its network normalises.*mean=\(123\.675"):
        load("v2-b0", path)
    read = load(
        "v2-b0", path, resolution=SIDE, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)
    )
    assert relative(run(read, pixels()), answers(model, pixels())) < 1e-4


def config_of_keras2(function: str, node: Any) -> dict[str, Any]:
    """An input and one operator, as Keras 2 records them."""
    image = {"class_name": "InputLayer", "config": {"name": "image"}, "inbound_nodes": []}
    operator = {
        "class_name": "TFOpLambda",
        "config": {"name": f"tf.{function}", "function": function},
        "inbound_nodes": [node],
        "name": f"tf.{function}",
    }
    return {"class_name": "Functional", "config": {"layers": [image, operator]}}


@pytest.mark.parametrize(
    ("function", "arguments", "mean", "std"),
    [
        ("math.truediv", {"y": 127.5, "name": None}, 0.0, 127.5),
        ("math.subtract", {"y": [1.0, 2.0, 3.0]}, (1.0, 2.0, 3.0), 1.0),
        ("math.multiply", {"y": 0.5}, 0.0, 2.0),
        ("__operators__.add", {"y": -3}, 3.0, 1.0),
        ("nn.bias_add", {"bias": [-1.0, -2.0, -3.0], "data_format": "NHWC"}, (1.0, 2.0, 3.0), 1.0),
    ],
)
def test_the_operators_of_keras_2(function: str, arguments: Any, mean: Any, std: Any) -> None:
    config = config_of_keras2(function, ["image", 0, 0, arguments])
    front = read_front(flatten(config), [], None)
    assert front.mean == tuple(np.broadcast_to(mean, 3))
    assert front.std == tuple(np.broadcast_to(std, 3))


def test_keras_2_in_training_mode_is_refused() -> None:
    config = config_of_keras2("math.truediv", ["image", 0, 0, {"y": 2.0, "training": True}])
    with pytest.raises(CheckpointError, match="called with training=True"):
        flatten(config)
