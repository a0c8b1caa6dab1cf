"""Answering: a model's smoothed probabilities, and the classes that they answer."""

from __future__ import annotations

from collections.abc import Sequence

from edge_effnet.answers import Rule, answered
from edge_effnet.apps.camera.answers.scene_change import SceneChange
from edge_effnet.apps.camera.frames import Answer, Result
from edge_effnet.apps.camera.meters import Smoothed
from edge_effnet.card import ModelCard


class Answering:
    """Answers for results, which must come in the frames' order.

    Smoothing restarts when the scene changes, so that an answer is never a mixture of two scenes.
    """

    def __init__(self, cards: Sequence[ModelCard], rule: Rule) -> None:
        self._cards, self._rule = cards, rule
        self._changed = SceneChange()
        self._smoothed = [Smoothed(rule.smoothing) for _ in cards]

    def __call__(self, result: Result) -> tuple[Answer, ...]:
        """The answers to ``result``, one for each of its predictions."""
        if self._rule.smoothing and self._changed(result.frame.image):
            for smoothed in self._smoothed:
                smoothed.restart()
        answers = []
        for prediction in result.predictions:
            smoothed = self._smoothed[prediction.model]
            values = smoothed.update(prediction.probabilities, result.frame.moment)
            classes = answered(self._cards[prediction.model], values, self._rule)
            answers.append(Answer(prediction.model, values, classes))
        return tuple(answers)
