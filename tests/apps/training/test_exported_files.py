"""Exported files are measured on photos that the training did not use."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.apps.training import exported_files
from edge_effnet.apps.training.exported_files import measure_exported
from edge_effnet.benchmarks.records import read_results
from edge_effnet.runtime.opening import open_model
from support.colour_models import model, weights
from support.training_runs import colour_run

NAMES = ("10", "'=20", "ros, é")  # a formula's cell has an apostrophe of its own


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("out")
    matrix = weights(classes=3)
    noisy = matrix + np.random.default_rng(1).normal(0, 2, matrix.shape)
    return [
        model(folder / "efficientnet-lite0-fp32.onnx", matrix, labels=NAMES),
        model(folder / "efficientnet-lite0-int8.onnx", noisy, labels=NAMES, precision="int8"),
    ]


def test_files_are_measured_on_the_test_photos(files: list[Path], tmp_path: Path) -> None:
    run = colour_run(tmp_path, NAMES)
    results = measure_exported(run, files, threads=1)
    assert results is not None
    assert results.photos is not None
    assert results.photos.split == "test"
    test = run.data().of("test")
    for file, record in zip(files, results.records, strict=True):
        classify = open_model(file)
        right = sum(classify(sample.path)[0][0] == NAMES[sample.label] for sample in test)
        assert record.top1 == pytest.approx(right / len(test))
        assert record.images == len(test) == 24
    assert results.records[1].agreement is not None
    assert read_results(run.results_file).records == results.records


def test_without_test_photos_the_validation_photos_are_used(
    files: list[Path], tmp_path: Path
) -> None:
    run = colour_run(tmp_path, NAMES, ("train", "val"))
    results = measure_exported(run, files)
    assert results is not None
    assert results.photos is not None
    assert (results.photos.split, results.photos.count) == ("val", 12)


def test_many_photos_are_sampled_from_all_classes(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported_files, "MOST_PHOTOS", 9)
    results = measure_exported(colour_run(tmp_path, NAMES), files)
    assert results is not None
    assert results.records[0].class_images == (3, 3, 3)


def test_without_photos_nothing_is_measured(files: list[Path], tmp_path: Path) -> None:
    run = colour_run(tmp_path, NAMES)
    shutil.rmtree(tmp_path / "photos")
    assert measure_exported(run, files) is None
    assert not run.results_file.exists()


def test_records_of_earlier_exports_stay_while_their_files_are_unchanged(
    files: list[Path], tmp_path: Path
) -> None:
    run = colour_run(tmp_path, NAMES)
    run.model_file.touch()
    float_file, int8_file = (Path(shutil.copy(file, tmp_path)) for file in files)
    other = Path(shutil.copy(files[0], tmp_path / "other.onnx"))
    first = measure_exported(run, [float_file, int8_file], threads=1)
    assert first is not None
    added = measure_exported(run, [other], threads=1)
    assert added is not None
    assert [record.file for record in added.records] == [
        str(other),
        str(float_file),
        str(int8_file),
    ]
    assert added.records[1:] == first.records
    assert read_results(run.results_file).records == added.records
    os.utime(float_file, (time.time() + 60,) * 2)  # written again since
    other_again = measure_exported(run, [other], threads=1)
    assert other_again is not None
    assert [record.file for record in other_again.records] == [str(other), str(int8_file)]
    assert other_again.records[1].top1 == first.records[1].top1
    assert other_again.records[1].agreement is None  # it was that with the earlier float file


def test_records_of_an_earlier_network_do_not_stay(files: list[Path], tmp_path: Path) -> None:
    run = colour_run(tmp_path, NAMES)
    run.model_file.touch()
    earlier = Path(shutil.copy(files[0], tmp_path / "earlier.onnx"))
    measure_exported(run, [earlier], threads=1)
    os.utime(run.model_file, (time.time() + 60,) * 2)  # trained with more epochs
    results = measure_exported(run, files[:1], threads=1)
    assert results is not None
    assert [record.file for record in results.records] == [str(files[0])]


def test_a_damaged_file_of_results_is_replaced(files: list[Path], tmp_path: Path) -> None:
    run = colour_run(tmp_path, NAMES)
    run.results_file.write_text("{")
    results = measure_exported(run, files[:1], threads=1)
    assert results is not None
    assert read_results(run.results_file).records == results.records
