"""The stages of a training: data, head, fine_tuning, int8_aware, metrics.

A stage reads its inputs from the run's folder, writes its results there, and returns the run with
the next stage in its state. A stage that was interrupted is run again; fine-tuning and int8-aware
training go on after their last finished epoch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_effnet.apps.training.continuing import started_again
from edge_effnet.apps.training.dataset.read import read_training_data
from edge_effnet.apps.training.evaluation import (
    predict,
    record_epoch,
    record_predictions,
    record_stages,
)
from edge_effnet.apps.training.head.label_check import check_labels
from edge_effnet.apps.training.head.regression import LinearHead
from edge_effnet.apps.training.head.train_head import train_head
from edge_effnet.apps.training.metrics import EpochMetrics, Prediction, Stage, write_rows
from edge_effnet.apps.training.run import Run, RunStage
from edge_effnet.apps.training.samples import SPLITS, Split, TrainingData
from edge_effnet.apps.training.tuning import can_fine_tune, check_fine_tuning, fine_tuned
from edge_effnet.checkpoints.canonical import save
from edge_effnet.errors import MissingExtra, QuantizationError
from edge_effnet.files import write_bytes
from edge_effnet.heads import CLASSIFIER
from edge_effnet.installation import pip_line
from edge_effnet.model import Model
from edge_effnet.notices import Notify
from edge_effnet.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Packages whose releases are recorded in run.json.
_PACKAGES = ("edge-effnet", "numpy", "onnxruntime", "pillow", "scikit-learn", "timm", "torch")


@dataclass(frozen=True)
class Job:
    """Callbacks and the base network of one call of `train`.

    Attributes:
        base: The base network; None if the run is past the head.
        progress: Called with (step, done, total).
        notify: Called with each sentence for the user.
    """

    base: Model | None
    progress: Progress
    notify: Notify


def run_stages(run: Run, job: Job) -> Run:
    """Run the remaining stages of ``run`` and return the finished run."""
    while run.state.stage != "done":
        run = _STAGES[run.state.stage](run, job)
    return run


def _data(run: Run, job: Job) -> Run:
    settings = run.settings
    assert job.base is not None  # noqa: S101  (the caller loads it for the first two stages)
    data = read_training_data(
        Path(settings.photos),
        labels=_path(settings.labels),
        class_names=_path(settings.class_names),
        seed=settings.seed,
        side=job.base.info.preprocess.size,
        balanced=settings.balanced,
        threads=settings.threads,
        progress=job.progress,
    )
    describe_data(data, settings.seed, job.notify)
    check_fine_tuning(job.base, settings, data.class_names)
    run = replace(started_again(run), class_names=data.class_names, versions=_versions())
    run.write_data(data)
    return run.with_state(stage="head")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def describe_data(data: TrainingData, seed: int, notify: Notify) -> None:
    """Tell the numbers of classes and photos, and each finding."""
    parts = ", ".join(
        f"{len(data.of(split))} {name}"
        for split, name in zip(SPLITS, ("training", "validation", "test"), strict=True)
    )
    notify(f"{len(data.class_names)} classes, {len(data.samples):,} photos: {parts} (seed {seed})")
    for finding in data.findings:
        notify(finding.message)


def _head(run: Run, job: Job) -> Run:
    data, settings, base = run.data(), run.settings, job.base
    assert base is not None  # noqa: S101  (the caller loads it for the first two stages)
    with _timed(run, "head") as seconds:
        if base.info.untrained and can_fine_tune():
            from edge_effnet.apps.training.derived import start

            base = start(run, base, data, job.notify, job.progress)
        trained = train_head(
            base,
            data,
            cache=run.folder / "features",
            balanced=settings.balanced,
            prior=_prior(base, data.class_names) if settings.keep_rows else None,
            threads=settings.threads,
            on_epoch=lambda row: record_epoch(run, row),
            progress=job.progress,
        )
        save(trained.model, run.head_file)
        save(trained.start, run.start_file)
        measured = replace(trained.final.info, untrained=False)  # the head fits its features
        save(replace(trained.final, info=measured), run.model_file)
        checked = check_labels(
            base,
            data,
            trained.c,
            cache=run.folder / "features",
            seed=settings.seed,
            balanced=settings.balanced,
            threads=settings.threads,
            progress=job.progress,
        )
        write_rows(run.label_check_file, Prediction, checked)
        networks: dict[Split, Model] = dict.fromkeys(SPLITS, trained.model)
        networks["test"] = trained.final
        _measure(run, data, "head", networks, job.progress)
    note = f"logistic regression, C = {trained.c:g}"
    if data.of("test"):
        note += (
            "; the test accuracy is that of the exported head, fitted to the training and "
            "validation photos"
        )
    if settings.recipe == "head":
        following: RunStage = "metrics"
    elif can_fine_tune():
        following = "fine_tuning"
    else:
        following = "metrics"
        job.notify(
            "only the head was trained: fine-tuning needs the extra 'train': "
            f"{pip_line('train')}; then train with more=10"
        )
    return _finished(run, "head", True, note, seconds(), following)


def _prior(base: Model, class_names: tuple[str, ...]) -> LinearHead:
    """The base's classifier with its rows by class name; zero for new classes."""
    weight, bias = (base.weights[f"{CLASSIFIER}.{part}"] for part in ("weight", "bias"))
    prior = LinearHead(np.zeros((len(class_names), weight.shape[1])), np.zeros(len(class_names)))
    rows = {name: row for row, name in enumerate(base.info.labels)}
    for index, name in enumerate(class_names):
        if name in rows:
            prior.weight[index], prior.bias[index] = weight[rows[name]], bias[rows[name]]
    return prior


