"""OpenCV, imported once and kept quiet; and whether it can open a window here."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from types import ModuleType

from edge_effnet import installation
from edge_effnet import subprocesses as subprocesses
from edge_effnet.errors import CameraError, MissingExtra, require

_PROBE_SECONDS = 60


@cache
def load() -> ModuleType:
    """The module cv2, its own log lines off; raises `MissingExtra`."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET
    try:
        return require("cv2", "camera")
    except MissingExtra as error:
        cause = error.__cause__
        if isinstance(cause, ImportError) and ".so" in str(cause):  # found, but not its libraries
            raise MissingExtra(
                f"OpenCV cannot be loaded ({cause}): opencv-python needs the system's graphics "
                f"libraries (Debian: apt-get install libgl1 libglib2.0-0); for a board without a "
                f"screen: {_instead('opencv-python', 'camera-headless')}"
            ) from error
        raise


def check_window() -> None:
    """Raise `CameraError` where no window can be opened.

    Tried in a child process: without a display OpenCV's window library ends the whole process.
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
        raise CameraError("the display does not answer", hint=hint) from None
    if done.returncode == 3:
        raise CameraError(
            "this OpenCV has no windows (it is the headless build)",
            hint=f"{hint}, or install the other one: "
            f"{_instead('opencv-python-headless', 'camera')}",
        )
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[0]
        raise CameraError(f"no window can be opened on the display ({reason})", hint=hint)


def _instead(package: str, extra: str) -> str:
    """The commands that replace one build of OpenCV by that of ``extra``."""
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
