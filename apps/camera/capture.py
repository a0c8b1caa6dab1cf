"""Capture thread: reads frames from a source, paces files, and reconnects lost cameras."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.frames import Frame
from edge_effnet.apps.camera.meters import Rate
from edge_effnet.apps.camera.sources import Folder, Source, Video
from edge_effnet.errors import CameraError

#: ``real``: files arrive at their own rate, as from a camera, and late frames are dropped.
#: ``fast``: files are read as fast as they are inferred, and no frame is dropped.
Pace = Literal["real", "fast"]

RETRY = 1.0  # seconds between two attempts to reopen a lost camera
PAUSE_POLL = 0.03  # seconds between two calls of a source's `rest`
#: Frames per second of a folder, and of a video without a frame rate.
FOLDER_FPS, VIDEO_FPS = 1.0, 25.0
#: A video that ends before this fraction of its frames is reported as damaged.
_COMPLETE = 0.9


class Capture:
    """Passes frames of ``source`` to ``deliver`` until its end or until the controls stop.

    Args:
        source: The open source.
        controls: Controls that pause and stop the capture.
        deliver: Called with each frame.
        notify: Called with messages for the user.
        pace: Whether frames of files are delivered at their frame rate.
        fps: Frame rate of files; None for the source's frame rate.
        loop: Whether to restart files at their end.
        give_up: Seconds to wait for a lost live source; None waits forever.
        clock: Function that returns the time in seconds.
        wait: Function that sleeps for the given seconds; returns True when the session stops.
    """

    def __init__(
        self,
        source: Source,
        controls: Controls,
        deliver: Callable[[Frame], None],
        notify: Callable[[str], None],
        *,
        pace: Pace = "real",
        fps: float | None = None,
        loop: bool = False,
        give_up: float | None = None,
        clock: Callable[[], float] = time.perf_counter,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.source, self.rate = source, Rate()
        self.captured = self.reconnects = 0
        self.status = ""
        self._controls, self._deliver, self._notify = controls, deliver, notify
        self._paced = pace == "real" and not source.live
        self._timed = self._paced or source.live
        self._fps, self._loop, self._give_up = fps, loop, give_up
        self._clock, self._wait = clock, wait or controls.stopping.wait
        self._due: float | None = None
        self._since_open = 0

    def run(self) -> None:
        """Capture until the end; raises `CameraError` if nothing can be read."""
        try:
            while not self._controls.stopping.is_set():
                if self._controls.paused:
                    self._idle()
                else:
                    if not self._capture_frame():
                        break
        finally:
            self.source.close()

    def _capture_frame(self) -> bool:
        """Read and deliver one frame; False at the end."""
        try:
            image = self.source.read()
        except CameraError:
            image = None
        if image is None:
            return not self._controls.stopping.is_set() and self._again()
        self._keep_pace()
        now = self._clock()
        self.rate.tick(now)
        moment = now if self._timed else self.captured / self._frame_rate()
        frame = Frame(image, self.captured, now, moment)
        self.captured += 1
        self._since_open += 1
        self._deliver(frame)
        return True

    def _idle(self) -> None:
        self.source.rest()
        self._controls.running.wait(PAUSE_POLL)
        self._due = None

    def _keep_pace(self) -> None:
        """Wait until a file's frame is due; timing restarts after a pause or a lag of 1 s."""
        if not self._paced:
            return
        now = self._clock()
        if self._due is None or now > self._due + 1.0:
            self._due = now
        elif now < self._due:
            self._wait(self._due - now)
        self._due += 1.0 / self._frame_rate()

    def _frame_rate(self) -> float:
        default = FOLDER_FPS if isinstance(self.source, Folder) else VIDEO_FPS
        return self._fps or self.source.fps or default

    def _again(self) -> bool:
        """Restart a looped file or reconnect a lost live source; returns whether frames follow.

        Called after the source's `read` returned None.
        """
        if self.source.live:
            return self._reconnect()
        self._report_losses()
        if self._loop:
            self.source.open()
            self._since_open = 0
        return self._loop

    def _report_losses(self) -> None:
        source = self.source
        if isinstance(source, Folder):
            for message in source.broken:
                self._notify(f"left out: {message}")
            source.broken.clear()
        if not self._since_open:
            raise CameraError(f"{source.name} holds no frame that can be decoded; give another one")
        if isinstance(source, Video) and self._since_open < _COMPLETE * source.frames:
            self._notify(
                f"{source.name} ended at frame {self._since_open} of {source.frames}: "
                "it is damaged or cut short"
            )

    def _reconnect(self) -> bool:
        """Wait for a lost camera or stream; False when the session stops."""
        name, lost = self.source.name, self._clock()
        self.status = f"{name} is gone: waiting for it"
        self._notify(self.status)
        self.source.close()
        while not self._wait(RETRY):
            if self._give_up is not None and self._clock() - lost > self._give_up:
                raise CameraError(
                    f"{name} is gone and did not come back within {self._give_up:g} s; connect it "
                    "and start again"
                )
            try:
                self.source.open()
            except CameraError:
                continue
            self.reconnects += 1
            self.status = ""
            self._notify(f"{name} is back")
            return True
        return False
