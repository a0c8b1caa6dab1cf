"""Accuracy of each class and the confusion of classes, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_effnet.benchmarks.accuracy.evaluate import Evaluation
from edge_effnet.benchmarks.records import Record

#: Limits of the report: rows, files and classes of the matrix; minimum photos of a class.
MOST_ROWS, MOST_FILES, MOST_MATRIX, MOST_PAIRS, LEAST_PHOTOS = 30, 6, 20, 15, 5


@dataclass(frozen=True)
class ClassRow:
    """One class: number of photos, and recall of each file; None if the file has no counts."""

    name: str
    photos: int
    shares: tuple[float | None, ...]


@dataclass(frozen=True)
class ClassTable:
    """Classes sorted by the accuracy of the first of ``records``, lowest first.

    ``rows`` may be cut off; ``total`` is the number of classes with enough photos. ``few`` is the
    number of classes with too few photos.
    """

    records: tuple[Record, ...]
    rows: tuple[ClassRow, ...]
    total: int
    few: int


@dataclass(frozen=True)
class Confusion:
    """Photo counts of ``record`` by true (rows) and predicted (columns) class.

    With many classes, ``counts`` is empty and ``pairs`` has the most frequent mistakes: (true
    class, predicted class, photos).
    """

    record: Record
    names: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[tuple[str, str, int], ...] = ()

    @property
    def largest(self) -> int:
        """Number of photos of the most frequent class."""
        return max((sum(row) for row in self.counts), default=0)


def class_table(
    records: Sequence[Record], classes: Sequence[str], first: Record | None
) -> ClassTable | None:
    """Accuracy of the files on each class with `LEAST_PHOTOS` photos or more.

    Args:
        records: All records.
        classes: Names of the classes.
        first: The record whose accuracy orders the classes, lowest first; by default the first
            record.

    Returns:
        The table; None if no class has enough photos.
    """
    counted = [record for record in records if record.class_images]
    if not counted or len(classes) < 2:
        return None
    leading = first if first in counted else counted[0]
    chosen = [leading, *(r for r in counted if r is not leading and r.is_reference)]
    chosen += [record for record in counted if record not in chosen]  # all other records, in order
    shown = tuple(chosen[:MOST_FILES])
    photos = leading.class_images
    enough = [index for index, count in enumerate(photos) if count >= LEAST_PHOTOS]
    if not enough:
        return None
    ordered = sorted(enough, key=lambda index: (_share(leading, index) or 0.0, index))
    rows = tuple(
        ClassRow(classes[n], photos[n], tuple(_share(record, n) for record in shown))
        for n in ordered[:MOST_ROWS]
    )
    few = sum(0 < count < LEAST_PHOTOS for count in photos)
    return ClassTable(shown, rows, len(enough), few)


def _share(record: Record, index: int) -> float | None:
    count = record.class_images[index]
    return record.class_right[index] / count if count else None


def confusion(evaluation: Evaluation, record: Record | None) -> Confusion | None:
    """Confusion matrix of ``record``; with many classes, its most frequent mistakes.

    Returns:
        The matrix or the mistakes. None without labels and for multi-label networks. With many
        classes, also None if no mistake occurs twice.
    """
    if evaluation.targets is None or not evaluation.records:
        return None
    files = [each.key for each in evaluation.records]
    position = files.index(record.key) if record is not None and record.key in files else 0
    predicted = evaluation.predictions[position].indices[:, 0]
    truth, classes = evaluation.targets, evaluation.classes
    if len(classes) <= MOST_MATRIX:
        counts = np.zeros((len(classes), len(classes)), np.int64)
        known = predicted >= 0
        np.add.at(counts, (truth[known], predicted[known]), 1)
        rows = tuple(tuple(row) for row in counts.tolist())
        return Confusion(evaluation.records[position], classes, rows)
    wrong = (predicted != truth) & (predicted >= 0)
    pairs, times = np.unique(
        np.stack([truth[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True
    )
    order = np.argsort(-times, kind="stable")[:MOST_PAIRS]
    named = tuple(
        (classes[pairs[n][0]], classes[pairs[n][1]], int(times[n])) for n in order if times[n] > 1
    )
    return Confusion(evaluation.records[position], pairs=named) if named else None
