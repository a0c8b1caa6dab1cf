"""Photos that look different from the calibration photos are said; others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_effnet.appearance import measure, quantiles, shift_warning
from edge_effnet.card import CalibrationRecord, ModelCard, Quantization
from edge_effnet.errors import ModelFileError, UsageError
from edge_effnet.preprocess import Preprocess
from support.labelled_photos import DATA, LabelledPhotos

RNG = np.random.default_rng(0)
PREPROCESS = Preprocess(96, 0.875)


def record(pixels: NDArray[np.uint8]) -> CalibrationRecord:
    return CalibrationRecord(len(pixels), len(pixels), "d", appearance=quantiles(measure(pixels)))


def photos(count: int) -> NDArray[np.uint8]:
    """Random colours on random levels."""
    levels = RNG.uniform(40, 160, (count, 1, 1, 1))
    return np.clip(RNG.normal(levels, 40, (count, 8, 8, 3)), 0, 255).astype(np.uint8)


def test_measure_of_known_photos() -> None:
    grey = np.full((4, 4, 3), 100, np.uint8)
    stripes = grey.copy()
    stripes[::2] = 0
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 90
    expected = [[100, 0, 0, 0], [50, 50, 0, 100], [30, np.std([90, 0, 0]), 90, 0]]
    np.testing.assert_allclose(measure(np.stack([grey, stripes, red])), expected, rtol=1e-6)


def test_a_false_alarm_is_rare() -> None:
    """Equal sets of 5 to 100 photos: no warning in 200 pairs."""
    values = measure(photos(2000))
    for _ in range(200):
        order = RNG.permutation(2000)
        count, others = RNG.integers(5, 100, 2)
        chosen = values[order[:count]]
        calibration = CalibrationRecord(count, count, "", appearance=quantiles(chosen))
        assert shift_warning(calibration, values[order[count : count + others]], "f") is None


def test_darker_photos_are_said_with_their_values() -> None:
    pixels = photos(60)
    calibration = record(pixels)
    text = shift_warning(calibration, measure(pixels // 4), "net-int8.onnx")
    assert text is not None
    median = np.median(pixels.mean((1, 2, 3)))
    assert "60 calibration photos of net-int8.onnx" in text
    assert f"instead of {median:.0f}" in text or "contrast" in text
    assert shift_warning(calibration, measure(pixels[:3] // 4), "f") is None  # three are too few
    unknown = CalibrationRecord(60, 60, "")
    assert shift_warning(unknown, measure(pixels // 4), "f") is None


@pytest.mark.parametrize("shifted", ["grey", "dark", "street"])
def test_real_photos(imagenet_dev: LabelledPhotos, shifted: str) -> None:
    calibration = record(_pixels(imagenet_dev.paths("calibration")[::2]))
    others = _pixels(imagenet_dev.paths("evaluation")[::16])
    assert shift_warning(calibration, measure(others), "f") is None
    if shifted == "grey":
        others = np.repeat(others.mean(-1, keepdims=True), 3, -1).astype(np.uint8)
    elif shifted == "dark":
        others = others // 4
    else:
        others = _frames()
    assert shift_warning(calibration, measure(others), "f") is not None


def test_flowers_are_at_home_among_flowers(imagenet_dev: LabelledPhotos) -> None:
    flowers = DATA / "flowers5"
    train, test = (_pixels(sorted((flowers / n).rglob("*.jpg"))[::5]) for n in ("train", "test"))
    calibration = record(train)
    assert shift_warning(calibration, measure(test), "f") is None
    one_kind = _pixels(sorted((flowers / "test" / "sunflowers").iterdir()))
    assert shift_warning(calibration, measure(one_kind), "f") is None
    assert shift_warning(calibration, measure(_frames()), "f") is not None


def _pixels(paths: list[Path]) -> NDArray[np.uint8]:
    return np.stack([PREPROCESS.pixels(path) for path in paths])


def _frames() -> NDArray[np.uint8]:
    """Every twentieth frame of a street."""
    cv2 = pytest.importorskip("cv2", reason="reads the video")
    capture = cv2.VideoCapture(str(DATA / "video" / "pedestrians.avi"))
    frames = []
    for number in range(800):
        ok, frame = capture.read()
        if ok and number % 20 == 0:
            frames.append(PREPROCESS.pixels(frame[..., ::-1]))
    return np.stack(frames)


def test_the_card_carries_it() -> None:
    calibration = record(photos(20))
    quantization = Quantization("edge-effnet", "default", calibration)
    card = ModelCard("net", PREPROCESS, ("a", "b"), precision="int8", quantization=quantization)
    again = ModelCard.from_json(card.to_json())
    assert again == card
    text = card.to_json().replace('"appearance":[[', '"appearance":[[9e9,')
    with pytest.raises(ModelFileError, match="21 quantiles"):
        ModelCard.from_json(text)
    with pytest.raises(UsageError):
        CalibrationRecord(1, 1, "", appearance=((1.0,),))
