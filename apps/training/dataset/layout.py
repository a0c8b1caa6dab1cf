"""Classes and splits from the names of folders, or from a CSV; no photo is opened."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from edge_effnet import csv_cells
from edge_effnet.apps.training.samples import Split
from edge_effnet.benchmarks.accuracy.class_names import ClassFinder, listed
from edge_effnet.benchmarks.accuracy.dataset import MOST_MISSING, PhotoFinder, check_missing
from edge_effnet.benchmarks.accuracy.label_table import SEPARATORS, read_label_table
from edge_effnet.checkpoints.canonical import RUN_FILE
from edge_effnet.errors import ImageError, UsageError
from edge_effnet.files import is_utf8, relative_name
from edge_effnet.label_files import read_label_file
from edge_effnet.photo_files import list_images

#: Names of splits, of folders and in a CSV, as torchvision, Keras, ultralytics and Roboflow use.
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
_WHOLE = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo file, its name relative to the folder, its class and, if fixed, its split."""

    path: Path
    name: str
    class_name: str
    split: Split | None = None


@dataclass(frozen=True)
class Layout:
    """Photos with classes, before any of them is opened.

    Attributes:
        folder: The folder that names are relative to.
        class_names: Names of the classes in index order.
        photos: The photos, sorted by name.
        outside: Names of photos that lie outside the class folders.
    """

    folder: Path
    class_names: tuple[str, ...]
    photos: tuple[LabelledPhoto, ...]
    outside: tuple[str, ...] = ()


