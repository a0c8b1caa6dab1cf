"""Out-of-fold predictions of the head, which reveal wrong labels of the photos it is trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.head.features import photo_features
from edge_effnet.apps.training.head.regression import fit
from edge_effnet.apps.training.metrics import Prediction
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.model import Model
from edge_effnet.progress import Progress

FOLDS = 5
STEP = "check the labels"


def check_labels(
    model: Model,
    data: TrainingData,
    c: float,
    *,
    cache: Path,
    seed: int = 0,
    balanced: bool = False,
    threads: int = 0,
    progress: Progress,
) -> list[Prediction]:
    """Predictions for each training and validation photo by a head that has not seen the photo.

    A head fits the labels of its own photos, wrong ones included. Here the photos are divided into
    `FOLDS` parts, and each part is predicted by a head that was fitted to the others. A class whose
    photos are all in one part has no prediction.

    Args:
        model: The network; its classifier is not used.
        data: The photos.
        c: Inverse regularisation.
        cache: Folder of cached features.
        seed: Seed of the parts.
        balanced: Whether every class has the same total weight in the loss.
        threads: Compute threads; 0 is one per core.
        progress: Called with (stage, done, total).

    Returns:
        Rows of the stage ``head``, in the order of ``data``.

    Raises:
        ImageError: A photo cannot be read.
        MissingExtra: ONNX Runtime or scikit-learn is not installed.
        OutputError: The cache cannot be written.
    """
    samples = [sample for sample in data.samples if sample.split != "test"]
    labels = np.array([sample.label for sample in samples], np.int64)
    paths = [sample.path for sample in samples]
    features = photo_features(model, paths, cache, threads=threads, progress=progress)
    folds = _folds(labels, seed)
    probabilities = np.zeros((len(samples), len(data.class_names)), np.float32)
    for fold in range(FOLDS):
        trained, judged = folds != fold, folds == fold
        known, targets = np.unique(labels[trained], return_inverse=True)
        if len(known) > 1 and judged.any():
            head = fit(features[trained], targets, len(known), c, balanced=balanced)
            rows = np.flatnonzero(judged)
            probabilities[np.ix_(rows, known)] = head.probabilities(features[judged, 0])
        progress(STEP, fold + 1, FOLDS)
    return [
        Prediction(
            sample.name,
            sample.split,
            data.class_names[sample.label],
            data.class_names[int(row.argmax())],
            float(row.max()),
            float(row[sample.label]),
            "head",
        )
        for sample, row in zip(samples, probabilities, strict=True)
        if row[sample.label] > 0
    ]


def _folds(labels: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Part of each photo, 0 to `FOLDS` - 1; the photos of a class are spread over all parts."""
    rng = np.random.default_rng(seed)
    folds = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        folds[places] = (np.arange(len(places)) + rng.integers(FOLDS)) % FOLDS
    return folds
