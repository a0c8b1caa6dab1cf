"""A frame's pixels: exactly those of a photo, or quickly and close to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from support.labelled_photos import LabelledPhotos

cv2 = pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")

from edge_effnet.apps.camera.pixels import exact, quick, sharpening  # noqa: E402
from edge_effnet.preprocess import (  # noqa: E402
    IMAGENET_MEAN,
    INTERPOLATIONS,
    CropMode,
    Interpolation,
    Preprocess,
)

LITE0 = Preprocess(224, 0.875)
SIDES = st.integers(1, 130)
KINDS: list[Interpolation] = ["bilinear", "bicubic", "nearest"]
MODES: list[CropMode] = ["center", "squash", "border"]


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(
    SIDES,
    SIDES,
    st.integers(1, 70),
    st.floats(0.1, 1.0),
    st.sampled_from(INTERPOLATIONS),
    st.sampled_from(MODES),
)
def test_exact_is_what_a_photo_gets(
    height: int, width: int, size: int, crop: float, kind: Interpolation, mode: CropMode
) -> None:
    how, frame = Preprocess(size, crop, kind, IMAGENET_MEAN, crop_mode=mode), noise(height, width)
    found, expected = exact(frame, how), how.exact_pixels(frame[:, :, ::-1])
    assert np.array_equal(found, expected)
    assert found.dtype == expected.dtype
    if kind.startswith("keras-"):
        assert np.array_equal(quick(frame, how), expected)


@pytest.mark.parametrize("shape", [(240, 320), (480, 640), (720, 1280), (1080, 1920), (1280, 720)])
def test_exact_at_the_sizes_of_cameras(shape: tuple[int, int]) -> None:
    frame = noise(*shape)
    assert np.array_equal(exact(frame, LITE0), LITE0.pixels(frame[:, :, ::-1]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [131, 210, 224, 280, 420, 504, 630, 1000])
def test_the_filter_keeps_flat_pictures(side: int, kind: Interpolation) -> None:
    how = Preprocess(224, 1.0, kind)
    frame = np.full((side, side, 3), (10, 100, 200), np.uint8)
    assert (quick(frame, how) == (200, 100, 10)).all()
    if kind != "nearest":
        assert sharpening(side, 224, kind).sum() == pytest.approx(1)


@pytest.mark.parametrize("scale", [0.8, 1.25, 1.875, 2.25, 3.3])
def test_quick_is_closer_to_exact_than_bilinear_is(
    scale: float, imagenet_dev: LabelledPhotos
) -> None:
    """On photos side by side, at their own sharpness."""
    photos = []
    for path in imagenet_dev.paths("evaluation")[:25]:
        with Image.open(path) as photo:
            photos.append(np.asarray(photo.convert("RGB"))[:150, :150])
    rows = [np.concatenate(photos[start : start + 5], axis=1) for start in range(0, 25, 5)]
    side = round(224 * scale)
    frame = np.ascontiguousarray(np.concatenate(rows)[:side, :side, ::-1])
    how = Preprocess(224, 1.0)
    wanted = exact(frame, how).astype(int)
    plain = cv2.resize(frame, (224, 224))[:, :, ::-1]
    off, plainly = (np.square(item - wanted).mean() ** 0.5 for item in (quick(frame, how), plain))
    assert off < 0.95 * plainly
