"""The label check finds flipped labels, which a head that has learned them does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.apps.training.head.label_check import check_labels
from edge_effnet.apps.training.run_page.suspected_labels import suspected_labels
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.checkpoints import load
from edge_effnet.model import Model
from edge_effnet.progress import ignore_progress
from support.training_runs import colour_run

pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def model() -> Model:
    """A network of random weights: its features still tell colours apart."""
    return load("lite0", weights="random", resolution=32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    folder = tmp_path_factory.mktemp("run")
    return colour_run(folder, repeats=6, noise=12.0, stages=("head",)).data()


def flipped(data: TrainingData, count: int) -> tuple[TrainingData, set[str]]:
    """The data with the labels of ``count`` training photos changed, and the photos' names."""
    samples = list(data.samples)
    places = [n for n, sample in enumerate(samples) if sample.split == "train"]
    chosen = np.random.default_rng(0).choice(places, count, replace=False).tolist()
    for place in chosen:
        samples[place] = replace(samples[place], label=(samples[place].label + 1) % 3)
    return replace(data, samples=tuple(samples)), {samples[place].name for place in chosen}


def test_flipped_labels_are_found(model: Model, data: TrainingData, tmp_path: Path) -> None:
    changed, names = flipped(data, 6)
    rows = check_labels(model, changed, 1.0, cache=tmp_path, threads=1, progress=ignore_progress)
    assert [row.file for row in rows] == [s.name for s in changed.samples if s.split != "test"]
    suspected = {row.file for row in suspected_labels(rows)}
    assert len(suspected & names) >= 4
    assert len(suspected - names) <= 3
    for row in rows:
        assert 0 < row.label_probability <= row.probability <= 1
        assert (row.label_probability == row.probability) == (row.label == row.prediction)


def test_it_is_deterministic(model: Model, data: TrainingData, tmp_path: Path) -> None:
    runs = [
        check_labels(model, data, 1.0, cache=tmp_path, threads=1, progress=ignore_progress)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_a_class_of_one_photo_is_left_out(model: Model, data: TrainingData, tmp_path: Path) -> None:
    """No head that has not seen the photo knows its class."""
    single = next(sample for sample in data.samples if sample.label == 0)
    samples = tuple(s for s in data.samples if s.label != 0 or s is single)
    rows = check_labels(
        model, replace(data, samples=samples), 1.0, cache=tmp_path, threads=1,
        progress=ignore_progress,
    )  # fmt: skip
    assert single.name not in {row.file for row in rows}
    assert {row.label for row in rows} == set(data.class_names[1:])
