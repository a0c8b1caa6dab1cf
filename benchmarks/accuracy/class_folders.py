"""Class labels from the names of the folders that hold the photos."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from edge_effnet.benchmarks.accuracy.class_names import ClassFinder, listed
from edge_effnet.errors import UsageError

_WORDNET = re.compile(r"n\d{8}")
_NONE = "or labels='none' to measure agreement alone"


def folder_labels(
    root: Path, photos: Sequence[Path], classes: Sequence[str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Class label of each first-level folder of ``root``, and notes on assumptions for the user.

    Args:
        root: The folder of photos.
        photos: Paths of the photos, relative to ``root``.
        classes: The model's class names.

    Returns:
        Label by folder; empty if the folders are not classes. Folders are numbered in string order,
        as in torchvision's ImageFolder and Keras, if they are a complete set of WordNet ids. The
        same holds for a complete set of folders if the model has no class names.

    Raises:
        UsageError: Folders look like classes, but none or only some match the model's classes;
            class folders are a level above or below ``root``; or the order of numbered folders is
            ambiguous because the model has no class names.
    """
    find = ClassFinder(classes)
    distinct = sorted({photo.parts[0] if len(photo.parts) > 1 else "" for photo in photos})
    named = [folder for folder in distinct if folder]
    known = [folder for folder in named if find.knows(folder)]
    if named and known == distinct and not find.unnamed:
        return {folder: folder for folder in known}, _note_numbers(known, find)
    if named and all(_WORDNET.fullmatch(folder) for folder in distinct):
        if len(named) == len(classes):  # ImageNet's classes are sorted by WordNet id
            return {folder: str(index) for index, folder in enumerate(named)}, ()
        raise UsageError(
            f"the photos lie in {len(named)} folders of WordNet ids ({listed(named)}); class "
            f"indices follow only from all {len(classes)}: give the labels as a CSV file,label"
        )
    if find.unnamed and named == distinct:
        labels = _of_unnamed(root, named, find)
        if labels is not None:
            return labels
    if known:
        strangers = [folder or "the folder itself" for folder in distinct if folder not in known]
        if strangers:
            raise UsageError(
                f"some photos lie in folders that name a class ({listed(known)}) and some do not "
                f"({listed(strangers)}); move those away, or give the labels as a CSV file,label"
            )
        return {folder: folder for folder in known}, ()
    _check_no_classes(root, photos, named, "" in distinct, find)
    return {}, ()


def _note_numbers(folders: Sequence[str], find: ClassFinder) -> tuple[str, ...]:
    """Note that folders are taken as class indices although the classes have names."""
    numbers = [folder for folder in folders if not find.is_name(folder)]
    if not numbers:
        return ()
    first = find.classes[find(numbers[0], numbers[0])]
    return (
        f"the folders {listed(numbers)} are numbers, taken as class indices: {numbers[0]} is "
        f"{first!r}",
    )


def _of_unnamed(
    root: Path, folders: list[str], find: ClassFinder
) -> tuple[dict[str, str], tuple[str, ...]] | None:
    """Labels for a model without class names; None if folders neither match nor are complete."""
    count = len(find.classes)
    if all(find.is_name(folder) for folder in folders):
        return {folder: folder for folder in folders}, ()
    numbers = all(re.fullmatch("[0-9]+", folder) for folder in folders)
    if numbers and all(find.knows(folder) for folder in folders):
        padded = {len(folder) for folder in folders} == {len(str(count - 1))}
        if padded or count <= 10:
            return {folder: folder for folder in folders}, ()
        raise UsageError(
            f"the folders of {root} are numbers ({listed(folders)}), and the model's {count} "
            "classes have no names: trainers number folders in string order (1, 10, 2), so 10 may "
            "be class 10 or class 2",
            hint="export it with the names of its classes, or give labels=CSV",
        )
    if len(folders) == count:
        return {folder: str(index) for index, folder in enumerate(folders)}, (
            f"the model's classes have no names: the {count} folders of {root} are taken in string "
            f"order, as ImageFolder and Keras number them; class 0 is {folders[0]!r}",
        )
    return None


def _check_no_classes(
    root: Path, photos: Sequence[Path], named: list[str], loose: bool, find: ClassFinder
) -> None:
    """Raise `UsageError` if folders look like classes although none matches a class."""
    deeper = sorted({photo.parts[0] for photo in photos if len(photo.parts) > 2})
    below = {photo.parts[1] for photo in photos if len(photo.parts) > 2}
    if below and all(find.knows(folder) for folder in below):
        raise UsageError(
            f"the folders of {root} are no classes ({listed(deeper)}), but those in them are "
            f"({listed(sorted(below))})",
            hint=f"give images={str(root / deeper[0])!r}, {_NONE}",
        )
    if len(named) == 1 and not loose:  # one folder around all photos
        inner = [photo.relative_to(named[0]) for photo in photos]
        labels, _ = folder_labels(root / named[0], inner, find.classes)
        if labels:
            raise UsageError(
                f"the classes lie below {root / named[0]} ({listed(sorted(labels))})",
                hint=f"give images={str(root / named[0])!r}, {_NONE}",
            )
    resolved = root.resolve()
    if not named and (find.is_name(resolved.name) or _is_one_of_indices(resolved, find)):
        raise UsageError(
            f"{root} has the name of a class, and the folder above it was to be given",
            hint=f"give images={str(resolved.parent)!r}, {_NONE}",
        )
    if len(named) > 1:
        classes = ", which have no names" if find.unnamed else f" ({listed(find.classes)})"
        raise UsageError(
            f"the {len(named)} folders of {root} ({listed(named)}) are none of the model's "
            f"{len(find.classes)} classes{classes}",
            hint=f"rename the folders, give labels=CSV, {_NONE}",
        )


def _is_one_of_indices(folder: Path, find: ClassFinder) -> bool:
    """Whether the names of the folder and of at least one sibling are class indices."""
    if not find.knows(folder.name):
        return False
    try:
        beside = [each.name for each in folder.parent.iterdir() if each.is_dir()]
    except OSError:
        return False
    return sum(find.knows(name) for name in beside) > 1
