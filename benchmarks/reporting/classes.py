"""Accuracy class by class, and the classes that are taken for one another, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_effnet.benchmarks.accuracy.evaluate import Evaluation
from edge_effnet.benchmarks.records import Record

#: Rows, files and matrix classes shown at most, and the photos that a class needs to be shown.
MOST_ROWS, MOST_FILES, MOST_MATRIX, MOST_PAIRS, LEAST_PHOTOS = 30, 6, 20, 15, 5


@dataclass(frozen=True)
class ClassRow:
    """One class: its photos, and the accuracy of each file on them (recall), None unknown."""

    name: str
    photos: int
    shares: tuple[float | None, ...]


@dataclass(frozen=True)
class ClassTable:
    """Classes with the lowest accuracy of ``record`` first, and how many there are in all."""

    records: tuple[Record, ...]
    rows: tuple[ClassRow, ...]
    total: int
    few: int


@dataclass(frozen=True)
class Confusion:
    """Counts of photos of ``record`` by true (rows) and predicted class, or the largest alone."""

    record: Record
    names: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[tuple[str, str, int], ...] = ()

    @property
    def largest(self) -> int:
        """The largest number of photos of one class."""
        return max((sum(row) for row in self.counts), default=0)


def class_table(
    records: Sequence[Record], classes: Sequence[str], first: Record | None
) -> ClassTable | None:
    """Accuracy of the files on each class with `LEAST_PHOTOS` photos or more.

    Args:
        records: All records.
        classes: Names of the classes.
        first: The record whose weakest classes come first; by default the first one.

    Returns:
        The table; None if no class has enough photos.
    """
    counted = [record for record in records if record.class_images]
    if not counted or len(classes) < 2:
        return None
    leading = first if first in counted else counted[0]
    chosen = [leading, *(r for r in counted if r is not leading and r.is_reference)]
    chosen += [record for record in counted if record not in chosen]  # the others in order
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
    """The confusion matrix of ``record``; with many classes the most frequent mistakes.

    Returns:
        The matrix. None without labels, for multi-label networks, or if many classes have no
        mistakes.
    """
    if evaluation.targets is None or not evaluation.records:
        return None
    files = [each.file for each in evaluation.records]
    position = files.index(record.file) if record is not None and record.file in files else 0
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
