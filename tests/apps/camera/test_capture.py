"""Capture with a source and a clock of its own: pacing, unplugging, the end."""

from __future__ import annotations

import numpy as np
import pytest

from edge_effnet.apps.camera.capture import RETRY, Capture
from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.frames import Frame
from edge_effnet.errors import CameraError

IMAGE = np.zeros((4, 4, 3), np.uint8)


class Scripted:
    """Gives a frame for "f", none for "-"; `open` fails for "x" and works for "o"."""

    def __init__(self, script: str, live: bool, fps: float | None = None) -> None:
        self._script, self.live, self.fps = iter(script), live, fps
        self.name, self.opened, self.closed = "fake", 0, 0

    def open(self) -> None:
        if next(self._script) == "x":
            raise CameraError("unplugged")
        self.opened += 1

    def read(self) -> np.ndarray | None:
        return IMAGE if next(self._script, "-") == "f" else None

    def rest(self) -> None:
        pass

    def close(self) -> None:
        self.closed += 1


class Clock:
    """Time passes only by waiting."""

    def __init__(self) -> None:
        self.now, self.waits = 100.0, []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        return False


def capture(
    source: Scripted, stop_after: int = 99, **options: object
) -> tuple[Capture, list[Frame], list[str], Clock]:
    frames: list[Frame] = []
    notes: list[str] = []
    clock, controls = Clock(), Controls(1)

    def deliver(frame: Frame) -> None:
        frames.append(frame)
        if len(frames) == stop_after:
            controls.stop("enough")

    made = Capture(source, controls, deliver, notes.append, clock=clock, wait=clock.wait, **options)
    return made, frames, notes, clock


def test_a_lost_camera_is_waited_for() -> None:
    source = Scripted("ff-xxoff", live=True)
    made, frames, notes, clock = capture(source, stop_after=4)
    made.run()
    assert len(frames) == 4
    assert made.reconnects == 1
    assert made.status == ""
    assert notes == ["fake is gone: waiting for it", "fake is back"]
    assert clock.waits == [RETRY] * 3


def test_giving_up_on_a_lost_camera() -> None:
    made, _, _, _ = capture(Scripted("f-" + "x" * 50, live=True), give_up=5.0)
    with pytest.raises(CameraError, match="did not come back within 5 s"):
        made.run()
    assert made.source.closed >= 2


def test_a_file_ends() -> None:
    made, frames, notes, _ = capture(Scripted("fff-", live=False), pace="fast")
    made.run()
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert notes == []


def test_a_file_starts_again() -> None:
    source = Scripted("ff-off-off", live=False)
    made, frames, _, _ = capture(source, stop_after=6, pace="fast", loop=True)
    made.run()
    assert len(frames) == 6
    assert source.opened == 2


def test_a_file_without_frames() -> None:
    made, _, _, _ = capture(Scripted("-", live=False), loop=True)
    with pytest.raises(CameraError, match="no frame that can be decoded"):
        made.run()


def test_real_pace_gives_a_file_its_own_rate() -> None:
    made, frames, _, _ = capture(Scripted("f" * 11, live=False, fps=20.0))
    made.run()
    assert np.allclose(np.diff([frame.captured for frame in frames]), 0.05)


def test_a_wanted_rate_replaces_the_files() -> None:
    made, frames, _, _ = capture(Scripted("f" * 5, live=False, fps=20.0), fps=4.0)
    made.run()
    assert np.allclose(np.diff([frame.captured for frame in frames]), 0.25)


@pytest.mark.parametrize(("live", "pace"), [(True, "real"), (False, "fast")])
def test_cameras_and_fast_files_are_not_paced(live: bool, pace: str) -> None:
    made, frames, _, clock = capture(Scripted("f" * 5, live, 20.0), stop_after=5, pace=pace)
    made.run()
    assert len(frames) == 5
    assert clock.waits == []
