"""Predictions of the networks of a run, and their accuracy per stage and split."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.metrics import (
    SCHEMA,
    STAGES,
    EpochMetrics,
    Metrics,
    Prediction,
    Stage,
    StageRecord,
    measure,
    write_rows,
)
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.samples import Split, TrainingData
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.classifier import probabilities
from edge_effnet.model import Model
from edge_effnet.progress import Progress

_BATCH = 8  # photos in memory at a time


def predict(
    model: Model, paths: Sequence[Path], threads: int, progress: Progress
) -> NDArray[np.float32]:
    """Probabilities of photos by ONNX Runtime, float32 [photos, classes].

    Args:
        model: The network.
        paths: Photo files.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total).

    Raises:
        ImageError: A photo cannot be read.
    """
    from edge_effnet.converters.onnx_engine import OnnxEngine

    folded = fold_batch_norm(model)
    output = folded.graph.output
    run = OnnxEngine(threads).compile_float(folded.graph, folded.weights, [output])
    preprocess, rows = model.info.preprocess, [np.empty((0, model.classes), np.float32)]
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        for start in range(0, len(paths), _BATCH):
            pixels = np.stack([*pool.map(preprocess.exact_pixels, paths[start : start + _BATCH])])
            batch = preprocess.normalise(pixels).transpose(0, 3, 1, 2)
            rows.append(run(np.ascontiguousarray(batch))[output])
            progress("measure the accuracy", start + len(pixels), len(paths))
    return probabilities(model.info, np.concatenate(rows))


def record_predictions(
    run: Run, data: TrainingData, stage: Stage, predictions: Mapping[Split, NDArray[np.float32]]
) -> None:
    """Replace the rows of ``stage`` in predictions.csv, and its accuracy in metrics.json.

    Args:
        run: The run.
        data: Its photos.
        stage: The stage whose network predicted.
        predictions: Probabilities [photos, classes] by split, in the order of ``data.of(split)``.
    """
    rows = [row for row in run.predictions() if row.stage != stage]
    splits = [each for each in _metrics(run).splits if each.stage != stage]
    for split, values in predictions.items():
        if not len(values):
            continue
        splits.append(measure(stage, split, values, data.labels(split)))
        for sample, row in zip(data.of(split), values, strict=True):
            best = int(row.argmax())
            rows.append(
                Prediction(
                    sample.name,
                    split,
                    data.class_names[sample.label],
                    data.class_names[best],
                    float(row[best]),
                    float(row[sample.label]),
                    stage,
                )
            )
    write_rows(run.predictions_file, Prediction, rows)
    splits.sort(key=lambda each: STAGES.index(each.stage))
    Metrics(SCHEMA, run.class_names, tuple(splits), _metrics(run).stages).write(run.metrics_file)


def record_stages(run: Run) -> None:
    """Write duration, result and note of each finished stage to metrics.json."""
    state = run.state
    stages = tuple(
        StageRecord(
            stage,
            state.improved[stage],
            round(state.seconds.get(stage, 0.0), 1),
            state.notes.get(stage, ""),
        )
        for stage in STAGES
        if stage in state.improved
    )
    Metrics(SCHEMA, run.class_names, _metrics(run).splits, stages).write(run.metrics_file)


def record_epoch(run: Run, row: EpochMetrics) -> None:
    """Add ``row`` to metrics.csv; it replaces a row of the same stage and epoch."""
    rows = [each for each in run.epochs() if (each.stage, each.epoch) != (row.stage, row.epoch)]
    rows.append(row)
    rows.sort(key=lambda each: (STAGES.index(each.stage), each.epoch))
    write_rows(run.epochs_file, EpochMetrics, rows)


def forget_stages(run: Run, stages: Sequence[Stage]) -> None:
    """Remove all rows of ``stages`` from metrics.csv, metrics.json and predictions.csv."""
    metrics = _metrics(run)
    Metrics(
        SCHEMA,
        metrics.class_names,
        tuple(each for each in metrics.splits if each.stage not in stages),
        tuple(each for each in metrics.stages if each.stage not in stages),
    ).write(run.metrics_file)
    epochs = [each for each in run.epochs() if each.stage not in stages]
    write_rows(run.epochs_file, EpochMetrics, epochs)
    predictions = [each for each in run.predictions() if each.stage not in stages]
    write_rows(run.predictions_file, Prediction, predictions)


def _metrics(run: Run) -> Metrics:
    return run.metrics() if run.metrics_file.is_file() else Metrics(SCHEMA, run.class_names)
