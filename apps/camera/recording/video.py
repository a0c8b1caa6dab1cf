"""Recordings and screenshots of the camera."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet import files
from edge_effnet.apps.camera import opencv
from edge_effnet.errors import OutputError, UsageError

#: File suffix -> codec that every OpenCV build supports (mp4v is MPEG-4 part 2).
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".mkv": "mp4v"}
#: Longest gap that is filled with repeated pictures, in seconds of video.
_LONGEST_GAP = 5.0


class Recorder:
    """Writes pictures to a video file; the file appears at ``path`` after `close`.

    With ``live``, pictures are repeated or dropped so that the video plays at the camera's speed.
    Without ``live``, each picture is one frame.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float, live: bool) -> None:
        self.path, self._fps, self._live = check_target(path), fps, live
        files.make_folder(self.path.parent)
        name = f".{self.path.stem}.{os.urandom(4).hex()}{self.path.suffix.lower()}"
        self._temporary = self.path.with_name(name)
        self._writer: Any = None
        self._size = (0, 0)
        self._start = 0.0
        self.frames = 0

    def write(self, image: NDArray[np.uint8], now: float) -> None:
        """Add a BGR picture shown at ``now`` seconds; the first picture sets the video's size."""
        cv2 = opencv.load()
        if self._writer is None:
            self._open(image.shape[1], image.shape[0])
            self._start = now
        if (image.shape[1], image.shape[0]) != self._size:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        else:
            image = image[: self._size[1], : self._size[0]]
        count = 1
        if self._live:
            count = int((now - self._start) * self._fps) + 1 - self.frames
            count = min(count, int(_LONGEST_GAP * self._fps))
        for _ in range(count):
            self._writer.write(image)
            self.frames += 1

    def close(self) -> None:
        """Finish the video and rename it to ``path``; an empty one is removed."""
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror}; choose another folder"
            ) from error
        finally:
            with suppress(OSError):
                self._temporary.unlink()

    def _open(self, width: int, height: int) -> None:
        cv2 = opencv.load()
        self._size = (width - width % 2, height - height % 2)  # codecs need even sides
        code = cv2.VideoWriter_fourcc(*CODECS[self.path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary), code, self._fps, self._size)
        if not self._writer.isOpened():
            self._writer = None
            with suppress(OSError):
                self._temporary.unlink()
            raise OutputError(f"cannot write the video {self.path}; choose a writable folder")


def check_target(path: str | os.PathLike[str]) -> Path:
    """``path``, checked: raises `UsageError` if no video can be recorded there."""
    target = Path(path)
    if target.suffix.lower() not in CODECS:
        raise UsageError(
            f"the recording {target} is none of {', '.join(CODECS)}; give it one of them"
        )
    if target.is_dir():
        raise UsageError(f"the recording {target} is a folder; give the path of a file")
    return target


def save_screenshot(image: NDArray[np.uint8], folder: str | os.PathLike[str]) -> Path:
    """Save a BGR picture in ``folder`` as a PNG named by the time; returns the PNG's path."""
    good, data = opencv.load().imencode(".png", image)
    if not good:
        raise OutputError("OpenCV cannot encode the screenshot")
    name = time.strftime("edge-effnet-%Y%m%d-%H%M%S")
    path, number = Path(folder) / f"{name}.png", 1
    while path.exists():
        number += 1
        path = Path(folder) / f"{name}-{number}.png"
    return files.write_bytes(path, data.tobytes())
