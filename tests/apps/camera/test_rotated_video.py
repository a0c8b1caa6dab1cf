"""Videos of phones: stored as the sensor saw them, with a rotation in the file's header."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install '.[camera-headless]'")

import edge_effnet  # noqa: E402
from edge_effnet.apps.camera.sources import source_of  # noqa: E402
from support import command  # noqa: E402

#: Clockwise rotation in degrees -> the entries a, b, c, d of the display matrix (ISO 14496-12,
#: Movie Header Box; 16.16 fixed point).
MATRICES = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}
UNIT = 0x10000


@pytest.fixture
def upright() -> np.ndarray:
    """A photo, BGR [128, 96, 3]: higher than wide, so that a rotation changes its shape."""
    photo = Image.open(min(command.photos().iterdir())).convert("RGB")
    return np.ascontiguousarray(np.asarray(photo.resize((96, 128)))[:, :, ::-1])


def film(path: Path, picture: np.ndarray, rotation: int) -> Path:
    """An .mp4 of ``picture`` turned back, whose header says to rotate it by ``rotation``."""
    stored = np.ascontiguousarray(np.rot90(picture, rotation // 90))  # counter-clockwise
    height, width = stored.shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (width, height))
    for _ in range(5):
        writer.write(stored)
    writer.release()
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    at += 4 + (32 if data[at] else 20) + 16  # version and flags; times and id; layer, volume
    a, b, c, d = (UNIT * entry for entry in MATRICES[rotation])
    struct.pack_into(">9i", data, at, a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("rotation", MATRICES)
def test_frames_are_upright(rotation: int, upright: np.ndarray, tmp_path: Path) -> None:
    source = source_of(str(film(tmp_path / "phone.mp4", upright, rotation)))
    source.open()
    frame = source.read()
    source.close()
    assert frame.shape == upright.shape
    near = np.abs(frame.astype(int) - upright).mean()
    assert near < 12  # MPEG-4 is lossy
    others = [np.rot90(upright, turns) for turns in (1, 2, 3)]
    far = [np.abs(frame.astype(int) - each).mean() for each in others if each.shape == frame.shape]
    assert all(distance > 2 * near for distance in far)


def test_a_rotated_video_is_answered_as_its_photo(upright: np.ndarray, tmp_path: Path) -> None:
    file = command.file("fp32", ".tflite")
    classify = edge_effnet.open(file)
    wanted = classify.probabilities([np.ascontiguousarray(upright[:, :, ::-1])])[0]
    source = source_of(str(film(tmp_path / "phone.mp4", upright, 90)))
    source.open()
    frame = source.read()
    source.close()
    found = classify.probabilities([np.ascontiguousarray(frame[:, :, ::-1])])[0]
    assert np.abs(found - wanted).max() < 0.05
