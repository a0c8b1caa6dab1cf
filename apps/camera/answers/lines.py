"""Predictions and answers of the camera as lines of JSON, for other programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any

from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Result


def json_lines(result: Result, engines: Sequence[Engine], source: str) -> Iterator[str]:
    """One line of JSON per prediction of ``result``.

    ``time`` is the capture time (UTC), ``source`` and ``frame`` identify the frame. ``file`` is the
    exported file. ``label`` and ``probability`` are the frame's top prediction. ``ms`` is the
    inference time. ``answer`` is the smoothed answer, with a label and a probability of its own;
    null if the model is unsure. For a multi-label network, the list ``labels`` replaces ``label``
    and ``probability``, and ``answer`` is a list too.
    """
    age = time.perf_counter() - result.frame.captured
    captured = datetime.fromtimestamp(time.time() - age, timezone.utc)
    for prediction, answer in zip(result.predictions, result.answers, strict=True):
        engine = engines[prediction.model]
        card = engine.classifier.card
        labels, answers = (
            [labelled(card.labels[index], float(values[index])) for index in classes]
            for classes, values in (
                (engine.labels_of(prediction), prediction.probabilities),
                (answer.classes, answer.probabilities),
            )
        )
        yield json.dumps(
            {
                "time": captured.isoformat(timespec="milliseconds"),
                "source": source,
                "frame": result.frame.number,
                "file": engine.classifier.path,
                **({"labels": labels} if card.multi_label else labels[0]),
                "ms": round(prediction.seconds * 1000, 2),
                "answer": answers if card.multi_label else answers[0] if answers else None,
            }
        )


def labelled(label: str, probability: float) -> dict[str, Any]:
    """A label with its probability, as in every line."""
    return {"label": label, "probability": round(probability, 4)}
