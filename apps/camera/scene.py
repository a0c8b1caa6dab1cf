"""Scene: the content of one displayed picture, for the window, the page and the recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.answers import word_for_none
from edge_effnet.apps.camera.engine import Engine
from edge_effnet.apps.camera.frames import Answer, Frame, Prediction
from edge_effnet.crop_window import Window

#: Display names of runtimes, as spelled by their vendors.
_RUNTIMES = {
    "ai-edge-litert": "LiteRT", "tflite-runtime": "TFLite", "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One model's panel: ``top`` are (label, smoothed probability), best first.

    ``doubt`` replaces the answer if there is none ("unsure"); empty otherwise.
    """

    title: str
    top: tuple[tuple[str, float], ...]
    milliseconds: float
    doubt: str = ""


@dataclass(frozen=True)
class Metrics:
    """Rates in 1/s, the median delay of a result in ms, and the number of dropped frames."""

    camera_fps: float
    inference_fps: float
    delay_ms: float
    dropped: int


@dataclass(frozen=True)
class Scene:
    """The content of one displayed picture.

    ``difference`` is the comparison of two panels as text. ``status`` is a warning that stays until
    it is settled. ``notice`` tells for a few seconds what happened. Each may be empty. ``heat`` is
    the heat map over the network's input of ``size`` x ``size`` pixels. ``window`` is the part of
    the frame that the network sees.
    """

    frame: Frame
    panels: tuple[Panel, ...]
    metrics: Metrics
    difference: str
    status: str
    paused: bool
    notice: str = ""
    heat: NDArray[np.float32] | None = None
    window: Window | None = None
    size: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain data for the page."""
        return {
            "panels": [
                {
                    "title": panel.title,
                    "top": [{"label": label, "p": round(p, 4)} for label, p in panel.top],
                    "ms": round(panel.milliseconds, 2),
                    "doubt": panel.doubt,
                }
                for panel in self.panels
            ],
            "camera_fps": round(self.metrics.camera_fps, 1),
            "inference_fps": round(self.metrics.inference_fps, 1),
            "delay_ms": round(self.metrics.delay_ms, 1),
            "dropped": self.metrics.dropped,
            "difference": self.difference,
            "status": self.status,
            "notice": self.notice,
            "paused": self.paused,
        }


class PanelMaker:
    """Panels of answers, with smoothed probabilities."""

    def __init__(self, engines: list[Engine], top: int) -> None:
        self._engines, self._top = engines, top
        self.titles = tuple(title_of(engine) for engine in engines)

    def panel(self, answer: Answer) -> Panel:
        """The panel of a new answer; a multi-label network's panel has the answered labels only."""
        index, values = answer.model, answer.probabilities
        card = self._engines[index].classifier.card
        best = np.argsort(-values, kind="stable")
        shown = answer.classes if card.multi_label else best.tolist()
        top = tuple((card.labels[item], float(values[item])) for item in shown[: self._top])
        doubt = "" if answer.classes else word_for_none(card)
        return Panel(self.titles[index], top, self._engines[index].recent() * 1e3, doubt)

    def difference(self, predictions: tuple[Prediction, ...], share: float) -> str:
        """Text that compares the predictions of the first two models for one frame.

        ``share`` is the models' top-1 agreement over all frames so far.
        """
        if len(predictions) < 2:
            return ""
        first, second = (self._named(item) for item in predictions[:2])
        shared = first.keys() & second.keys()
        apart = max((abs(first[name] - second[name]) for name in shared), default=None)
        detail = "no common class" if apart is None else f"largest difference {apart:.1%}"
        names = {self._engines[item.model].names_of(item) for item in predictions[:2]}
        same = len(names) == 1
        word = "same top-1" if same else "different top-1"
        return f"{word}, {detail}; same in {share:.1%} of frames"

    def _named(self, prediction: Prediction) -> dict[str, float]:
        labels = self._engines[prediction.model].classifier.card.labels
        return dict(zip(labels, prediction.probabilities.tolist(), strict=True))


def title_of(engine: Engine) -> str:
    """``efficientnet-lite0 int8, LiteRT``."""
    card, runtime = engine.classifier.card, engine.classifier.runner.info.name
    return f"{card.variant} {card.precision}, {_RUNTIMES.get(runtime, runtime)}"
