"""The analyze verb: a Model and photos to the cost of quantizing each of its layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes.dead_channel_reuse import reuse_dead_channels
from edge_effnet.calibration.passes.input_normalization import share_input_normalization
from edge_effnet.calibration.plan import Placement, QuantPlan
from edge_effnet.calibration.quantizer_placement import quantized_tensors
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.sensitivity.analysis import Analysis
from edge_effnet.calibration.sensitivity.measure import MOST_SAMPLES, Sensitivity, sensitivities
from edge_effnet.converters.export import choose, need_photos
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.converters.options import OURS
from edge_effnet.converters.quantize import Photos, material_of
from edge_effnet.errors import UsageError
from edge_effnet.model import Model, fold_batch_norm
from edge_effnet.progress import Progress

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import NDArray


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
    """What each layer of ``model`` costs the logits in an int8 file of ``format``.

    ``calibration`` and ``recipe`` as `export` takes them. Raises `UsageError`, `ImageError`,
    `QuantizationError` or `MissingExtra`.
    """
    (name,) = choose([format], ["int8"])[0]
    need_photos(("int8",), calibration, recipe)
    report = progress or (lambda step, done, total: None)
    engine = OnnxEngine(threads)
    say = notify or (lambda text: warnings.warn(text, stacklevel=3))
    samples = material_of(model, calibration, recipe, OURS, engine, report, say)
    if isinstance(samples, QuantPlan):
        raise UsageError("an analysis needs photos, not a plan: the plan does not hold them")
    folded = fold_batch_norm(model)
    plan = calibrate(folded, samples, engine, recipe=recipe, progress=report)
    found = costs(folded, plan, engine, samples.pixels, name, report)
    looked_at = min(MOST_SAMPLES, len(samples.pixels))
    return Analysis(model.variant.name, name, recipe, looked_at, found)


def costs(
    model: Model,
    plan: QuantPlan,
    engine: OnnxEngine,
    pixels: NDArray[uint8],
    format: str,
    report: Progress,
) -> tuple[Sensitivity, ...]:
    """`sensitivities` of a ``model`` with BN folded, in a file of ``format``."""
    prepared, placement = (
        share_input_normalization(reuse_dead_channels(model)),
        cast(Placement, format),
    )
    return sensitivities(
        prepared,
        plan.for_format(placement),
        engine,
        pixels,
        lambda done, total: report("weigh layers", done, total),
        stored=quantized_tensors(prepared.graph, plan, placement),
    )
