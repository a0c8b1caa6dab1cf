"""Import of OpenCV without log output, and a check whether windows can be opened."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from types import ModuleType

from edge_effnet import installation, subprocesses
from edge_effnet.errors import CameraError, MissingExtra, require

_PROBE_SECONDS = 60


@cache
def load() -> ModuleType:
    """The module cv2 without its log output; raises `MissingExtra`."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    try:
        return require("cv2", "camera")
    except MissingExtra as error:
        cause = error.__cause__
        if isinstance(cause, ImportError) and ".so" in str(cause):  # shared libraries are missing
            raise MissingExtra(
                f"OpenCV cannot be loaded ({cause}): opencv-python needs the system's graphics "
                f"libraries (Debian: apt-get install libgl1 libglib2.0-0); for a board without a "
                f"screen: {_instead('opencv-python', 'camera-headless')}"
            ) from error
        raise


def check_window() -> None:
    """Raise `CameraError` if no window can be opened.

    The test runs in a child process, because OpenCV aborts the process without a display.
    """
    hint = "use preview='http' (a page) or preview='none'"
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        raise CameraError("there is no display for the window (DISPLAY is not set)", hint=hint)
    try:
        done = subprocess.run(  # noqa: S603
            subprocesses.command(__name__),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CameraError("the display does not respond", hint=hint) from None
    if done.returncode == 3:
        raise CameraError(
            "this OpenCV has no windows (it is the headless build)",
            hint=f"{hint}, or install the other one: "
            f"{_instead('opencv-python-headless', 'camera')}",
        )
    if done.returncode != 0:
        message = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[0]
        raise CameraError(f"no window can be opened on the display ({message})", hint=hint)


def _instead(package: str, extra: str) -> str:
    """Commands that replace the installed OpenCV package by that of the extra ``extra``."""
    return f"pip uninstall {package}; {installation.pip_line(extra)}"


def _probe() -> int:
    cv2 = load()
    try:
        cv2.namedWindow("probe", cv2.WINDOW_NORMAL)
        cv2.destroyAllWindows()
    except cv2.error:
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(_probe())
