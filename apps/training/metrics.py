"""Metrics of a training: a row per epoch, accuracy per stage and split, a prediction per photo."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from edge_effnet import csv_cells, json_text, reading
from edge_effnet.apps.training.samples import Split
from edge_effnet.decoding import decode
from edge_effnet.errors import ModelFileError, reason
from edge_effnet.files import write_text

SCHEMA = 1
Stage = Literal["head", "fine_tuning", "int8_aware"]
STAGES: tuple[Stage, ...] = get_args(Stage)
#: Equal-width confidence bins of the expected calibration error (Guo et al. 2017, section 4).
ECE_BINS = 15
#: Smallest probability in a loss; one float32 softmax can return exactly 0.
_SMALLEST = 1e-12
_ADVICE = "train again"


@dataclass(frozen=True)
class EpochMetrics:
    """One row of metrics.csv.

    Attributes:
        stage: Stage that the epoch belongs to.
        epoch: Number of the epoch within its stage, from 1; for the head, number of the candidate.
        train_loss: Mean training loss, in nats.
        val_loss: Mean cross-entropy on the validation split, in nats; None without labels. For
            ``int8_aware``, the mean divergence from the float network's predictions.
        val_top1: Top-1 accuracy on the validation split, 0..1; None without labels.
        learning_rate: Learning rate at the end of the epoch; for the head, 1 / regularisation.
        image_size: Side of the training images in pixels.
        seconds: Duration.
    """

    stage: Stage
    epoch: int
    train_loss: float
    val_loss: float | None
    val_top1: float | None
    learning_rate: float
    image_size: int
    seconds: float


@dataclass(frozen=True)
class SplitMetrics:
    """Accuracy of one stage's network on one split.

    Attributes:
        stage: The stage.
        split: train, val or test.
        n: Number of photos.
        top1: Top-1 accuracy, 0..1.
        standard_error: Binomial standard error of ``top1``, sqrt(top1 (1 - top1) / n).
        loss: Mean cross-entropy in nats.
        ece: Expected calibration error of the top-1 probability, 0..1, with `ECE_BINS` bins.
    """

    stage: Stage
    split: Split
    n: int
    top1: float
    standard_error: float
    loss: float
    ece: float


@dataclass(frozen=True)
class StageRecord:
    """Duration of a stage and whether its network replaced the previous one.

    Attributes:
        stage: The stage.
        improved: Whether its network replaced that of the previous stage.
        seconds: Duration in seconds, over all interrupted attempts.
        note: One sentence: how the network was trained, or why it was not kept.
    """

    stage: Stage
    improved: bool
    seconds: float
    note: str = ""


@dataclass(frozen=True)
class Metrics:
    """Content of metrics.json.

    Attributes:
        schema: `SCHEMA`.
        class_names: Names of the classes in index order.
        splits: Accuracy per stage and split.
        stages: Duration and result of each stage.
    """

    schema: int
    class_names: tuple[str, ...]
    splits: tuple[SplitMetrics, ...] = ()
    stages: tuple[StageRecord, ...] = ()

    def of(self, stage: Stage, split: Split) -> SplitMetrics | None:
        """The accuracy of ``stage`` on ``split``; None if not measured."""
        return next((e for e in self.splits if (e.stage, e.split) == (stage, split)), None)

    def write(self, path: Path) -> None:
        """Write JSON to ``path``; raises `OutputError` if it cannot be written."""
        write_text(path, json.dumps(asdict(self), indent=1, allow_nan=False) + "\n")

    @classmethod
    def read(cls, path: Path) -> Metrics:
        """The metrics in ``path``.

        Raises:
            ModelFileError: The file is missing, damaged or of a newer schema.
        """
        try:
            content = json_text.parse(reading.read_bytes(path))
        except (OSError, ValueError) as error:
            raise ModelFileError(f"cannot read {path}: {reason(error)}") from error
        metrics: Metrics = decode(cls, content, str(path), _ADVICE, ModelFileError)
        if metrics.schema > SCHEMA:
            raise ModelFileError(f"{path} was written by a newer release: update edge-effnet")
        return metrics


@dataclass(frozen=True)
class Prediction:
    """One row of predictions.csv: the prediction of one stage's network for one photo.

    Attributes:
        file: Name of the photo.
        split: Split of the photo.
        label: Name of its class.
        prediction: Name of the predicted class.
        probability: Probability of the predicted class.
        label_probability: Probability of the photo's class.
        stage: Stage of the network.
    """

    file: str
    split: Split
    label: str
    prediction: str
    probability: float
    label_probability: float
    stage: Stage


def measure(
    stage: Stage, split: Split, probabilities: NDArray[np.float32], labels: NDArray[np.integer[Any]]
) -> SplitMetrics:
    """Accuracy, loss and calibration error of predictions.

    Args:
        stage: Stage of the network.
        split: Split of the photos.
        probabilities: float32 [photos, classes]; rows sum to 1.
        labels: Class indices [photos]; at least one photo.
    """
    n = len(labels)
    right = probabilities.argmax(axis=1) == labels
    top1 = float(right.mean())
    of_label = probabilities[np.arange(n), labels].astype(np.float64)
    return SplitMetrics(
        stage,
        split,
        n,
        top1,
        math.sqrt(top1 * (1 - top1) / n),
        float(-np.log(np.maximum(of_label, _SMALLEST)).mean()),
        expected_calibration_error(probabilities.max(axis=1), right),
    )


def expected_calibration_error(
    confidences: NDArray[np.floating[Any]], right: NDArray[np.bool_]
) -> float:
    """Mean |accuracy - confidence| over `ECE_BINS` bins, weighted by photos (Guo et al. 2017).

    Args:
        confidences: Probability of the predicted class [photos].
        right: Whether the prediction is correct [photos].
    """
    bins = np.clip(np.ceil(confidences * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    difference = right.astype(np.float64) - confidences
    sums = np.bincount(bins, weights=difference, minlength=ECE_BINS)
    return float(np.abs(sums).sum() / len(right))


_Row = TypeVar("_Row", EpochMetrics, Prediction)


def write_rows(path: Path, kind: type[_Row], rows: Iterable[_Row]) -> None:
    """Write metrics.csv (`EpochMetrics`) or predictions.csv (`Prediction`) atomically.

    Args:
        path: The file; an existing one is replaced.
        kind: Type of the rows; its fields are the columns.
        rows: The rows.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(kind)]
    writer.writerow(names)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in names])
    write_text(path, text.getvalue())


def read_rows(path: Path, kind: type[_Row]) -> list[_Row]:
    """The rows that `write_rows` wrote; empty if the file does not exist.

    Raises:
        ModelFileError: The file is damaged.
    """
    if not path.exists():
        return []
    try:
        rows = csv_cells.read_rows(path)
        header = next(rows, [])
        return [kind(**_typed(kind, dict(zip(header, row, strict=False)))) for row in rows if row]
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise ModelFileError(f"cannot read {path}: {reason(error)}; {_ADVICE}") from error


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, str):
        return csv_cells.cell(value)
    return f"{value:.6g}" if isinstance(value, float) else value


def _typed(kind: type[Any], line: dict[str, str]) -> dict[str, Any]:
    """Cells of a CSV line as values of the fields' types, whose names are in annotations."""
    converted: dict[str, Any] = {}
    for field in fields(kind):
        text, annotation = line.get(field.name), str(field.type)
        if text is None:
            continue
        if annotation == "int":
            converted[field.name] = int(text)
        elif annotation.startswith("float"):
            converted[field.name] = float(text) if text else None
        else:
            converted[field.name] = csv_cells.text_of(text)
    return converted
