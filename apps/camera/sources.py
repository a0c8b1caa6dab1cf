"""Sources of frames: a webcam, a stream, a video file, a folder of images."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.camera import opencv
from edge_effnet.errors import CameraError, ImageError
from edge_effnet.photo_files import HEIF_SUFFIXES, SUFFIXES, list_images
from edge_effnet.preprocess import load_image

Image = NDArray[np.uint8]
#: Milliseconds without data after which a stream is treated as lost (OpenCV's default: 30,000).
STREAM_TIMEOUT = 5000
#: Environment variable of OpenCV that limits FFmpeg's stream analysis (microseconds). Raw JPEG and
#: H.264 streams have no timestamps, so FFmpeg would read up to 125 frames to estimate the rate.
#: Opening would then take up to `STREAM_TIMEOUT`.
_FFMPEG_OPTIONS = ("OPENCV_FFMPEG_CAPTURE_OPTIONS", "analyzeduration;100000")
_DEVICE = re.compile(r"/dev/video\d+")
_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "udp", "tcp", "rtp", "srt")


class Source(Protocol):
    """A source of frames.

    A ``live`` source is reopened after its loss; other sources end. ``fps`` is the source's frame
    rate, None if unknown.
    """

    @property
    def name(self) -> str:
        """Name of the source in messages."""

    @property
    def live(self) -> bool:
        """Whether frames arrive in real time, even without calls of `read`."""

    @property
    def fps(self) -> float | None:
        """Frame rate of the source in frames per second; None if unknown."""

    def open(self) -> None:
        """Open the source at its beginning; raises `CameraError`."""

    def read(self) -> Image | None:
        """The next frame, BGR; None at the end, or after the loss of a live source."""

    def rest(self) -> None:
        """Called repeatedly during a pause; discards frames that arrive meanwhile."""

    def close(self) -> None:
        """Release the device or file."""


def source_of(spec: str) -> Source:
    """Source for ``spec``: number or path of a camera, a stream's address, a folder or a file."""
    if spec.isdecimal():
        return Webcam(int(spec))
    if _DEVICE.fullmatch(spec):
        return Webcam(spec)
    if "://" in spec:
        scheme = spec.split("://")[0].lower()
        if scheme not in _SCHEMES:
            raise CameraError(f"{scheme}:// is no stream; give one of {', '.join(_SCHEMES)}")
        return Stream(spec)
    path = Path(spec)
    if path.is_dir():
        return Folder(spec, list_images(path))
    if path.suffix.lower() in SUFFIXES | HEIF_SUFFIXES and "%" not in spec and path.exists():
        return Folder(spec, [path])
    return Video(spec)


class _Capture:
    """Base of the sources that OpenCV reads."""

    live = False

    def __init__(self, spec: str | int) -> None:
        self._spec = spec
        self._capture: Any = None

    @property
    def name(self) -> str:
        return str(self._spec)

    @property
    def fps(self) -> float | None:
        rate = self._capture.get(opencv.load().CAP_PROP_FPS) if self._capture else 0.0
        return float(rate) if 0 < rate <= 1000 else None

    def _open(self, api: int, options: list[int] | None = None) -> bool:
        """Open the source with OpenCV; returns whether it succeeded."""
        cv2 = opencv.load()
        self.close()
        try:
            self._capture = cv2.VideoCapture(self._spec, api, options or [])
        except cv2.error:
            return False
        return bool(self._capture.isOpened())

    def read(self) -> Image | None:
        cv2 = opencv.load()
        if self._capture is None:
            return None
        try:
            good, image = self._capture.read()
        except cv2.error:
            return None
        if not good or image is None or image.size == 0:
            return None
        return image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR))

    def rest(self) -> None:
        """Do nothing: frames of a file do not accumulate."""

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class Webcam(_Capture):
    """A camera, given by its number or, on Linux, its device path."""

    live = True

    @property
    def name(self) -> str:
        """Number or path of the camera."""
        return f"camera {self._spec}"

    def open(self) -> None:
        """Open the device."""
        cv2 = opencv.load()
        api = cv2.CAP_V4L2 if sys.platform.startswith("linux") else cv2.CAP_ANY
        if not self._open(api):
            self.close()
            there = sorted(str(path) for path in Path("/dev").glob("video*"))
            present = f"this machine has {', '.join(there)}" if there else "no camera is connected"
            raise CameraError(
                f"{self.name} cannot be opened ({present}); connect one, check that no other "
                "program uses it, or take a video, folder or URL as the source"
            )
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)

    def rest(self) -> None:
        """Discard the driver's queued frames without decoding, so that they are not shown later."""
        if self._capture is not None:
            self._capture.grab()


class Stream(_Capture):
    """A network stream: MJPEG over HTTP, RTSP, or another protocol that FFmpeg supports.

    ``tcp://HOST:PORT`` connects to a program that sends raw MJPEG or H.264 (rpicam-vid);
    ``tcp://HOST:PORT?listen`` waits for this program to connect.
    """

    live = True

    @property
    def name(self) -> str:
        """Address of the stream without user and password."""
        parts = urlsplit(str(self._spec))
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    def open(self) -> None:
        """Connect; raises `CameraError` after `STREAM_TIMEOUT`."""
        cv2 = opencv.load()
        if str(self._spec).startswith("tcp:"):
            os.environ.setdefault(*_FFMPEG_OPTIONS)
        timeouts = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        if not self._open(
            cv2.CAP_FFMPEG, [value for key in timeouts for value in (key, STREAM_TIMEOUT)]
        ):
            self.close()
            raise CameraError(
                f"the stream {self.name} cannot be opened; check the address, and that it plays "
                "elsewhere (ffplay, VLC)"
            )

    def read(self) -> Image | None:
        """The next frame; reconnects after a pause."""
        if self._capture is None:  # closed by a pause
            self.open()
        return super().read()

    def rest(self) -> None:
        """Disconnect the stream, because queued frames would be shown late."""
        self.close()


class Video(_Capture):
    """A video file, or numbered images (``frame_%03d.png``)."""

    def open(self) -> None:
        """Open at the first frame."""
        path = Path(str(self._spec))
        if "%" not in str(path) and not path.is_file():
            raise CameraError(f"there is no video {path}; a source is a camera number, a video, "
                              "a folder of images or a URL")  # fmt: skip
        if not self._open(opencv.load().CAP_ANY):
            self.close()
            raise CameraError(f"{path} is no video that OpenCV can decode; convert it to .mp4")

    @property
    def frames(self) -> int:
        """Number of frames according to the file's header; 0 if unknown."""
        count = self._capture.get(opencv.load().CAP_PROP_FRAME_COUNT) if self._capture else 0
        return max(int(count), 0)


class Folder:
    """The images of a folder in sequence, rotated upright; unreadable images are skipped."""

    live = False
    fps: float | None = None

    def __init__(self, name: str | os.PathLike[str], paths: list[Path]) -> None:
        self._name, self._paths, self._next = str(name), paths, 0
        self.broken: list[str] = []

    @property
    def name(self) -> str:
        """The path as the user typed it."""
        return self._name

    def open(self) -> None:
        """Start at the first image."""
        self._next = 0

    def read(self) -> Image | None:
        """The next readable image."""
        while self._next < len(self._paths):
            path = self._paths[self._next]
            self._next += 1
            try:
                return np.ascontiguousarray(np.asarray(load_image(path))[:, :, ::-1])
            except ImageError as error:
                self.broken.append(str(error))
        return None

    def rest(self) -> None:
        """Do nothing: images of a folder do not accumulate."""

    def close(self) -> None:
        """Nothing to release."""
