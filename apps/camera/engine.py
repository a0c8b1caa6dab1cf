"""Engine: one exported file, opened once per worker, with statistics of its predictions."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.answers import DEFAULT_RULE, Rule, answered
from edge_effnet.apps.activation import ActivationRunner, with_activation
from edge_effnet.apps.camera.frames import Prediction
from edge_effnet.apps.camera.meters import Durations, Recent
from edge_effnet.classifier import Classifier, check_classes, class_logits, probabilities
from edge_effnet.errors import ModelFileError, UsageError


class Engine:
    """Copies of a file's classifier, one per worker, because interpreters are not thread-safe.

    Workers may call `predict` concurrently, but `note` and `note_answer` only one at a time.
    """

    def __init__(self, copies: tuple[Classifier, ...], rule: Rule = DEFAULT_RULE) -> None:
        if not copies:
            raise UsageError("an engine needs at least one opened file")
        check_classes(copies[0].card, copies[0].path, "the camera")
        self.copies = copies
        self.durations, self.recent = Durations(), Recent()
        self._every = replace(rule, min_confidence=0.0)
        self.answers: Counter[int] = Counter()
        self.unsure = 0
        self.warm = False
        self._explained: dict[int, tuple[Classifier, ActivationRunner]] = {}

    @property
    def classifier(self) -> Classifier:
        """The first copy; all copies have the same card and runtime."""
        return self.copies[0]

    def predict(
        self, model: int, worker: int, tensor: NDArray[np.generic], activation: bool
    ) -> Prediction:
        """Prediction for ``tensor``, computed by the worker's copy.

        Args:
            model: Index of this engine.
            worker: Index of the worker.
            tensor: Input tensor.
            activation: Whether to also compute the class activation map of the top class.

        Raises:
            ModelFileError: The network has no class activation map.
        """
        copy = self.copies[worker]
        if activation and worker not in self._explained:
            self._explained[worker] = with_activation(copy)
        started = time.perf_counter()
        if activation:
            runner = self._explained[worker][1]
            outputs = runner.run(tensor)[0]
            activation_map = runner.activation(int(outputs.argmax()))
            if copy.card.binary and outputs[0] < 0:  # negative logit: class 0 is predicted
                activation_map = -activation_map
        else:
            outputs, activation_map = copy.runner.run(tensor)[0], None
        seconds = time.perf_counter() - started
        logits = class_logits(copy.card, outputs)
        return Prediction(model, probabilities(copy.card, logits), seconds, activation_map)

    def note(self, prediction: Prediction) -> None:
        """Add a prediction's duration to the engine's statistics."""
        self.durations.add(prediction.seconds)
        self.recent.add(prediction.seconds)

    def note_answer(self, classes: tuple[int, ...]) -> None:
        """Count the answer to a frame: its classes, or none."""
        self.answers.update(classes)
        self.unsure += not classes

    def labels_of(self, prediction: Prediction) -> tuple[int, ...]:
        """Indices of the predicted classes, most likely first.

        Multi-label networks predict all labels from the rule's threshold on, other networks one
        class.
        """
        return answered(self.classifier.card, prediction.probabilities, self._every)

    def names_of(self, prediction: Prediction) -> frozenset[str]:
        """Names of the predicted classes."""
        return frozenset(self.classifier.card.labels[n] for n in self.labels_of(prediction))

    def warm_up(self) -> None:
        """Run a grey image on every copy, because first runs are slow.

        Raises:
            ModelFileError: The file cannot be run, or it has another number of labels than outputs.
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
