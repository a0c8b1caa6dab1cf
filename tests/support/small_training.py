"""A small training: crops of three real photos as three classes, and Lite0 at 64 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet.apps.training.samples import Sample, Split, TrainingData
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.head import with_new_classifier
from edge_effnet.model import Model

CLASSES = ("astronaut", "chelsea", "coffee")
SIDE = 64
_CROP = 160  # pixels


def photos(folder: Path, train: int = 8, val: int = 6) -> TrainingData:
    """Crops of each photo in ``folder``: ``train`` to learn and ``val`` to validate, per class."""
    data = pytest.importorskip("skimage.data")
    rng = np.random.default_rng(0)
    samples = []
    for label, name in enumerate(CLASSES):
        picture = getattr(data, name)()
        for index in range(train + val):
            y, x = (int(rng.integers(0, side - _CROP)) for side in picture.shape[:2])
            path = folder / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture[y : y + _CROP, x : x + _CROP]).save(path)
            split: Split = "train" if index < train else "val"
            samples.append(Sample(path, f"{name}/{path.name}", label, split))
    return TrainingData(folder, CLASSES, tuple(samples))


def network(classes: tuple[str, ...] = CLASSES) -> Model:
    """Lite0 with ImageNet weights and an untrained head."""
    model = load("lite0", resolution=SIDE)
    graph, weights = with_new_classifier(model.graph, model.weights, len(classes))
    info = replace(model.info, labels=classes)
    return Model(model.variant, graph, weights, info)
