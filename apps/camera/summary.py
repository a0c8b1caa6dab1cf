"""Summary of a session as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_effnet.apps.camera.capture import Capture
from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.inference import Inference


def of(
    capture: Capture, inference: Inference, engines: Sequence[Engine], ended: str, seconds: float
) -> dict[str, Any]:
    """Counts, rates in 1/s and times in ms of a session that took ``seconds``."""
    seconds = max(seconds, 1e-9)
    content = {
        "source": capture.source.name,
        "ended": ended,
        "seconds": round(seconds, 3),
        "captured": capture.captured,
        "processed": inference.processed,
        "reconnects": capture.reconnects,
        "camera_fps": round(capture.captured / seconds, 2),
        "inference_fps": round(inference.processed / seconds, 2),
        "delay_ms": inference.delays.as_json(),
        "preparing_ms": inference.preparing.as_json(),
        "models": [_model(engine) for engine in engines],
    }
    if inference.compared:
        content["agreement"] = round(inference.agreed / inference.compared, 4)
    return content


def _model(engine: Engine) -> dict[str, Any]:
    """One model's part; ``unsure`` counts the frames without an answer."""
    classifier = engine.classifier
    info, labels = classifier.runner.info, classifier.card.labels
    return {
        "file": classifier.path,
        "variant": classifier.card.variant,
        "precision": classifier.card.precision,
        "runtime": f"{info.name} {info.version}",
        "kernels": info.kernels,
        "threads": info.threads,
        "frames": engine.durations.count,
        "inference_ms": engine.durations.as_json(),
        "answers": {labels[index]: count for index, count in engine.answers.most_common(5)},
        "multi_label": classifier.card.multi_label,
        "unsure": engine.unsure,
    }
