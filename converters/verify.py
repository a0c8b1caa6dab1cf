"""What the gate says of a quantized file: the very bytes that would be kept, run on the samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard, Quantization
from edge_effnet.converters.quantize import Content, Quantized
from edge_effnet.model import Model
from edge_effnet.progress import Progress

if TYPE_CHECKING:
    from edge_effnet.calibration.fidelity import Fidelity
    from edge_effnet.calibration.samples.photos import Samples
    from edge_effnet.converters.onnx_engine import OnnxEngine

_GATE_SAMPLES = 128  # enough to tell a collapse, at under a second a file


@dataclass(frozen=True)
class Gate:
    """Runs the very bytes that would be kept and compares them with the float network."""

    model: Model
    engine: OnnxEngine
    made: Quantized
    threads: int
    force: bool
    say: Callable[[str], None]
    report: Progress

    def checked(
        self, path: Path, card: ModelCard, write: Callable[[ModelCard], Content]
    ) -> Content:
        """The bytes of ``path``. Raises `QuantizationError` if it collapsed, unless forced.

        A plan that comes without photos was checked when it was made, and random weights have no
        answers that could agree: such files pass.
        """
        content = write(card)
        source = self.model.card.source
        if self.made.samples is None or (source is not None and source.kind == "random"):
            return content
        found = self._fidelity(path, card, content)
        if not found.collapsed:
            return content
        if not self.force:
            at_fault = self._at_fault if card.precision == "int8" else ""
            raise found.refusal(path.name, card.variant, at_fault)
        self.say(f"{path.name} collapsed ({found.agreement:.1%} agreement): forced")
        quantization = replace(cast(Quantization, card.quantization), forced=True)
        return write(replace(card, quantization=quantization))

    def _fidelity(self, path: Path, card: ModelCard, content: Content) -> Fidelity:
        from edge_effnet.calibration.fidelity import compare
        from edge_effnet.classifier import Classifier
        from edge_effnet.runtime.opening import create_runner

        runner = create_runner(path, *content, threads=self.threads or os.cpu_count() or 1)
        own = runner.card_text()  # a vendor's file may take another input than was asked for
        card = card if own is None else ModelCard.from_json(own)
        classifier = Classifier(runner, card, path.name)
        logits = [classifier.logits_of_pixels(image) for image in self._pixels]
        return compare(self._reference, np.stack(logits))

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        return cast("Samples", self.made.samples).pixels[:_GATE_SAMPLES]

    @cached_property
    def _at_fault(self) -> str:
        """The layers that cost the logits most, in words; nothing for a vendor's file."""
        if self.made.plan is None:
            return ""
        from edge_effnet.calibration.sensitivity.analysis import worst
        from edge_effnet.converters.analyze import costs

        pixels, report = self._pixels, self.report
        return worst(costs(self.model, self.made.plan, self.engine, pixels, "tflite", report))

    @cached_property
    def _reference(self) -> NDArray[np.float32]:
        output = self.model.graph.output
        run = self.engine.compile_float(self.model.graph, self.model.weights, [output])
        values = self.model.card.preprocess.normalise(self._pixels).transpose(0, 3, 1, 2)
        return np.concatenate([run(np.ascontiguousarray(value[None]))[output] for value in values])
