"""Fidelity check: a finished file against its float network, on calibration samples."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.card import ModelCard, Quantization
from edge_effnet.classifier import class_logits, log_probabilities
from edge_effnet.converters.artifact import Artifact
from edge_effnet.converters.options import ExportOptions
from edge_effnet.converters.quantize import Content, OurQuantized, Quantized
from edge_effnet.model import Model
from edge_effnet.names import INTEGER
from edge_effnet.progress import Progress

if TYPE_CHECKING:
    from edge_effnet.calibration.fidelity import Fidelity
    from edge_effnet.calibration.samples.photos import Samples
    from edge_effnet.converters.onnx_engine import OnnxEngine

_MOST_SAMPLES = 128  # enough to detect a collapsed file, in under a second per file


@dataclass(frozen=True)
class FidelityCheck:
    """Runs the exact bytes to be written and compares the logits with the float network's.

    Attributes:
        model: The float network with BN folded.
        engine: Computes the logits of the float network.
        quantized: The quantized network that the files hold.
        samples: Calibration samples to compare on; None skips the check.
        options: ``force`` and ``threads`` are used.
        say: Called with warnings about forced files.
        report: Called with (stage, done, total) while the noise of the layers is measured.
    """

    model: Model
    engine: OnnxEngine
    quantized: Quantized
    samples: Samples | None
    options: ExportOptions
    say: Callable[[str], None]
    report: Progress

    def verified(
        self, name: str, card: ModelCard, write: Callable[[ModelCard], Content]
    ) -> Artifact:
        """Generate the file ``name`` and compare its logits with the float network's.

        Two cases pass without a check: a finished plan is exported, without samples to compare on,
        or the weights are random and have no meaningful predictions.

        Raises:
            QuantizationError: The file fails the check and ``force`` is off.
        """
        content = write(card)
        source = self.model.info.source
        if self.samples is None or (source is not None and source.kind == "random"):
            return Artifact(name, *content, card)
        fidelity = self._fidelity(name, card, content)
        if not fidelity.collapsed:
            return Artifact(name, *content, card)
        if not self.options.force:
            at_fault = self._at_fault if card.precision in INTEGER else ""
            raise fidelity.refusal(name, card.variant, at_fault)
        self.say(f"{name} collapsed ({fidelity.agreement:.1%} agreement): forced")
        quantization = replace(cast(Quantization, card.quantization), forced=True)
        card = replace(card, quantization=quantization)
        return Artifact(name, *write(card), card)

    def _fidelity(self, name: str, card: ModelCard, content: Content) -> Fidelity:
        from edge_effnet.calibration.fidelity import compare
        from edge_effnet.classifier import Classifier
        from edge_effnet.runtime.opening import create_runner

        threads = self.options.threads or os.cpu_count() or 1
        runner = create_runner(Path(name), *content, threads=threads)
        stored = runner.card_text()  # a vendor's file may have another input than requested
        card = card if stored is None else ModelCard.from_json(stored)
        classifier = Classifier(runner, card, name)
        logits = [classifier.logits_of_pixels(image) for image in self._pixels]
        reference = self._reference
        if card.probabilities and card.output_activation == "softmax":
            reference = log_probabilities(reference)
        return compare(reference, np.stack(logits), card)

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        return cast("Samples", self.samples).pixels[:_MOST_SAMPLES]

    @cached_property
    def _at_fault(self) -> str:
        """Text that lists the layers with the most quantization noise; empty for vendors' files."""
        if not isinstance(self.quantized, OurQuantized):
            return ""
        from edge_effnet.calibration.sensitivity.analysis import worst
        from edge_effnet.calibration.sensitivity.measure import layer_sensitivities

        int8 = self.quantized.models.get("int8") or self.quantized.models["mixed"]
        if not isinstance(int8.plan, QuantPlan):
            return ""
        return worst(layer_sensitivities(int8, self.engine, self._pixels, "tflite", self.report))

    @cached_property
    def _reference(self) -> NDArray[np.float32]:
        return float_logits(self.model, self.engine, self._pixels)


def float_logits(
    model: Model, engine: OnnxEngine, pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Class logits [n, classes] of the float network with BN folded.

    Args:
        model: The network.
        engine: Computes it.
        pixels: uint8 RGB [n, height, width, 3].
    """
    output = model.graph.output
    run = engine.compile_float(model.graph, model.weights, [output])
    values = model.info.preprocess.normalise(pixels).transpose(0, 3, 1, 2)
    rows = [run(np.ascontiguousarray(value[None]))[output] for value in values]
    return class_logits(model.info, np.concatenate(rows))
