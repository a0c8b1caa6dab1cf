"""Photos to evaluate on: a folder, labelled by a CSV or by its subfolders, or unlabelled."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import ImageError, UsageError
from edge_effnet.preprocess import list_images

_WORDNET = re.compile(r"n\d{8}")
_SHOWN = 5  # names listed in an error message


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
    """Photos in a fixed order. Either all of them have a label or none has."""

    folder: Path
    photos: tuple[Photo, ...]
    split: str | None = None

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
        find = Finder(classes)
        return np.array([find(photo.label or "", photo.name) for photo in self.photos], np.int32)


def load(
    images: str | os.PathLike[str],
    classes: Sequence[str],
    labels: str | os.PathLike[str] | None = None,
    split: str | None = None,
) -> Dataset:
    """Photos in the folder ``images``, with their labels.

    Args:
        images: Folder of photos. Without ``labels``, subfolders named by class are the labels: by
            index, by class name, or by the complete set of WordNet ids.
        classes: Names of the model's classes.
        labels: CSV with the header ``file,label[,split]``. Its files are looked up in ``images``,
            then beside the CSV.
        split: Load the photos of this split only.

    Returns:
        The photos, sorted by path or in the order of the CSV.

    Raises:
        UsageError: The CSV cannot be used, the split is empty, or only some subfolders name a
            class.
        ImageError: The folder has no photos, or files are missing.
    """
    folder = Path(images)
    if labels is not None:
        return Dataset(folder, tuple(_from_csv(folder, Path(labels), split)), split)
    if split is not None:
        raise UsageError(f"the split {split!r} needs a labels CSV with a column 'split'")
    paths = list_images(folder)
    names = [path.relative_to(folder) for path in paths]
    groups = _groups([name.parts[0] if len(name.parts) > 1 else "" for name in names], classes)
    photos = [
        Photo(path, name.as_posix(), groups.get(name.parts[0]))
        for path, name in zip(paths, names, strict=True)
    ]
    return Dataset(folder, tuple(photos))


class Finder:
    """Lookup of class indices by a label as written: a class index or a class name."""

    def __init__(self, classes: Sequence[str]) -> None:
        self._count = len(classes)
        self._names: dict[str, list[int]] = {}
        for index, name in enumerate(classes):
            self._names.setdefault(name.strip().casefold(), []).append(index)

    def __call__(self, label: str, photo: str) -> int:
        """Class index of ``label``.

        Args:
            label: Class index or name.
            photo: Name of the photo in error messages.

        Raises:
            UsageError: The label names no class, or several.
        """
        if re.fullmatch(r"[0-9]+", label):
            index = int(label)
            if index < self._count:
                return index
            raise UsageError(
                f"the label {label} of {photo} is out of range: the model has {self._count} "
                f"classes, 0 to {self._count - 1}"
            )
        matches = self._names.get(label.strip().casefold(), [])
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise UsageError(
                f"the label {label!r} of {photo} names the classes {_listed(map(str, matches))}; "
                "write the index instead"
            )
        raise UsageError(
            f"the label {label!r} of {photo} is neither a class index (0 to {self._count - 1}) nor "
            "one of the model's class names"
        )

    def knows(self, label: str) -> bool:
        """Whether ``label`` is an index in range or a class name."""
        if re.fullmatch(r"[0-9]+", label):
            return int(label) < self._count
        return label.strip().casefold() in self._names


def _groups(folders: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """Label by subfolder ("" is the folder itself); empty if the subfolders do not name classes."""
    distinct = sorted(set(folders))
    named = [folder for folder in distinct if folder]
    if named and all(_WORDNET.fullmatch(folder) for folder in distinct):
        if len(named) == len(classes):  # ImageNet's own order of classes is that of the ids
            return {folder: str(index) for index, folder in enumerate(named)}
        raise UsageError(
            f"the photos lie in {len(named)} folders of WordNet ids ({_listed(named)}); class "
            f"indices follow only from all {len(classes)}: give the labels as a CSV file,label"
        )
    find = Finder(classes)
    known = [folder for folder in named if find.knows(folder)]
    if not known:
        return {}
    strangers = [folder or "the folder itself" for folder in distinct if folder not in known]
    if strangers:
        raise UsageError(
            f"some photos lie in folders that name a class ({_listed(known)}) and some do not "
            f"({_listed(strangers)}); move those away, or give the labels as a CSV file,label"
        )
    return {folder: folder for folder in known}


def _from_csv(folder: Path, table: Path, split: str | None) -> list[Photo]:
    if not folder.is_dir():
        raise ImageError(f"the photo folder {folder} does not exist; give a folder of photos")
    rows = _rows(table, ["file", "label"] + (["split"] if split is not None else []))
    if split is not None:
        splits = sorted({row["split"] for row in rows})
        rows = [row for row in rows if row["split"] == split]
        if not rows:
            raise UsageError(
                f"{table} has no photo in the split {split!r}; it has {_listed(splits)}"
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
            f"({_listed(missing)}); give the folder that these names start from"
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


def _listed(names: Iterable[str]) -> str:
    """The first names, and the number of further ones."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