def read_layout(
    photos: Path, labels: Path | None = None, class_names: Path | None = None
) -> Layout:
    """Find the classes of the photos in a folder.

    Args:
        photos: A folder with a subfolder per class, or with the subfolders train, val and test,
            each with a subfolder per class.
        labels: CSV with the header ``file,label[,split]``; it replaces the folders' names.
        class_names: File of class names in index order. By default the order is that of the
            names as text, as in torchvision and Keras; names that are all numbers are in numeric
            order.

    Raises:
        ImageError: The folder has no photos, or files of the CSV are missing.
        UsageError: There are fewer than two classes, a class has no photo, or the folders or the
            CSV cannot be used.
    """
    layout = _from_folders(photos) if labels is None else _from_table(photos, labels)
    if class_names is not None:
        layout = _renamed(layout, read_label_file(class_names).names)
    _check_classes(layout)
    return layout


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct names in numeric order if all are whole numbers, else in string order."""
    distinct = sorted(set(names))
    if all(_WHOLE.fullmatch(name) for name in distinct):
        distinct.sort(key=int)
    return tuple(distinct)


def _from_folders(root: Path) -> Layout:
    paths = list_images(root)
    names = [PurePosixPath(path.relative_to(root).as_posix()) for path in paths]
    tops = {name.parts[0] for name in names if len(name.parts) > 1}
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    depth = 1 if tops and len(splits) == len(tops) and "train" in splits.values() else 0
    photos, outside = [], []
    for path, name in zip(paths, names, strict=True):
        if len(name.parts) <= depth + 1:
            outside.append(str(name))
            continue
        split = splits[name.parts[0]] if depth else None
        photos.append(LabelledPhoto(path, str(name), _class_name(name.parts[depth]), split))
    if not photos:
        raise UsageError(
            f"the photos of {root} lie in no class folders; make one folder per class, or give "
            "the classes as a CSV with the header file,label",
            hint="give labels=CSV",
        )
    _check_empty_folders(root, sorted(splits) if depth else [""])
    return Layout(root, class_order(p.class_name for p in photos), tuple(photos), tuple(outside))


def _check_empty_folders(root: Path, parents: Sequence[str]) -> None:
    """Raise `UsageError` for a class folder without photos."""
    empty = []
    for parent in parents:
        for folder in sorted((root / parent).iterdir()):
            if folder.name.startswith((".", "__", "@", "$")) or (folder / RUN_FILE).is_file():
                continue  # copies and previews; the folder of a training
            if folder.is_dir():
                try:
                    list_images(folder)
                except ImageError:
                    empty.append(folder.relative_to(root).as_posix())
    if empty:
        raise UsageError(
            f"{len(empty)} class {'folders hold' if len(empty) > 1 else 'folder holds'} no photo "
            f"({listed(empty)}): add photos or remove the folder"
        )


def _from_table(root: Path, table: Path) -> Layout:
    if not root.is_dir():
        raise ImageError(f"the photo folder {root} does not exist; give a folder of photos")
    rows = read_label_table(table, _table_columns(table))
    find, photos, missing = PhotoFinder(root, table.parent), [], []
    splits = {row.split for row in rows}
    unknown = sorted(split for split in splits if split.lower() not in SPLIT_NAMES)
    if any(splits) and unknown:
        raise UsageError(
            f"{table} has the splits {listed(map(repr, unknown))}; a training knows train, val and "
            "test: rename them, or omit the column"
        )
    for row in rows:
        path = find(row.file)
        if path is None:
            missing.append(row.file)
            if len(missing) == MOST_MISSING:
                break
            continue
        split = SPLIT_NAMES[row.split.lower()] if row.split else None
        name = relative_name(path, root)
        photos.append(LabelledPhoto(path, name, _class_name(row.labels[0]), split))
    check_missing(missing, len(rows), table, root)
    photos.sort(key=lambda photo: photo.name)
    return Layout(root, class_order(photo.class_name for photo in photos), tuple(photos))


def _table_columns(table: Path) -> tuple[str, ...]:
    """Columns of a CSV that may be classes, if it has a column per class instead of labels."""
    try:
        header = next(csv_cells.read_rows(table, SEPARATORS), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return ()  # `read_label_table` explains the error
    names = [name.strip().lower() for name in header]
    return tuple(name for name in names if name not in ("file", "split", "label"))


def _class_name(text: str) -> str:
    """The name of a class in NFC; raises `UsageError` if it has control characters, or no UTF-8."""
    control = next((c for c in text if unicodedata.category(c) in ("Cc", "Zl", "Zp")), None)
    if control is not None:
        raise UsageError(
            f"the class name {text!r} holds the control character U+{ord(control):04X}: rename it"
        )
    if not is_utf8(text):
        raise UsageError(f"the class name {text!r} is not UTF-8: rename the folder")
    return unicodedata.normalize("NFC", text).strip()


def _renamed(layout: Layout, names: tuple[str, ...]) -> Layout:
    """``layout`` with the classes ``names``; its own class names are names or indices of these."""
    find = ClassFinder(names)
    indices = find.indices(
        (photo.class_name for photo in layout.photos), (photo.name for photo in layout.photos)
    )
    photos = tuple(
        replace(photo, class_name=names[index])
        for photo, index in zip(layout.photos, indices, strict=True)
    )
    return replace(layout, class_names=names, photos=photos)


def _check_classes(layout: Layout) -> None:
    """Raise `UsageError` for fewer than two classes, or a class without photos."""
    names = layout.class_names
    if len(set(names)) < len(names):
        repeated = [name for name, count in Counter(names).items() if count > 1]
        raise UsageError(f"the class names are not different: {listed(repeated)} stand there twice")
    counts = Counter(photo.class_name for photo in layout.photos)
    if len(counts) == 1:
        (name,) = counts
        inner = {p.name.split("/")[1] for p in layout.photos if p.name.count("/") > 1}
        hint = f"; give {layout.folder / name} if its folders are the classes" if inner else ""
        raise UsageError(
            f"{layout.folder} has one class ({name!r}): a classifier needs at least two, for "
            f"example a folder of photos that show something else{hint}"
        )
    missing = [name for name in names if not counts[name]]
    if missing:
        raise UsageError(
            f"{len(missing)} of the {len(names)} classes have no photo ({listed(missing)}): add "
            "photos, or remove the names"
        )
    if "" in counts:
        raise UsageError(f"a class of {layout.folder} has an empty name: rename it")
