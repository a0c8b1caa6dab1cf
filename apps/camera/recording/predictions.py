"""Predictions of the camera as lines of JSON, for other programs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Result


def json_lines(result: Result, engines: Sequence[Engine], source: str) -> Iterator[str]:
    """One line of JSON per prediction of ``result``.

    ``time`` is the capture time (UTC), ``source`` and ``frame`` identify the frame. ``file`` is the
    exported file. ``label`` and ``probability`` are the top prediction. ``ms`` is the inference
    time. For a multi-label network, the list ``labels`` replaces ``label`` and ``probability``.
    """
    age = time.perf_counter() - result.frame.captured
    captured = datetime.fromtimestamp(time.time() - age, timezone.utc)
    for prediction in result.predictions:
        engine = engines[prediction.model]
        classifier = engine.classifier
        labels = [
            {
                "label": classifier.card.labels[index],
                "probability": round(float(prediction.probabilities[index]), 4),
            }
            for index in engine.labels_of(prediction)
        ]
        yield json.dumps(
            {
                "time": captured.isoformat(timespec="milliseconds"),
                "source": source,
                "frame": result.frame.number,
                "file": classifier.path,
                **({"labels": labels} if classifier.card.multi_label else labels[0]),
                "ms": round(prediction.seconds * 1000, 2),
            }
        )
