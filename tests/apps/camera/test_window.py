"""The camera's window on a real X server without a screen, its keys pressed as a user does it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import command

cv2 = pytest.importorskip("cv2", reason="needs OpenCV: pip install '.[camera]'")
pytestmark = pytest.mark.slow
WAIT = 200.0  # seconds, on a machine that others use


class Shown:
    """The command with its window."""

    def __init__(self, display: str, *arguments: object) -> None:
        self._env = {**os.environ, "DISPLAY": display}
        self._env.pop("WAYLAND_DISPLAY", None)
        words = [str(command.SCRIPT), "camera", *map(str, arguments)]
        self.process = subprocess.Popen(
            words, env=self._env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._window = until(
            lambda: self._xdotool("search", "--name", "^edge-effnet$"), self.process
        ).split()[-1]

    def press(self, *keys: str) -> None:
        for key in keys:
            self._xdotool("key", "--window", self._window, key)
            time.sleep(2)  # for the next pictures, on a machine that others use

    def end(self) -> tuple[str, str]:
        said = self.process.communicate(timeout=WAIT)
        assert self.process.returncode == 0, said
        return said

    def _xdotool(self, *words: str) -> str:
        done = subprocess.run(
            ["xdotool", *words], env=self._env, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()


def until(condition: Callable[[], str], process: subprocess.Popen[str]) -> str:
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        if found := condition():
            time.sleep(4)  # the first pictures
            return found
        if process.poll() is not None:
            said = process.communicate()[1]
            if "headless build" in said:
                pytest.skip("this OpenCV has no windows")
            raise AssertionError(said)
        time.sleep(0.2)
    process.kill()
    raise AssertionError("no window came")


def shown(display: str, folder: Path) -> Shown:
    files = [command.file("int8", ".tflite"), command.file("fp32", ".tflite")]
    return Shown(
        display, *files, "--source", command.photos(), "--fps", 20, "--loop",
        "--screenshots", folder, "--json", folder / "camera.json", "--min-confidence", 0,
    )  # fmt: skip


def test_keys(display: str, tmp_path: Path) -> None:
    """b compares, n switches, space pauses, s takes a screenshot, q ends."""
    window = shown(display, tmp_path)
    window.press("b", "b", "n", "space", "s", "q")
    _, notes = window.end()
    report = json.loads((tmp_path / "camera.json").read_text())
    assert report["ended"] == "quit"
    assert 0 <= report["agreement"] <= 1  # both ran on the same frames
    assert all(model["answers"] for model in report["models"])
    (picture,) = tmp_path.glob("edge-effnet-*.png")
    assert f"screenshot saved: {picture}" in notes
    assert cv2.imread(str(picture)).std() > 5
