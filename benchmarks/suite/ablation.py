"""Ablation: accuracy of int8 files as quantization steps are enabled one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.records import Record
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.passes.prepare import prepare
from edge_effnet.calibration.recipes import RECIPES, Recipe
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.weights.reconstruction import Method
from edge_effnet.converters.export import export
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.files import PathLike
from edge_effnet.formats import RUNNABLE, title_of
from edge_effnet.model import Model
from edge_effnet.names import FormatName
from edge_effnet.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from rich.table import Table

_NEAREST = Method(weight_correction=False, gptq=False, bias_correction=False)
_GPTQ = Method(weight_correction=False, bias_correction=False)
_BIAS = Method(weight_correction=False)

#: The steps, in the order of the table. Each step includes all earlier steps; only the last does
#: not.
STEPS = (
    Recipe("min-max", "min-max ranges, nearest rounding", _NEAREST, ranges="min-max"),
    Recipe("own-error", "+ range search, own error", _NEAREST, ranges="own-error"),
    Recipe("channel-weighted", "+ range search, error after the next convolution", _NEAREST),
    Recipe("gptq", "+ GPTQ", _GPTQ),
    Recipe("bias-correction", "+ bias correction", _BIAS),
    Recipe("weight-correction", "+ least-squares weight correction"),
    Recipe("default", "+ ranges by the noise on the logits (default)", refined_ranges=True),
    Recipe(
        "best",
        "+ fused sigmoid gating, twice the sample positions (best)",
        refined_ranges=True,
        positions=RECIPES["best"].positions,
        fused_gates=True,
    ),
    Recipe("default-own-error", "default with range search by own error", ranges="own-error"),
)


@dataclass(frozen=True)
class StepAccuracy:
    """Accuracy of the int8 files of one step; ``records`` has one `Record` per format."""

    name: str
    summary: str
    records: tuple[Record, ...]


def measure(
    model: Model,
    samples: Samples,
    images: PathLike,
    labels: PathLike | None = None,
    split: str | None = None,
    *,
    steps: Sequence[Recipe] = STEPS,
    formats: Sequence[str] = RUNNABLE,
    threads: int = 0,
    progress: Progress | None = None,
) -> tuple[StepAccuracy, ...]:
    """Quantize ``model`` once for each step and evaluate its files on the same photos.

    Args:
        model: The float network.
        samples: Calibration samples, the same for every step.
        images: Folder of the photos to evaluate on.
        labels: CSV with the labels of these photos; agreement and SQNR do not need labels.
        split: Use the photos of this split only.
        steps: The recipes to compare.
        formats: Formats to write.
        threads: Threads of the calibration engine; 0 for all cores.
        progress: Called with ("quantize" or "photos", done, total).

    Returns:
        One entry for each step, in order.

    Raises:
        EdgeEffNetError: The photos cannot be used, or an extra is missing.
    """
    report = progress or ignore_progress
    prepared, engine = prepare(model), OnnxEngine(threads)
    files: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        (reference,) = export(model, formats=["onnx"], precisions=["fp32"], out=out, progress=False)
        for done, step in enumerate(steps, start=1):
            paths = export(
                calibrate(prepared, samples, engine, recipe=step),
                formats=cast("Sequence[FormatName]", formats),
                precisions=["int8"],
                out=out / step.name,
                force=True,  # low agreement is a valid result here
                progress=False,
                notify=lambda text: None,
            )
            files += map(str, paths)
            report("quantize", done, len(steps))
        evaluation = evaluate(files, images, labels, split, reference, progress=report)
    count = len(files) // len(steps)
    return tuple(
        StepAccuracy(step.name, step.summary, evaluation.records[start : start + count])
        for step, start in zip(steps, range(0, len(files), count), strict=True)
    )


def table(results: Sequence[StepAccuracy], title: str) -> Table:
    """Agreement in percent and SQNR in dB by format, one row per step, for the terminal."""
    from rich import box
    from rich.table import Table

    rich_table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    rich_table.add_column("step")
    for record in results[0].records:
        rich_table.add_column(f"{title_of(record.format)}\n%, dB", justify="right", no_wrap=True)
    for step in results:
        cells = [
            f"{formatting.percent(record.agreement)}, {formatting.decibels(record.sqnr_db)}"
            for record in step.records
        ]
        rich_table.add_row(step.summary, *cells)
    return rich_table
