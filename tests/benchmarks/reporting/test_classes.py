"""Class by class: weakest classes, confusions, photos that every file gets wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from edge_effnet.benchmarks.accuracy.dataset import Photo
from edge_effnet.benchmarks.accuracy.evaluate import Evaluation
from edge_effnet.benchmarks.accuracy.predictions import Predictions
from edge_effnet.benchmarks.records import PhotoSet, Record
from edge_effnet.benchmarks.reporting import page
from edge_effnet.benchmarks.reporting.classes import class_table, confusion
from support.colour_models import photos


def record(file: str, right: tuple[int, ...], images: tuple[int, ...], **more: object) -> Record:
    base = Record(file, "efficientnet-lite0", "onnx", "int8")
    return base.with_(class_images=images, class_right=right, **more)


def evaluation(
    folder: Path, truth: list[int], predicted: list[list[int]], classes: int
) -> Evaluation:
    paths = photos(folder, len(truth))
    predictions = tuple(
        Predictions(np.array([[n] for n in row], np.int32), np.full((len(row), 1), 0.5, np.float32))
        for row in predicted
    )
    return Evaluation(
        records=tuple(record(f"{n}.onnx", (), ()) for n in range(len(predicted))),
        predictions=predictions,
        references=(None,) * len(predicted),
        photos=tuple(Photo(path, path.name, "x") for path in paths),
        targets=np.array(truth, np.int32),
        classes=tuple(f"class {n}" for n in range(classes)),
        photo_set=PhotoSet(str(folder), len(truth), True),
    )


def test_the_weakest_classes_of_the_first_file_lead() -> None:
    images = (10, 4, 20, 5, 0)
    float32 = record("a", (9, 4, 20, 5, 0), images).with_(reference="a")
    int8 = record("b", (5, 0, 20, 1, 0), images)
    found = class_table([float32, int8], ("a", "b", "c", "d", "e"), int8)
    assert found is not None
    assert found.records == (int8, float32)
    assert [(row.name, row.photos, row.shares) for row in found.rows] == [
        ("d", 5, (0.2, 1.0)),
        ("a", 10, (0.5, 0.9)),
        ("c", 20, (1.0, 1.0)),
    ]
    assert (found.total, found.few) == (3, 1)
    assert class_table([record("a", (1, 1), (4, 4))], ("a", "b"), None) is None
    assert class_table([record("a", (), ())], ("a", "b"), None) is None


def test_the_matrix_counts_label_by_prediction(tmp_path: Path) -> None:
    found = evaluation(tmp_path, [0, 0, 1, 1, 1], [[0, 1, 1, 0, -1]], 2)
    matrix = confusion(found, None)
    assert matrix is not None
    assert matrix.counts == ((1, 1), (1, 1))
    assert matrix.names == ("class 0", "class 1")


def test_of_many_classes_the_mistakes_that_repeat(tmp_path: Path) -> None:
    found = evaluation(tmp_path, [3, 3, 3, 5, 7], [[4, 4, 3, 3, 7], [3, 3, 3, 5, 7]], 50)
    mistakes = confusion(found, found.records[0])
    assert mistakes is not None
    assert mistakes.pairs == (("class 3", "class 4", 2),)
    assert confusion(found, found.records[1]) is None


def test_photos_that_every_file_gets_wrong(tmp_path: Path) -> None:
    truth = [0] * 12
    first, second = [1] * 11 + [0], [0] + [1] * 11
    found = page._always_wrong(evaluation(tmp_path, truth, [first, second], 2))
    assert found.count == 10
    assert len(found.examples) == page.PHOTOS
    assert all(not each.right for example in found.examples for each in example.predictions)
    assert page._always_wrong(evaluation(tmp_path, truth, [first], 2)).count == 0
