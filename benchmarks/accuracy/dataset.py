"""Photos to evaluate on: a folder, labelled by a CSV or by its subfolders, or unlabelled."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.benchmarks.accuracy.class_folders import folder_labels
from edge_effnet.benchmarks.accuracy.class_names import ClassFinder, listed
from edge_effnet.benchmarks.accuracy.label_table import Row, find_label_table, read_label_table
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.photo_files import list_images

#: Value of ``labels`` for unlabelled photos: folder names are ignored, only agreement is measured.
NO_LABELS = "none"
#: Missing files after which the others are not looked for.
MOST_MISSING = 1000


@dataclass(frozen=True)
class Photo:
    """One photo.

    ``name`` is its path within the folder. ``label`` is a class index or name as written.
    ``labels`` replaces ``label`` for multi-label networks and may hold any number of labels.
    """

    path: Path
    name: str
    label: str | None = None
    labels: tuple[str, ...] | None = None


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
        return self.photos[0].label is not None or self.photos[0].labels is not None

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

    def label_sets(self, classes: Sequence[str]) -> NDArray[np.bool_] | None:
        """Labels of each photo for a multi-label network, bool [photos, classes].

        Raises:
            UsageError: A label is neither an index nor a class name.
        """
        if not self.labelled:
            return None
        pairs = [
            (row, label, photo.name)
            for row, photo in enumerate(self.photos)
            for label in photo.labels or ()
        ]
        sets = np.zeros((len(self.photos), len(classes)), np.bool_)
        labels, places = [label for _, label, _ in pairs], [name for _, _, name in pairs]
        columns = ClassFinder(classes).indices(labels, places)
        sets[[row for row, _, _ in pairs], columns] = True
        return sets


def load(
    images: str | os.PathLike[str],
    classes: Sequence[str],
    labels: str | os.PathLike[str] | None = None,
    split: str | None = None,
    multi_label: bool = False,
) -> Dataset:
    """Photos in the folder ``images``, with their labels.

    Args:
        images: Folder of photos. Without ``labels``, subfolders named by class are the labels, as
            `class_folders.folder_labels` finds them.
        classes: Names of the model's classes.
        labels: CSV with the header ``file,label[,split]``, as `label_table` reads it. Its files
            are looked up in ``images``, then beside the CSV. `NO_LABELS`: the photos have no
            labels, whatever their folders.
        split: Load the photos of this split only.
        multi_label: Whether any number of labels may apply to a photo.

    Returns:
        The photos, sorted by path or in the order of the CSV.

    Raises:
        UsageError: The CSV cannot be used, the split is empty, or subfolders look like classes but
            do not match the model's.
        ImageError: The folder has no photos, or files are missing.
    """
    folder = Path(images)
    unlabelled = labels is not None and os.fspath(labels) == NO_LABELS
    if labels is not None and not unlabelled:
        if not folder.is_dir():
            raise ImageError(f"the photo folder {folder} does not exist; give a folder of photos")
        rows = read_label_table(Path(labels), classes, split, multi_label)
        return Dataset(folder, tuple(_from_table(folder, Path(labels), rows, multi_label)), split)
    if split is not None:
        table = find_label_table(folder)
        raise UsageError(
            f"the split {split!r} needs a labels CSV with a column 'split'",
            hint=f"give labels={str(table)!r}" if table else "",
        )
    paths = list_images(folder)
    names = [path.relative_to(folder) for path in paths]
    folder_label, notes = ({}, ()) if unlabelled else folder_labels(folder, names, classes)
    photos = [
        Photo(path, name.as_posix(), folder_label.get(name.parts[0]))
        for path, name in zip(paths, names, strict=True)
    ]
    if labels is None and not folder_label:
        table = find_label_table(folder)
        there = f"; {table} has labels: give labels={str(table)!r}" if table else ""
        note = f"the photos have no labels: agreement is measured, not accuracy{there}"
        notes = (*notes, note)
    if multi_label and folder_label:
        photos = [replace(photo, label=None, labels=(str(photo.label),)) for photo in photos]
        notes = (*notes, "a photo is taken to have no label but its folder's")
    return Dataset(folder, tuple(photos), notes=notes)


def _from_table(folder: Path, table: Path, rows: Sequence[Row], multi_label: bool) -> list[Photo]:
    photos, missing = [], []
    find = PhotoFinder(folder, table.parent)
    for row in rows:
        path = find(row.file)
        if path is None:
            missing.append(row.file)
            if len(missing) == MOST_MISSING:
                break
        elif multi_label:
            photos.append(Photo(path, row.file, labels=row.labels))
        else:
            photos.append(Photo(path, row.file, row.labels[0]))
    check_missing(missing, len(rows), table, folder)
    return photos


def check_missing(missing: Sequence[str], count: int, table: Path, folder: Path) -> None:
    """Raise `ImageError` if any of the ``count`` files in ``table`` are ``missing``."""
    if missing:
        least = "at least " if len(missing) == MOST_MISSING < count else ""
        raise ImageError(
            f"{least}{len(missing):,} of the {count:,} files that {table} lists are not in "
            f"{folder} ({listed(missing)}); give the folder that these names start from"
        )


class PhotoFinder:
    """Lookup of a photo named in a labels CSV, first in the photo folder, then beside the CSV.

    Names may have backslashes, or a Unicode normalisation (NFC, NFD) other than the disk's.
    """

    def __init__(self, folder: Path, beside: Path) -> None:
        self._folder = folder
        self._folders = dict.fromkeys((os.fspath(folder), os.fspath(beside)))
        self._normalised: dict[str, Path] | None = None

    def __call__(self, name: str) -> Path | None:
        """The file called ``name`` in the CSV; None if it is in neither folder."""
        written = dict.fromkeys((name, name.replace("\\", "/")))
        for base in self._folders:
            for each in written:
                # As text: tables can name a million files, which paths would take minutes for.
                path = os.path.join(base, each)
                if os.path.isfile(path):
                    return Path(path)
        if self._normalised is None:
            self._normalised = _photos_by_name(self._folder)
        return self._normalised.get(_normalised(name))


def _photos_by_name(folder: Path) -> dict[str, Path]:
    try:
        paths = list_images(folder)
    except ImageError:
        return {}
    return {_normalised(path.relative_to(folder).as_posix()): path for path in paths}


def _normalised(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/"))
