"""Keras's layers that resize photos of any size: reproduced, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import edge_effnet
from edge_effnet.checkpoints import load
from edge_effnet.errors import CheckpointError
from support.keras_models import SIDE, application, keras
from support.onnx_logits import relative

pytestmark = pytest.mark.slow

layers = keras.layers
Layers = Callable[[Any], Any]
#: Height and width of the photos.
SHAPES = [(97, 131), (200, 75), (64, 64), (30, 41)]


@pytest.fixture(scope="module")
def whole() -> Any:
    return application("EfficientNetV2B0", classes=4)


def behind(network: Any, front: Layers, kind: str = "float32") -> Any:
    image = keras.Input((None, None, 3), dtype=kind)
    return keras.Model(image, network(front(image)))


def photos() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(5)
    return [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in SHAPES]


def exported(path: Path, out: Path, **settings: Any) -> edge_effnet.Classifier:
    model = load("v2-b0", path, notify=lambda text: None, **settings)
    (file,) = edge_effnet.export(model, formats=["onnx"], precisions=["fp32"], out=out)
    return edge_effnet.open(file)


REPRODUCED: dict[str, Layers] = {
    "bilinear": layers.Resizing(SIDE, SIDE),
    "bicubic": layers.Resizing(SIDE, SIDE, interpolation="bicubic"),
    "nearest": layers.Resizing(SIDE, SIDE, interpolation="nearest"),
    "centre crop": layers.Resizing(SIDE, SIDE, crop_to_aspect_ratio=True),
    "before arithmetic": lambda x: layers.Rescaling(0.5, 3.0)(layers.Resizing(SIDE, SIDE)(x)),
    "after arithmetic": lambda x: layers.Resizing(SIDE, SIDE)(layers.Rescaling(0.5, 3.0)(x)),
    "larger, then cut": lambda x: layers.CenterCrop(SIDE, SIDE)(layers.Resizing(73, 73)(x)),
    "augmented": lambda x: layers.RandomFlip()(layers.Resizing(SIDE, SIDE)(x)),
}


@pytest.mark.parametrize("name", REPRODUCED)
def test_photos_of_any_size_give_keras_logits(whole: Any, tmp_path: Path, name: str) -> None:
    model = behind(whole, REPRODUCED[name])
    model.save(tmp_path / "m.keras")
    classify = exported(tmp_path / "m.keras", tmp_path / "out")
    for photo in photos():
        wanted = np.asarray(model(photo[None].astype(np.float32), training=False))
        assert relative(classify.logits([photo]), wanted) < 1e-4


def test_a_live_model_is_compared_at_its_own_size(whole: Any) -> None:
    for name in ("bilinear", "larger, then cut"):
        read = load("v2-b0", behind(whole, REPRODUCED[name]), notify=lambda text: None)
        assert read.info.preprocess.interpolation == "keras-bilinear"


@pytest.mark.parametrize(
    ("front", "kind", "reason"),
    [
        (layers.Resizing(SIDE, SIDE, antialias=True, name="r"), "float32", "'r'.*antialiases"),
        (layers.Resizing(SIDE, SIDE, interpolation="lanczos3"), "float32", "by lanczos3"),
        (layers.Resizing(SIDE, SIDE, pad_to_aspect_ratio=True), "float32", "pads photos"),
        (layers.CenterCrop(SIDE, SIDE, name="c"), "float32", "'c'.*without resizing"),
        (layers.Resizing(SIDE, SIDE), "uint8", "rounds its result to uint8"),
        (
            lambda x: layers.Resizing(SIDE, SIDE, name="r")(layers.Resizing(96, 96)(x)),
            "float32",
            "and 'r' change the size one after another",
        ),
    ],
)
def test_other_layers_are_refused_with_the_options(
    whole: Any, tmp_path: Path, front: Layers, kind: str, reason: str
) -> None:
    behind(whole, front, kind).save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match=reason) as caught:
        load("v2-b0", tmp_path / "m.keras")
    assert f"resolution={SIDE}" in str(caught.value)
    assert "interpolation='keras-bilinear'" in str(caught.value)
    read = load("v2-b0", tmp_path / "m.keras", resolution=SIDE, crop_mode="squash")
    assert read.info.preprocess.size == SIDE


def test_a_data_set_of_keras_is_reproduced_by_options(whole: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos" / "a"
    folder.mkdir(parents=True)
    for number, photo in enumerate(photos()):
        Image.fromarray(photo).save(folder / f"{number}.png")
    whole.save(tmp_path / "m.keras")
    for crop_mode in ("squash", "center"):
        data = keras.utils.image_dataset_from_directory(
            folder.parent,
            image_size=(SIDE, SIDE),
            shuffle=False,
            labels=None,
            crop_to_aspect_ratio=crop_mode == "center",
        )
        settings = {"crop_mode": crop_mode, "crop": 1.0, "interpolation": "keras-bilinear"}
        classify = exported(tmp_path / "m.keras", tmp_path / crop_mode, **settings)
        wanted = whole.predict(data, verbose=0)
        assert relative(classify.logits(sorted(folder.iterdir())), wanted) < 1e-4
