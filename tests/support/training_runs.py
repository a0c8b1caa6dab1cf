"""Folders of trainings in milliseconds: softmax regression on the mean colours of real files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edge_effnet.apps.training.metrics import (
    EpochMetrics,
    Metrics,
    Prediction,
    SplitMetrics,
    Stage,
    StageRecord,
    measure,
    write_rows,
)
from edge_effnet.apps.training.run import Run, RunState
from edge_effnet.apps.training.samples import SPLITS, Finding, Sample, Split, TrainingData
from edge_effnet.apps.training.settings import Settings

#: Epochs of the stages that follow the head's three candidates.
_EPOCHS = {"fine_tuning": 6, "int8_aware": 2}


def colour_run(
    folder: Path,
    class_names: Sequence[str] = ("rose", "tulip", "daisy"),
    parts: Sequence[Split] = ("train", "train", "train", "val", "test", "test"),
    *,
    repeats: int = 4,
    noise: float = 40.0,
    wrong: int = 0,
    stages: Sequence[Stage] = ("head", "fine_tuning"),
    steps: int = 40,
    findings: Sequence[Finding] = (),
) -> Run:
    """A finished run on photos of one colour each.

    Args:
        folder: Folder of the run; the photos lie in ``photos`` beside its files.
        class_names: Names of the classes.
        parts: Splits of a class's photos, repeated ``repeats`` times.
        repeats: Number of repetitions.
        noise: Standard deviation of a photo's colour around that of its class.
        wrong: Number of photos of the first class whose colour is that of the second.
        stages: Stages of the training.
        steps: Gradient steps of an epoch.
        findings: Observations about the photos.
    """
    rng = np.random.default_rng(0)
    photos = folder / "photos"
    centres = rng.uniform(40, 215, (len(class_names), 3))
    samples, colours = [], []
    for label in range(len(class_names)):
        for number, split in enumerate([*parts] * repeats):
            name = f"{label:03}/{number:03}.png"
            shown = 1 if label == 0 and number < wrong else label
            colour = np.clip(centres[shown] + rng.normal(0, noise, 3), 0, 255).astype(np.uint8)
            path = photos / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (24, 16), tuple(colour.tolist())).save(path)
            samples.append(Sample(path, name, label, split))
            colours.append(colour / 255 - 0.5)
    data = TrainingData(photos, tuple(class_names), tuple(samples), tuple(findings))
    settings = Settings(str(photos), "efficientnet-lite0")
    run = Run(folder, settings, tuple(class_names), RunState("done"), "ab" * 32, {"numpy": "2"})
    run.write().write_data(data)
    _train(run, data, np.array(colours), stages, steps)
    return run


def _train(
    run: Run, data: TrainingData, colours: np.ndarray, stages: Sequence[Stage], steps: int
) -> None:
    features = np.hstack([colours, np.ones((len(colours), 1))])
    labels = np.array([sample.label for sample in data.samples])
    trained = np.array([sample.split == "train" for sample in data.samples])
    places = {
        split: [n for n, s in enumerate(data.samples) if s.split == split] for split in SPLITS
    }
    weights = np.zeros((features.shape[1], len(data.class_names)))
    epochs: list[EpochMetrics] = []
    predictions: list[Prediction] = []
    splits: list[SplitMetrics] = []
    for stage in stages:
        for epoch in range(1, _EPOCHS.get(stage, 3) + 1):
            for _ in range(steps):
                error = (
                    _softmax(features[trained] @ weights)
                    - np.eye(weights.shape[1])[labels[trained]]
                )
                weights -= 4 * features[trained].T @ error / max(1, trained.sum())
            probabilities = _softmax(features @ weights).astype(np.float32)
            train, val = (
                measure(stage, split, probabilities[places[split]], labels[places[split]])
                if places[split]
                else None
                for split in ("train", "val")
            )
            epochs.append(
                EpochMetrics(
                    stage, epoch, train.loss if train else 0.0, val.loss if val else None,
                    val.top1 if val else None, 10.0 ** (epoch - 3), 24, 0.1,
                )
            )  # fmt: skip
        for split in SPLITS:
            if not places[split]:
                continue
            rows = probabilities[places[split]]
            splits.append(measure(stage, split, rows, labels[places[split]]))
            for place, row in zip(places[split], rows, strict=True):
                best, label = int(row.argmax()), int(labels[place])
                predictions.append(
                    Prediction(
                        data.samples[place].name, split, data.class_names[label],
                        data.class_names[best], float(row[best]), float(row[label]), stage,
                    )
                )  # fmt: skip
    write_rows(run.epochs_file, EpochMetrics, epochs)
    write_rows(run.predictions_file, Prediction, predictions)
    records = tuple(StageRecord(stage, True, 65.2, "It was better.") for stage in stages)
    Metrics(1, data.class_names, tuple(splits), records).write(run.metrics_file)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))