def _fine_tuning(run: Run, job: Job) -> Run:
    with _timed(run, "fine_tuning") as seconds:
        tuned = fine_tuned(run, lambda row: _epoch(run, row, seconds()), job.progress)
        improved = tuned.model is not tuned.head
        if improved:
            save(tuned.final, run.fine_tuned_file)
            write_bytes(run.model_file, run.fine_tuned_file.read_bytes())
            networks: dict[Split, Model] = dict.fromkeys(SPLITS, tuned.model)
            networks["test"] = tuned.final
            _measure(run, run.data(), "fine_tuning", networks, job.progress)
    note = "no epoch was better than the head"
    if improved:
        note = f"recipe {run.settings.recipe}"
        if tuned.final is not tuned.model and run.data().of("test"):
            note += (
                "; the test accuracy is that of the exported network, trained again with the "
                "validation photos"
            )
    following: RunStage = "int8_aware" if run.settings.int8_aware else "metrics"
    return _finished(run, "fine_tuning", improved, note, seconds(), following)


def _int8_aware(run: Run, job: Job) -> Run:
    from edge_effnet.apps.training.int8_aware.photos import Photos
    from edge_effnet.apps.training.int8_aware.refine import refine
    from edge_effnet.apps.training.int8_aware.refinement import RefineSettings
    from edge_effnet.converters.quantize import calibrate

    data, settings, model = run.data(), run.settings, run.model()
    train, held_out = (
        Photos(tuple(sample.path for sample in data.of(split)), tuple(data.labels(split).tolist()))
        for split in SPLITS[:2]
    )
    with _timed(run, "int8_aware") as seconds:
        try:
            quantized = calibrate(
                model,
                train.paths,
                threads=settings.threads,
                progress=job.progress,
                notify=job.notify,
            )
        except QuantizationError as error:  # the float network is good all the same
            return _finished(run, "int8_aware", False, str(error), seconds(), "metrics")
        result = refine(
            quantized,
            model,
            train,
            held_out,
            RefineSettings(seed=settings.seed, threads=settings.threads, device=settings.device),
            state=run.state_file("int8_aware"),
            on_epoch=lambda row: _epoch(run, row, seconds()),
            progress=job.progress,
        )
        if result.improved:
            result.quantized.save(run.quantized_file)
            _measure_int8(run, data)
    return _finished(run, "int8_aware", result.improved, result.note, seconds(), "metrics")


def _measure_int8(run: Run, data: TrainingData) -> None:
    """Record the accuracy of the int8 .onnx file of the quantized network."""
    from edge_effnet.calibration.quantized_model import QuantizedModel
    from edge_effnet.converters.export import export
    from edge_effnet.runtime.opening import open_model

    with tempfile.TemporaryDirectory() as folder:
        (file,) = export(
            QuantizedModel.load(run.quantized_file),
            formats="onnx",
            precisions="int8",
            out=folder,
            progress=False,
            force=True,
            notify=lambda text: None,
        )
        classifier = open_model(file, threads=run.settings.threads or None)
        splits: tuple[Split, ...] = ("val", "test")
        predictions = {
            split: classifier.probabilities([sample.path for sample in data.of(split)])
            for split in splits
        }
    record_predictions(run, data, "int8_aware", predictions)


def _metrics(run: Run, job: Job) -> Run:
    """Write the page, if its packages are installed."""
    from edge_effnet.apps.training.run_page.page import write_page

    record_stages(run)
    run = run.with_state(stage="done", epoch=0)
    try:
        write_page(run)
    except MissingExtra as error:
        job.notify(f"{run.page_file.name} was not written: {error}")
    return run


_STAGES: dict[str, Callable[[Run, Job], Run]] = {
    "data": _data,
    "head": _head,
    "fine_tuning": _fine_tuning,
    "int8_aware": _int8_aware,
    "metrics": _metrics,
}


def _measure(
    run: Run, data: TrainingData, stage: Stage, networks: dict[Split, Model], progress: Progress
) -> None:
    """Record the predictions of a stage's network for each split."""
    predictions = {
        split: predict(
            model, [sample.path for sample in data.of(split)], run.settings.threads, progress
        )
        for split, model in networks.items()
    }
    record_predictions(run, data, stage, predictions)


def _epoch(run: Run, row: EpochMetrics, seconds: float) -> None:
    """Record a finished epoch."""
    record_epoch(run, row)
    run.with_state(epoch=row.epoch, seconds={**run.state.seconds, row.stage: seconds})


@contextmanager
def _timed(run: Run, stage: Stage) -> Iterator[Callable[[], float]]:
    """A function that returns the seconds spent in ``stage``, earlier attempts included."""
    start, earlier = time.monotonic(), run.state.seconds.get(stage, 0.0)
    yield lambda: earlier + time.monotonic() - start


def _finished(
    run: Run, stage: Stage, improved: bool, note: str, seconds: float, following: RunStage
) -> Run:
    """The run with the result of ``stage`` in its state, written to the folder."""
    state = run.state
    run = run.with_state(
        stage=following,
        epoch=0,
        seconds={**state.seconds, stage: round(seconds, 1)},
        improved={**state.improved, stage: improved},
        notes={**state.notes, stage: note},
    )
    record_stages(run)
    return run


def _versions() -> dict[str, str]:
    releases = {}
    for package in _PACKAGES:
        try:
            releases[package] = version(package)
        except PackageNotFoundError:
            continue
    return releases
