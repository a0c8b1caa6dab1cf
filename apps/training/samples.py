"""Photos with labels and splits: the data that all stages of a training share."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
#: Kind of an observation about the photos. Photos of the first four kinds are left out of the
#: training: unreadable files, equal files in two classes, extra copies, and files outside the class
#: folders. All other kinds are reported only.
FindingKind = Literal[
    "broken",
    "contradiction",
    "copy",
    "outside",
    "near-duplicate",
    "similar-classes",
    "split",
    "tiny-class",
    "imbalance",
    "spelling",
    "grey",
    "rotated",
    "small",
]


@dataclass(frozen=True)
class Sample:
    """One photo.

    Attributes:
        path: The file.
        name: The path relative to the folder of photos, with slashes.
        label: Index of the class.
        split: Part of the data that the photo belongs to.
    """

    path: Path
    name: str
    label: int
    split: Split


@dataclass(frozen=True)
class Finding:
    """An observation about the photos.

    Attributes:
        kind: Kind of the observation.
        message: One sentence with counts, for the user.
        files: Names of the photos that it concerns.
    """

    kind: FindingKind
    message: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class TrainingData:
    """Labelled photos in three splits.

    Attributes:
        folder: The folder of photos.
        class_names: Names of the classes in index order.
        samples: The photos, sorted by name.
        findings: Observations about the photos, most serious first.
    """

    folder: Path
    class_names: tuple[str, ...]
    samples: tuple[Sample, ...]
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        parts = ", ".join(f"{len(self.of(split))} {split}" for split in SPLITS)
        return f"TrainingData({len(self.class_names)} classes, {parts} photos)"

    def of(self, split: Split) -> tuple[Sample, ...]:
        """The photos of ``split``, in order."""
        return tuple(sample for sample in self.samples if sample.split == split)

    def labels(self, split: Split) -> NDArray[np.int64]:
        """Class index of each photo of ``split``, int64 [photos]."""
        return np.array([sample.label for sample in self.of(split)], np.int64)

    def counts(self, split: Split | None = None) -> tuple[int, ...]:
        """Number of photos of each class, in one split or in all."""
        photos = self.samples if split is None else self.of(split)
        counter = Counter(sample.label for sample in photos)
        return tuple(counter[label] for label in range(len(self.class_names)))
