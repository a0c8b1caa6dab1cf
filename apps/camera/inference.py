"""Inference: frames -> network inputs in one thread, results in the next."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.activation import ActivationRunner, with_activation
from edge_effnet.apps.camera import opencv
from edge_effnet.apps.camera.controls import Controls
from edge_effnet.apps.camera.frames import Frame, Prediction, Result
from edge_effnet.apps.camera.mailbox import Mailbox
from edge_effnet.apps.camera.meters import Durations, Rate, Recent
from edge_effnet.classifier import Classifier, softmax
from edge_effnet.errors import EdgeEffNetError, ModelFileError
from edge_effnet.preprocess import Preprocess

#: Seconds by which a frame is prepared before the models are expected to be free for it.
MARGIN = 0.001


@dataclass(frozen=True)
class Prepared:
    """A frame and, by model, the input tensor made of it; ``seconds`` is what that took."""

    frame: Frame
    tensors: dict[int, NDArray[np.generic]]
    seconds: float


@dataclass
class Engine:
    """One opened file, and what it did so far."""

    classifier: Classifier
    durations: Durations = field(default_factory=Durations)
    recent: Recent = field(default_factory=Recent)
    answers: Counter[int] = field(default_factory=Counter)
    explained: tuple[Classifier, ActivationRunner] | None = None

    def predict(self, index: int, tensor: NDArray[np.generic], activation: bool) -> Prediction:
        """Run ``tensor``; with ``activation`` the map of the best class comes along."""
        if activation and self.explained is None:
            self.explained = with_activation(self.classifier)
        started = time.perf_counter()
        if activation and self.explained is not None:
            runner = self.explained[1]
            logits = runner.run(tensor)[0]
            seen = runner.activation(int(logits.argmax()))
        else:
            logits, seen = self.classifier.runner.run(tensor)[0], None
        seconds = time.perf_counter() - started
        prediction = Prediction(index, softmax(logits), seconds, seen)
        self.durations.add(seconds)
        self.recent.add(seconds)
        self.answers[prediction.best] += 1
        return prediction

    def warm_up(self) -> None:
        """Run a grey image: the first run of a file is slow, and shows whether its labels fit."""
        size = self.classifier.card.preprocess.size
        for _ in range(3):
            self.classifier.logits_of_pixels(np.full((size, size, 3), 127, np.uint8))
            started = time.perf_counter()
        self.recent.add(time.perf_counter() - started)


class Preparer:
    """Makes the newest frame ready while the models still work on the one before.

    Not as early as it could: a frame that waits gets old. It is taken so that it is ready just when
    the models are expected to be free.
    """

    def __init__(
        self,
        engines: list[Engine],
        controls: Controls,
        frames: Mailbox[Frame],
        prepared: Mailbox[Prepared],
    ) -> None:
        self._engines, self._controls = engines, controls
        self._frames, self._prepared = frames, prepared
        self.durations = Durations()
        self._recent = Recent()

    def run(self) -> None:
        """Until there are no more frames."""
        try:
            while self._prepared.wait_until_empty():
                busy = sum(self._engines[index].recent() for index in self._controls.active)
                spare = busy - self._recent() - MARGIN
                if spare > 0 and self._controls.stopping.wait(spare):
                    break
                frame = self._frames.take()
                if frame is None:
                    break
                self._prepared.put(self.prepare(frame))
        finally:
            self._prepared.close()

    def prepare(self, frame: Frame) -> Prepared:
        """The input tensors of the active models; equal preprocessing is done once."""
        started = time.perf_counter()
        cv2 = opencv.load()
        rgb = cv2.cvtColor(frame.image, cv2.COLOR_BGR2RGB)
        pixels: dict[Preprocess, NDArray[np.uint8]] = {}
        tensors = {}
        for index in self._controls.active:
            classifier = self._engines[index].classifier
            how = classifier.card.preprocess
            if how not in pixels:
                pixels[how] = how.pixels(rgb)
            tensors[index] = classifier.tensor(pixels[how])
        seconds = time.perf_counter() - started
        self.durations.add(seconds)
        self._recent.add(seconds)
        return Prepared(frame, tensors, seconds)


class Inference:
    """Runs the models on what is prepared and hands each `Result` to ``deliver``."""

    def __init__(
        self,
        engines: list[Engine],
        controls: Controls,
        prepared: Mailbox[Prepared],
        deliver: Callable[[Result], None],
        notify: Callable[[str], None],
        max_frames: int | None = None,
    ) -> None:
        self._engines, self._controls, self._prepared = engines, controls, prepared
        self._deliver, self._notify, self._max_frames = deliver, notify, max_frames
        self.delays, self.recent_delay, self.rate = Durations(), Recent(), Rate()
        self.processed = self.compared = self.agreed = 0

    def run(self) -> None:
        """Until nothing more is prepared, or the wanted number of frames is done."""
        while (prepared := self._prepared.take()) is not None:
            if self._controls.stopping.is_set():
                break
            self._deliver(self.infer(prepared))
            if self._max_frames is not None and self.processed >= self._max_frames:
                self._controls.stop("max-frames")
                break

    def infer(self, prepared: Prepared) -> Result:
        """The answers to one frame."""
        predictions = tuple(
            self._predict(index, tensor) for index, tensor in prepared.tensors.items()
        )
        ready = time.perf_counter()
        result = Result(prepared.frame, predictions, prepared.seconds, ready)
        self.processed += 1
        self.delays.add(result.delay)
        self.recent_delay.add(result.delay)
        self.rate.tick(ready)
        if len(predictions) > 1:
            self.compared += 1
            self.agreed += len({self.label_of(item) for item in predictions}) == 1
        return result

    def label_of(self, prediction: Prediction) -> str:
        """The name of a prediction's best class."""
        return self._engines[prediction.model].classifier.card.labels[prediction.best]

    def _predict(self, index: int, tensor: NDArray[np.generic]) -> Prediction:
        engine = self._engines[index]
        try:
            return engine.predict(index, tensor, self._controls.activation)
        except EdgeEffNetError as error:
            if not self._controls.activation:
                raise
            self._controls.activation = False  # this file has no map: say so and go on without
            self._notify(str(error))
            return engine.predict(index, tensor, False)


def check_names(engines: list[Engine]) -> None:
    """Warm every engine up; raises `ModelFileError` for one whose labels do not fit."""
    for engine in engines:
        try:
            engine.warm_up()
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"{engine.classifier.path} cannot be run: {error}") from error
