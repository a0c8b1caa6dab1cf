"""Photos to evaluate on: a folder, labelled by a CSV or by its subfolders, or unlabelled."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy.class_folders import folder_labels
from edge_effnet.benchmarks.accuracy.class_names import ClassFinder, listed
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.photo_files import list_images

#: In place of a labels CSV: folders are no classes, only agreement is measured.
NO_LABELS = "none"


@dataclass(frozen=True)
class Photo:
    """One photo.

    ``name`` is its path within the folder, ``label`` a class index or name as written.
    """

    path: Path
    name: str
    label: str | None = None


@dataclass(frozen=True)
class Dataset:
    """Photos in a fixed order. Either all of them have a label or none has.

    ``notes`` are sentences for the user about how the labels were read.
    """

    folder: Path
    photos: tuple[Photo, ...]
    split: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether the photos have labels."""
        return self.photos[0].label is not None

    def targets(self, classes: Sequence[str]) -> NDArray[np.int32] | None:
        """Class index of every photo, int32 [photos]; None without labels.

        Args:
            classes: Names of the model's classes.

        Raises:
            UsageError: A label is neither an index below ``len(classes)`` nor a class name.
        """
        if not self.labelled:
            return None
        labels, places = zip(
            *((photo.label or "", photo.name) for photo in self.photos), strict=True
        )
        return ClassFinder(classes).indices(labels, places)


def load(
    images: str | os.PathLike[str],
    classes: Sequence[str],
    labels: str | os.PathLike[str] | None = None,
    split: str | None = None,
) -> Dataset:
    """Photos in the folder ``images``, with their labels.

    Args:
        images: Folder of photos. Without ``labels``, subfolders named by class are the labels, as
            `class_folders.folder_labels` finds them.
        classes: Names of the model's classes.
        labels: CSV with the header ``file,label[,split]``. Its files are looked up in ``images``,
            then beside the CSV. `NO_LABELS`: the photos have no labels, whatever their folders.
        split: Load the photos of this split only.

    Returns:
        The photos, sorted by path or in the order of the CSV.

    Raises:
        UsageError: The CSV cannot be used, the split is empty, or subfolders look like classes
            and are none.
        ImageError: The folder has no photos, or files are missing.
    """
    folder = Path(images)
    unlabelled = labels is not None and os.fspath(labels) == NO_LABELS
    if labels is not None and not unlabelled:
        return Dataset(folder, tuple(_from_csv(folder, Path(labels), split)), split)
    if split is not None:
        raise UsageError(f"the split {split!r} needs a labels CSV with a column 'split'")
    paths = list_images(folder)
    names = [path.relative_to(folder) for path in paths]
    found, notes = ({}, ()) if unlabelled else folder_labels(folder, names, classes)
    photos = [
        Photo(path, name.as_posix(), found.get(name.parts[0]))
        for path, name in zip(paths, names, strict=True)
    ]
    return Dataset(folder, tuple(photos), notes=notes)


def _from_csv(folder: Path, table: Path, split: str | None) -> list[Photo]:
    if not folder.is_dir():
        raise ImageError(f"the photo folder {folder} does not exist; give a folder of photos")
    rows = _rows(table, ["file", "label"] + (["split"] if split is not None else []))
    if split is not None:
        splits = sorted({row["split"] for row in rows})
        rows = [row for row in rows if row["split"] == split]
        if not rows:
            raise UsageError(
                f"{table} has no photo in the split {split!r}; it has {listed(splits)}"
            )
    if not rows:
        raise UsageError(f"{table} lists no photo")
    photos, missing, names = [], [], set()
    for row in rows:
        name = row["file"]
        if name in names:
            raise UsageError(f"{table} lists {name} twice")
        names.add(name)
        path = next(
            (base / name for base in (folder, table.parent) if (base / name).is_file()), None
        )
        if path is None:
            missing.append(name)
        else:
            photos.append(Photo(path, name, row["label"]))
    if missing:
        raise ImageError(
            f"{len(missing)} of the {len(rows)} files that {table} lists are not in {folder} "
            f"({listed(missing)}); give the folder that these names start from"
        )
    return photos


def _rows(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a CSV as stripped text by column; all of ``columns`` are present and not empty."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read the labels {table}: {error}") from error
    header = [name.strip().lower() for name in lines[0]] if lines else []
    for column in columns:
        if column not in header:
            raise UsageError(
                f"{table} has no column {column!r} (its first line is {','.join(header)!r}); the "
                "header must be file,label or file,label,split"
            )
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in line):
            continue
        row = dict(zip(header, (cell.strip() for cell in line), strict=False))
        empty = [column for column in columns if not row.get(column)]
        if empty:
            raise UsageError(f"{table}, line {number}: the column {empty[0]!r} is empty")
        rows.append(row)
    return rows
