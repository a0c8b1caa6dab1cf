"""The analyze verb: a Model and photos to the quantization noise of each of its layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import cast

from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.plan import Placement, QuantPlan
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.sensitivity.analysis import Analysis
from edge_effnet.calibration.sensitivity.measure import MOST_SAMPLES, layer_sensitivities
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.options import choose, need_photos
from edge_effnet.converters.quantize import Photos, read_calibration
from edge_effnet.errors import UsageError
from edge_effnet.formats import RUNNABLE
from edge_effnet.model import Model
from edge_effnet.progress import Progress


def analyze(
    model: Model,
    calibration: Photos | Samples | None,
    *,
    format: str = "tflite",
    recipe: str = "default",
    threads: int = 0,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Analysis:
    """Measure how much each layer adds to the logits' noise in an int8 file of ``format``.

    Args:
        model: The network to quantize.
        calibration: Photos as `export` takes them; None with a recipe that generates pictures.
        format: tflite, onnx or openvino: they store different tensors as integers.
        recipe: The quantization recipe.
        threads: Compute threads; 0 is one per core.
        progress: Called with (step, done, total).
        notify: Called with each warning; by default it is a Python warning.

    Raises:
        UsageError: An unknown name, no photos, or a plan in their place.
        ImageError: No photo can be used.
        QuantizationError: The network cannot be quantized.
        MissingExtra: ONNX Runtime is not installed.
    """
    (name,) = choose("format", format, RUNNABLE)
    if calibration is None:
        need_photos("int8", recipe)
    if isinstance(calibration, QuantPlan):
        raise UsageError("an analysis needs photos, not a plan: the plan does not hold them")
    report = progress or (lambda step, done, total: None)
    say = notify or (lambda text: warnings.warn(text, stacklevel=3))
    engine = OnnxEngine(threads)
    samples = read_calibration(model, calibration, recipe, engine, report, say)
    quantized = calibrate(model, samples, engine, recipe=recipe, progress=report)
    layers = layer_sensitivities(quantized, engine, samples.pixels, cast(Placement, name), report)
    return Analysis(
        model.variant.name, name, recipe, min(MOST_SAMPLES, len(samples.pixels)), layers
    )
