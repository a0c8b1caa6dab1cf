"""The text panels on the camera's frames, and the frame that compares two models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")

from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Prediction
from edge_effnet.apps.camera.scene import PanelMaker
from edge_effnet.classifier import Classifier
from edge_effnet.runtime.opening import open_model
from support import command


def engine(classifier: Classifier, labels: tuple[str, ...]) -> Engine:
    return Engine((replace(classifier, card=classifier.card.with_(labels=labels)),))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("a", "same top-1, largest difference 50.0%; same in 25.0% of frames"),
        ("b", "different top-1, no common class; same in 25.0% of frames"),
    ],
)
def test_two_models_are_compared_by_the_names_of_their_classes(labels: str, expected: str) -> None:
    classifier = open_model(command.file("int8", ".tflite"))
    count = len(classifier.card.labels)
    engines = [
        engine(classifier, tuple(f"{prefix}{n}" for n in range(count))) for prefix in ("a", labels)
    ]
    first, second = np.zeros((2, count), np.float32)
    first[0], second[0] = 1.0, 0.5
    predictions = (Prediction(0, first, 0.01), Prediction(1, second, 0.01))
    assert PanelMaker(engines, 5).difference(predictions, 0.25) == expected
