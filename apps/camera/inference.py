"""Inference threads: one or more workers that take frames in turn and deliver results.

A worker preprocesses a frame, then runs the models on it. A second worker runs its models while the
first one preprocesses. Preprocessing has no thread of its own, because the models may use every
core. That thread would then take one core from the models, and the other cores would wait for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Frame, Prediction, Result
from edge_effnet.apps.camera.mailbox import Mailbox
from edge_effnet.apps.camera.meters import Durations, Rate, Recent
from edge_effnet.apps.camera.pixels import exact, quick
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.preprocess import Pixels, Preprocess


class Inference:
    """Takes frames from ``frames`` and passes their `Result` to ``deliver``, in frame order.

    Each worker runs `work` in its own thread. If ``hurry`` is set, preprocessing is approximate
    (`pixels.quick`).
    """

    def __init__(
        self,
        engines: list[Engine],
        controls: Controls,
        frames: Mailbox[Frame],
        deliver: Callable[[Result], None],
        notify: Callable[[str], None],
        max_frames: int | None = None,
        hurry: bool = False,
    ) -> None:
        self._engines, self._controls, self._frames = engines, controls, frames
        self._deliver, self._notify, self._max_frames = deliver, notify, max_frames
        self.delays, self.recent_delay, self.rate = Durations(), Recent(), Rate()
        self.preparing = Durations()
        self._pixels = quick if hurry else exact
        self.processed = self.compared = self.agreed = 0
        self._taking, self._turn = threading.Lock(), threading.Condition()
        self._taken = self._done = 0
        self._broken = False

    def work(self, worker: int) -> None:
        """Process frames until the mailbox is closed or ``max_frames`` frames are done."""
        try:
            while (taken := self._take()) is not None:
                number, frame = taken
                if not self._finish(number, self.infer(frame, worker)):
                    break
        except BaseException:
            with self._turn:
                self._broken = True  # other workers must not wait for this worker's result
                self._turn.notify_all()
            raise

    def _take(self) -> tuple[int, Frame] | None:
        """The newest frame, with its number in the order of results; None at the session's end."""
        with self._taking:
            frame = None if self._controls.stopping.is_set() else self._frames.take()
            if frame is None or self._controls.stopping.is_set():
                return None
            self._taken += 1
            return self._taken - 1, frame

    def infer(self, frame: Frame, worker: int) -> Result:
        """Predictions of the active models for one frame."""
        started = time.perf_counter()
        tensors = self._prepare(frame)
        preparing = time.perf_counter() - started
        predictions = tuple(
            self._predict(index, worker, tensor) for index, tensor in tensors.items()
        )
        return Result(frame, predictions, preparing, time.perf_counter())

    def _prepare(self, frame: Frame) -> dict[int, NDArray[np.generic]]:
        """Input tensor of each active model; models with equal preprocessing share the pixels."""
        pixels: dict[Preprocess, Pixels] = {}
        tensors = {}
        for index in self._controls.active:
            classifier = self._engines[index].classifier
            preprocess = classifier.card.preprocess
            if preprocess not in pixels:
                pixels[preprocess] = self._pixels(frame.image, preprocess)
            tensors[index] = classifier.tensor(pixels[preprocess])
        return tensors

    def _predict(self, index: int, worker: int, tensor: NDArray[np.generic]) -> Prediction:
        engine, wanted = self._engines[index], self._controls.activation
        try:
            return engine.predict(index, worker, tensor, wanted)
        except EdgeEffNetError as error:
            if not wanted:
                raise
            if self._controls.disable_activation():  # the model has no activation map
                self._notify(str(error))
            return engine.predict(index, worker, tensor, False)

    def _finish(self, number: int, result: Result) -> bool:
        """Wait for the results before ``number``, then count and deliver this one.

        Returns whether the worker continues.
        """
        with self._turn:
            self._turn.wait_for(lambda: self._done == number or self._broken)
            if self._broken or self._controls.stopping.is_set():
                self._done += 1
                self._turn.notify_all()
                return False
            self._count(result)
            self._deliver(result)
            self._done += 1
            self._turn.notify_all()
            if self._max_frames is not None and self.processed >= self._max_frames:
                self._controls.stop("max-frames")
                return False
            return True

    def _count(self, result: Result) -> None:
        self.processed += 1
        self.preparing.add(result.preparing)
        self.delays.add(result.delay)
        self.recent_delay.add(result.delay)
        self.rate.tick(result.ready)
        for prediction in result.predictions:
            self._engines[prediction.model].note(prediction)
        if len(result.predictions) > 1:
            self.compared += 1
            self.agreed += len({self._names_of(item) for item in result.predictions}) == 1

    def _names_of(self, prediction: Prediction) -> frozenset[str]:
        return self._engines[prediction.model].names_of(prediction)
