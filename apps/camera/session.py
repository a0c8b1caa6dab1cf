"""Session: one run of the camera, from opened files and an open source to a summary."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.answers import DEFAULT_RULE, Rule
from edge_effnet.apps.camera import overlay, summary
from edge_effnet.apps.camera.answers.answering import Answering
from edge_effnet.apps.camera.answers.events import AnswerEvents, event_of
from edge_effnet.apps.camera.answers.lines import json_lines
from edge_effnet.apps.camera.capture import FOLDER_FPS, VIDEO_FPS, Capture, Pace
from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Frame, Result
from edge_effnet.apps.camera.inference import Inference
from edge_effnet.apps.camera.mailbox import Mailbox
from edge_effnet.apps.camera.recording.video import Recorder, save_screenshot
from edge_effnet.apps.camera.scene import Metrics, Panel, PanelMaker, Scene
from edge_effnet.apps.camera.sources import Folder, Source
from edge_effnet.apps.camera.views import View
from edge_effnet.classifier import Classifier
from edge_effnet.errors import OutputError

POLL = 0.05  # seconds between checks for keys while no frame arrives
#: Largest number of pictures drawn per second, because drawing takes CPU time from the models.
#: Recordings may use a higher rate.
SHOW_FPS = 30.0
#: Python's thread switch interval in seconds. The default of 5 ms is longer than an inference, so
#: the models would wait for the drawing.
SWITCH = 0.0005
#: Seconds to wait for threads at the end. A thread that hangs in a driver is abandoned.
PATIENCE = 3.0
#: Seconds that a notice stays on the picture.
NOTICE = 5.0


@dataclass(frozen=True)
class Settings:
    """Settings of a session.

    ``seconds`` and ``max_frames`` limit its length. ``fps`` is the frame rate of files. ``quick``
    selects approximate preprocessing. ``give_up`` is the number of seconds to wait for a lost
    camera. ``rule`` makes the answers; the images of a folder are not smoothed.
    """

    pace: Pace = "real"
    fps: float | None = None
    loop: bool = False
    give_up: float | None = None
    top: int = 5
    max_frames: int | None = None
    seconds: float | None = None
    quick: bool = False
    rule: Rule = DEFAULT_RULE
    record: str | None = None
    screenshots: str = "."


@dataclass
class Shown:
    """The newest frame, result, panels and notice; the main thread uses all but the notice."""

    frame: Frame | None = None
    result: Result | None = None
    panels: tuple[Panel, ...] = ()
    difference: str = ""
    notice: tuple[str, float] = ("", -math.inf)
    screenshots: list[str] = field(default_factory=list)


class Session:
    """Threads, mailboxes and views of one session; `run` may be called once.

    ``files`` holds one classifier per worker for each file. ``write_line`` is called with every
    prediction as a line of JSON, in the frames' order. ``events`` gets every answer.
    """

    def __init__(
        self,
        source: Source,
        files: Sequence[tuple[Classifier, ...]],
        controls: Controls,
        views: Sequence[View],
        notify: Callable[[str], None],
        settings: Settings = Settings(),
        write_line: Callable[[str], None] | None = None,
        events: AnswerEvents | None = None,
    ) -> None:
        self.settings, self.controls = settings, controls
        self.engines = [Engine(copies, settings.rule) for copies in files]
        self._views, self._write_line, self._events = views, write_line, events
        self._say = notify
        self._lossless = settings.pace == "fast" and not source.live
        self._watched = bool(views) or settings.record is not None
        self._frames: Mailbox[Frame] = Mailbox()
        self._frames_to_show: Mailbox[Frame] = Mailbox()
        self._results: Mailbox[Result] = Mailbox()
        self.dropped = 0
        self.capture = Capture(
            source,
            controls,
            self._captured,
            self._notify,
            pace=settings.pace,
            fps=settings.fps,
            loop=settings.loop,
            give_up=settings.give_up,
        )
        self.inference = Inference(
            self.engines, controls, self._frames, self._inferred, self._notify,
            settings.max_frames, settings.quick,
        )  # fmt: skip
        self._workers = min(len(engine.copies) for engine in self.engines)
        rule = (
            replace(settings.rule, smoothing=0.0) if isinstance(source, Folder) else settings.rule
        )
        self._answering = Answering([engine.classifier.card for engine in self.engines], rule)
        self._panel_maker = PanelMaker(self.engines, settings.top)
        self._ending, self._ended = threading.Lock(), 0
        self._failure: BaseException | None = None
        self._seconds = 0.0
        self._shown = Shown()
        self._recording_fps = self._rate_of_recording()
        self._recorder = self._make_recorder()

    def run(self) -> dict[str, Any]:
        """Run the session to its end; returns the summary. Re-raises exceptions of threads."""
        self.warm_up()
        jobs: dict[str, Callable[[], None]] = {"capture": self._capture}
        for worker in range(self._workers):
            jobs[f"infer {worker}"] = partial(self._infer, worker)
        threads = [
            threading.Thread(target=self._guarded, args=(job,), name=name, daemon=True)
            for name, job in jobs.items()
        ]
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, SWITCH))
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        try:
            self._show_until_end(started)
        except KeyboardInterrupt:
            self.controls.stop("interrupted")
        finally:
            self._seconds = time.perf_counter() - started
            self.controls.stop("end of the source")
            for box in (self._frames, self._frames_to_show, self._results):
                box.close(discard=True)
            with self._closing(interval):
                for thread in threads:
                    thread.join(PATIENCE)
        if self._failure is not None:
            raise self._failure
        return self.summary()

    def _closing(self, interval: float) -> ExitStack:
        """Restores the switch interval, then closes views, events and the recording.

        Each is closed although another one fails, or a second Ctrl-C ends the waiting for threads.
        """
        stack = ExitStack()  # calls the last callback first
        if self._recorder is not None:
            stack.callback(self._recorder.close)
        if self._events is not None:
            stack.callback(self._events.close)
        for view in reversed(self._views):
            stack.callback(view.close)
        stack.callback(sys.setswitchinterval, interval)
        return stack

    def warm_up(self) -> None:
        """Run every model once; raises `ModelFileError` for a bad file."""
        for engine in self.engines:
            if not engine.warm:
                engine.warm_up()

    def _guarded(self, job: Callable[[], None]) -> None:
        """Run the function of a thread; an exception stops the session."""
        try:
            job()
        except BaseException as error:
            self._failure = self._failure or error
            self.controls.stop("failure")

    def _capture(self) -> None:
        try:
            self.capture.run()
        finally:
            self._frames.close()

    def _infer(self, worker: int) -> None:
        try:
            self.inference.work(worker)
        finally:
            with self._ending:
                self._ended += 1
                last = self._ended == self._workers
            if last:
                self._results.close()
                self._frames_to_show.close()
                self._frames.close(discard=True)

    def _captured(self, frame: Frame) -> None:
        if self._lossless:
            self._frames.put_when_empty(frame)
            return
        self.dropped += self._frames.put(frame)
        if self._watched:
            self._frames_to_show.put(frame)

    def _inferred(self, result: Result) -> None:
        result = replace(result, answers=self._answering(result))
        for answer in result.answers:
            self.engines[answer.model].note_answer(answer.classes)
        if self._events is not None:
            self._events.put(event_of(result, self.engines, self.capture.source.name))
        if self._write_line is not None:
            for line in json_lines(result, self.engines, self.capture.source.name):
                self._write_line(line)
        if not self._watched:
            return
        if self._lossless:
            self._results.put_when_empty(result)
        else:
            self._results.put(result)

    def _show_until_end(self, started: float) -> None:
        """Show frames and results until the session stops; runs in the main thread.

        Lossless sessions show every frame and result, others the newest.
        """
        interval = 0.0 if self._lossless else 1 / max(SHOW_FPS, self._recording_fps)
        due, last = started, (False, "")
        while not self.controls.stopping.is_set():
            remaining = self.settings.seconds
            if remaining is not None:
                remaining -= time.perf_counter() - started
                if remaining <= 0:
                    self.controls.stop("seconds")
                    break
            if self._results.finished:
                break
            now = time.perf_counter()
            if now < due:
                self.controls.stopping.wait(due - now)
            fresh = self._fetch(POLL if remaining is None else min(POLL, remaining))
            if fresh:
                due = max(due + interval, time.perf_counter())
            if self._watched and self._shown.frame is not None:
                asked = self.controls.take_screenshot()
                if asked:
                    self._save_screenshot()
                state = (self.controls.paused, self._notice())
                if fresh or state != last or self.capture.status:
                    self._show()
                last = state
            for view in self._views:
                view.poll()

    def _fetch(self, timeout: float) -> bool:
        """Wait for a new frame or result; returns whether one arrived."""
        shown = self._shown
        if self._lossless or not self._watched:
            result = self._results.take(timeout)
            if result is not None:
                shown.frame = result.frame
        else:
            frame = self._frames_to_show.take(timeout)
            result = self._results.take(0)
            shown.frame = frame or shown.frame
            if frame is None and result is None:
                return False
        if result is not None and self._watched:
            self._note(result)
        return result is not None or (self._watched and not self._lossless)

    def _note(self, result: Result) -> None:
        shown, share = self._shown, self.inference.agreed / max(self.inference.compared, 1)
        shown.result = result
        shown.panels = tuple(map(self._panel_maker.panel, result.answers))
        shown.difference = self._panel_maker.difference(result.predictions, share)

    def _show(self) -> None:
        scene = self.scene()
        if scene is None:
            return
        drawn: list[NDArray[np.uint8]] = []

        def draw() -> NDArray[np.uint8]:
            if not drawn:
                drawn.append(overlay.draw(scene))
            return drawn[0]

        for view in self._views:
            view.show(scene, draw)
        if self._recorder is not None and not scene.paused:
            self._recorder.write(draw(), time.perf_counter())

    def _save_screenshot(self) -> None:
        scene = self.scene()
        if scene is None:
            return
        try:
            path = str(save_screenshot(overlay.draw(scene), self.settings.screenshots))
        except OutputError as error:
            self._notify(f"no screenshot: {error}")
            return
        self._shown.screenshots.append(path)
        self._notify(f"screenshot saved: {os.path.abspath(path)}")

    def _notify(self, text: str) -> None:
        """Tell the user, in the terminal and for `NOTICE` seconds on the picture."""
        self._shown.notice = (text, time.perf_counter() + NOTICE)
        self._say(text)

    def _notice(self) -> str:
        text, end = self._shown.notice
        shown = time.perf_counter() < end and text != self.capture.status
        return text if shown else ""

    def scene(self) -> Scene | None:
        """The latest frame with its predictions and metrics, for viewers; None before the first."""
        shown, now = self._shown, time.perf_counter()
        if shown.frame is None:
            return None
        metrics = Metrics(
            self.capture.rate(now),
            self.inference.rate(now),
            self.inference.recent_delay() * 1e3,
            self.dropped,
        )
        scene = Scene(
            shown.frame,
            shown.panels,
            metrics,
            shown.difference,
            self.capture.status,
            self.controls.paused,
            self._notice(),
        )
        if shown.result is None or shown.result.predictions[0].activation is None:
            return scene
        first = shown.result.predictions[0]
        preprocess = self.engines[first.model].classifier.card.preprocess
        height, width = shown.frame.image.shape[:2]
        window = preprocess.window(width, height)
        return replace(scene, heat=first.activation, window=window, size=preprocess.size)

    def _rate_of_recording(self) -> float:
        """Frames per second of the recording; 0 without one."""
        settings, source = self.settings, self.capture.source
        if settings.record is None:
            return 0.0
        default = FOLDER_FPS if isinstance(source, Folder) else VIDEO_FPS
        return settings.fps or source.fps or default

    def _make_recorder(self) -> Recorder | None:
        if self.settings.record is None:
            return None
        return Recorder(self.settings.record, self._recording_fps, live=not self._lossless)

    def summary(self) -> dict[str, Any]:
        """Plain data on the session: counts, rates in 1/s, times in ms."""
        content = summary.of(
            self.capture, self.inference, self.engines, self.controls.stop_cause, self._seconds
        )
        content["dropped"], content["workers"] = self.dropped, self._workers
        content["pixels"] = "quick" if self.settings.quick else "exact"
        if self._recorder is not None:
            content["recording"] = str(self._recorder.path) if self._recorder.frames else None
        if self._shown.screenshots:
            content["screenshots"] = self._shown.screenshots
        if self._events is not None:
            content["on_answer"] = self._events.as_json()
        return content
