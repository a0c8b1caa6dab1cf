"""Analysis of a model: the quantization noise of each of its layers."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.plan import QuantizerPlacement, QuantPlan, WeightOnlyPlan
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.sensitivity.analysis import Analysis
from edge_effnet.calibration.sensitivity.measure import MOST_SAMPLES, layer_sensitivities
from edge_effnet.checkpoints import WeightsLike, as_model
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.options import ExportOptions, choose
from edge_effnet.converters.quantize import Photos, check_calibration, read_calibration
from edge_effnet.errors import UsageError
from edge_effnet.formats import RUNNABLE
from edge_effnet.model import Model
from edge_effnet.names import RecipeName, RunnableFormat
from edge_effnet.notices import Notify, warn
from edge_effnet.progress import ProgressOption, reporting


def analyze(
    model: Model | WeightsLike,
    calibration: Photos | Samples | None = None,
    *,
    format: RunnableFormat = "tflite",
    recipe: RecipeName = "default",
    threads: int = 0,
    progress: ProgressOption = None,
    notify: Notify | None = None,
) -> Analysis:
    """Quantization noise that each layer adds to the logits of an int8 file of ``format``.

    It is measured on up to `MOST_SAMPLES` of the photos, which are not used for calibration.

    Args:
        model: The network to quantize, or a checkpoint that `load("auto", ...)` accepts.
        calibration: Photos as in `export`; None with the recipe ``fast``, which generates images.
        format: tflite, onnx or openvino. Each format stores other tensors quantized.
        recipe: The quantization recipe.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total). By default progress bars appear in notebooks
            and terminals; False shows none.
        notify: Called with each warning; None issues Python warnings.

    Returns:
        The noise of each layer; ``ranked`` has the layers sorted, noisiest first.

    Raises:
        UsageError: A name is unknown, or ``calibration`` is missing or is a plan.
        ImageError: No photo can be used.
        QuantizationError: The network cannot be quantized.
        MissingExtra: ONNX Runtime is not installed.

    Example:
        >>> analyze(model, "photos/").ranked[0]  # doctest: +SKIP
    """
    options = ExportOptions.create(choose("format", format, RUNNABLE), ("int8",), recipe=recipe,
                                   threads=threads)  # fmt: skip
    (name,) = options.formats
    options.need_photos(calibration)
    if isinstance(calibration, QuantPlan | WeightOnlyPlan):
        raise UsageError("an analysis needs photos, not a plan: the plan does not hold them")
    check_calibration(calibration)
    model = as_model(model, notify)
    engine = OnnxEngine(threads)
    with reporting(progress) as report:
        samples = read_calibration(model, calibration, recipe, engine, report, notify or warn)
        used, held_out = _hold_out(samples)
        quantized = calibrate(model, used, engine, recipe=recipe, progress=report)
        layers = layer_sensitivities(
            quantized, engine, held_out, cast(QuantizerPlacement, name), report
        )
    return Analysis(model.variant.name, name, recipe, len(held_out), layers)


def _hold_out(samples: Samples) -> tuple[Samples, NDArray[np.uint8]]:
    """The samples to calibrate on, and the pixels of up to a quarter of them to measure on.

    On the photos that its layers are fitted to, a quantized network is too good: B0 by 3 dB. Fewer
    than four samples serve as both.
    """
    count = len(samples.pixels)
    if count < 4:
        return samples, samples.pixels
    chosen = np.arange(0, count, max(4, count // MOST_SAMPLES))[:MOST_SAMPLES]
    rest = np.delete(samples.pixels, chosen, axis=0)
    return replace(samples, pixels=rest), samples.pixels[chosen]
