"""Engine: one exported file, opened once a worker, and what it did so far."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.activation import ActivationRunner, with_activation
from edge_effnet.apps.camera.frames import Prediction
from edge_effnet.apps.camera.meters import Durations, Recent
from edge_effnet.classifier import (
    Classifier,
    check_one_class_applies,
    class_logits,
    probabilities,
)
from edge_effnet.errors import ModelFileError, UsageError


class Engine:
    """A file's classifiers, one a worker: a runtime's interpreter serves one thread at a time.

    `predict` may be called by all workers at once, `note` by one at a time.
    """

    def __init__(self, copies: tuple[Classifier, ...]) -> None:
        if not copies:
            raise UsageError("an engine needs at least one opened file")
        check_one_class_applies(copies[0].card, copies[0].path, "the camera")
        self.copies = copies
        self.durations, self.recent = Durations(), Recent()
        self.answers: Counter[int] = Counter()
        self.warm = False
        self._explained: dict[int, tuple[Classifier, ActivationRunner]] = {}

    @property
    def classifier(self) -> Classifier:
        """The first copy: the card and the runtime are the same in all."""
        return self.copies[0]

    def predict(
        self, model: int, worker: int, tensor: NDArray[np.generic], activation: bool
    ) -> Prediction:
        """Run ``tensor`` on the worker's copy; with ``activation`` the best class's map comes too.

        ``model`` is this engine's number. Raises `ModelFileError` if the network has no map.
        """
        copy = self.copies[worker]
        if activation and worker not in self._explained:
            self._explained[worker] = with_activation(copy)
        started = time.perf_counter()
        if activation:
            runner = self._explained[worker][1]
            outputs = runner.run(tensor)[0]
            seen = runner.activation(int(outputs.argmax()))
        else:
            outputs, seen = copy.runner.run(tensor)[0], None
        seconds = time.perf_counter() - started
        logits = class_logits(copy.card, outputs)
        return Prediction(model, probabilities(copy.card, logits), seconds, seen)

    def note(self, prediction: Prediction) -> None:
        """Count a prediction."""
        self.durations.add(prediction.seconds)
        self.recent.add(prediction.seconds)
        self.answers[prediction.best] += 1

    def warm_up(self) -> None:
        """Run a grey image on every copy: a first run is slow, and shows whether labels fit.

        Raises `ModelFileError` if the file cannot be run or its labels do not fit.
        """
        size = self.classifier.card.preprocess.size
        grey = np.full((size, size, 3), 127, np.uint8)
        try:
            for copy in self.copies:
                for _ in range(3):
                    started = time.perf_counter()
                    copy.logits_of_pixels(grey)
        except (ValueError, RuntimeError) as error:
            raise ModelFileError(f"{self.classifier.path} cannot be run: {error}") from error
        self.recent.add(time.perf_counter() - started)
        self.warm = True
