"""Metrics of a training: accuracy, calibration error, and files that are read as written."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.apps.training.metrics import (
    SCHEMA,
    EpochMetrics,
    Metrics,
    Prediction,
    StageRecord,
    expected_calibration_error,
    measure,
    read_rows,
    write_rows,
)
from edge_effnet.errors import ModelFileError


def test_accuracy_and_loss_of_four_photos() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]], np.float32)
    metrics = measure("head", "val", probabilities, np.array([0, 1, 1, 1]))
    assert (metrics.n, metrics.top1) == (4, 0.75)
    assert metrics.standard_error == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
    assert metrics.loss == pytest.approx(-np.log([0.9, 0.6, 0.2, 0.7]).mean(), rel=1e-6)


def test_calibration_error_is_the_gap_of_confidence_and_accuracy() -> None:
    # 100 photos at 80 % of which 60 are right, and 50 at 100 % that all are: 100/150 * 0.2
    confidences = np.array([0.8] * 100 + [1.0] * 50)
    right = np.array([True] * 60 + [False] * 40 + [True] * 50)
    assert expected_calibration_error(confidences, right) == pytest.approx(0.2 * 100 / 150)


def test_rows_are_read_as_written(tmp_path: Path) -> None:
    epochs = [
        EpochMetrics("head", 1, 0.5, None, None, 0.1, 224, 1.5),
        EpochMetrics("fine_tuning", 2, math.inf, 0.25, 1.0, 1e-5, 192, 60.0),
    ]
    write_rows(tmp_path / "metrics.csv", EpochMetrics, epochs)
    assert read_rows(tmp_path / "metrics.csv", EpochMetrics) == epochs
    predictions = [Prediction('a,"b"/ü\n.jpg', "test", "kaš, a", "b", 0.5, 0.25, "head")]
    write_rows(tmp_path / "predictions.csv", Prediction, predictions)
    assert read_rows(tmp_path / "predictions.csv", Prediction) == predictions
    assert read_rows(tmp_path / "missing.csv", Prediction) == []


def test_a_damaged_row_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("stage,epoch\nhead,one\n")
    with pytest.raises(ModelFileError, match=r"metrics\.csv"):
        read_rows(path, EpochMetrics)


def test_metrics_are_read_as_written(tmp_path: Path) -> None:
    split = measure("head", "test", np.eye(2, dtype=np.float32), np.array([0, 1]))
    metrics = Metrics(SCHEMA, ("a", "b"), (split,), (StageRecord("head", True, 2.0, "C 1"),))
    metrics.write(tmp_path / "metrics.json")
    assert Metrics.read(tmp_path / "metrics.json") == metrics
    assert metrics.of("head", "test") == split
    assert metrics.of("fine_tuning", "test") is None


def test_newer_and_damaged_metrics_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    replace(Metrics(SCHEMA, ()), schema=SCHEMA + 1).write(path)
    with pytest.raises(ModelFileError, match="newer release"):
        Metrics.read(path)
    for text in ("{", json.dumps({"schema": SCHEMA}), "[]"):
        path.write_text(text)
        with pytest.raises(ModelFileError, match=r"metrics\.json"):
            Metrics.read(path)
