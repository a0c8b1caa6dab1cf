"""Scene: everything that is shown at one moment, for the window, the page and the recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Frame, Prediction
from edge_effnet.apps.camera.meters import Smoothed
from edge_effnet.preprocess import Window

#: Names for people: variants and runtimes as their makers write them.
_RUNTIMES = {
    "ai-edge-litert": "LiteRT", "tflite-runtime": "TFLite", "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """One model's panel: ``top`` are (label, smoothed probability), best first."""

    title: str
    top: tuple[tuple[str, float], ...]
    milliseconds: float


@dataclass(frozen=True)
class Figures:
    """Rates in 1/s, the median delay of a result in milliseconds, frames dropped."""

    camera_fps: float
    inference_fps: float
    delay_ms: float
    dropped: int


@dataclass(frozen=True)
class Scene:
    """``difference`` compares two panels, ``status`` is a line for trouble; empty otherwise.

    ``heat`` is an activation map over the network's input of ``size`` pixels, ``window`` the part
    of the frame that the input shows.
    """

    frame: Frame
    panels: tuple[Answers, ...]
    figures: Figures
    difference: str
    status: str
    paused: bool
    heat: NDArray[np.float32] | None = None
    window: Window | None = None
    size: int = 0

    def as_json(self) -> dict[str, Any]:
        """What the page shows beside the picture."""
        return {
            "panels": [
                {
                    "title": panel.title,
                    "top": [{"label": label, "p": round(p, 4)} for label, p in panel.top],
                    "ms": round(panel.milliseconds, 2),
                }
                for panel in self.panels
            ],
            "camera_fps": round(self.figures.camera_fps, 1),
            "inference_fps": round(self.figures.inference_fps, 1),
            "delay_ms": round(self.figures.delay_ms, 1),
            "dropped": self.figures.dropped,
            "difference": self.difference,
            "status": self.status,
            "paused": self.paused,
        }


class Answering:
    """Turns predictions into panels, with smoothed probabilities."""

    def __init__(self, engines: list[Engine], top: int) -> None:
        self._engines, self._top = engines, top
        self._smoothed = [Smoothed() for _ in engines]
        self.titles = tuple(title_of(engine) for engine in engines)

    def panel(self, prediction: Prediction, now: float) -> Answers:
        """The panel of a new prediction made at the time ``now``."""
        index = prediction.model
        values = self._smoothed[index].update(prediction.probabilities, now)
        best = np.argsort(-values, kind="stable")[: self._top]
        labels = self._engines[index].classifier.card.labels
        top = tuple((labels[item], float(values[item])) for item in best)
        return Answers(self.titles[index], top, self._engines[index].recent() * 1e3)

    def difference(self, predictions: tuple[Prediction, ...], share: float) -> str:
        """How the first two of several models differ on one frame; ``share`` is their agreement."""
        if len(predictions) < 2:
            return ""
        first, second = (self._named(item) for item in predictions[:2])
        apart = max(abs(first[name] - second[name]) for name in first.keys() & second.keys() or "")
        same = max(first, key=first.__getitem__) == max(second, key=second.__getitem__)
        word = "same answer" if same else "different answers"
        return f"{word}, largest difference {apart:.1%}; same in {share:.1%} of frames"

    def _named(self, prediction: Prediction) -> dict[str, float]:
        labels = self._engines[prediction.model].classifier.card.labels
        return dict(zip(labels, prediction.probabilities.tolist(), strict=True))


def title_of(engine: Engine) -> str:
    """``efficientnet-lite0 int8, LiteRT``."""
    card, runtime = engine.classifier.card, engine.classifier.runner.info.name
    return f"{card.variant} {card.precision}, {_RUNTIMES.get(runtime, runtime)}"
