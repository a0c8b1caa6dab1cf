"""Lookup of class indices for labels written as names or as indices."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import UsageError
from edge_effnet.label_files import exact_key, name_key
from edge_effnet.labels import default_labels

_SHOWN = 5  # names listed in an error message
_INDEX = re.compile(r"[0-9]{1,18}")  # longer ones are in no range, and slow to convert


class ClassFinder:
    """Lookup of the class index of a label as written.

    A label is looked up as a class name first, then as an index. If class names are numbers
    themselves, for example years, a label is never an index.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)
        self._exact: dict[str, list[int]] = {}
        self._names: dict[str, list[int]] = {}
        self._numbers: dict[int, list[int]] = {}
        for index, name in enumerate(classes):
            self._exact.setdefault(exact_key(name), []).append(index)
            self._names.setdefault(name_key(name), []).append(index)
            if _INDEX.fullmatch(name.strip()):
                self._numbers.setdefault(int(name), []).append(index)

    @property
    def unnamed(self) -> bool:
        """Whether the classes have only the default names ``class 0``, ``class 1``, ..."""
        return self.classes == default_labels(len(self.classes)) and "class 0" in self.classes

    def __call__(self, label: str, photo: str) -> int:
        """Class index of ``label``.

        Args:
            label: Class name or index.
            photo: Name of the photo in error messages.

        Raises:
            UsageError: The label matches no class, or several.
        """
        matches = self._matches(label)
        if len(matches) == 1:
            return matches[0]
        raise UsageError(f"the label {label!r} of {photo} {self._fault(label, matches)}")

    def knows(self, label: str) -> bool:
        """Whether ``label`` is an index in range or a class name."""
        return bool(self._matches(label))

    def is_name(self, label: str) -> bool:
        """Whether ``label`` is a class name, not an index."""
        return name_key(label) in self._names

    def indices(self, labels: Iterable[str], photos: Iterable[str]) -> NDArray[np.int32]:
        """The index of every label, int32 [labels].

        Raises:
            UsageError: Labels match no class or several; the message has the number of these
                labels.
        """
        indices: list[int] = []
        faults: dict[str, tuple[str, list[int]]] = {}
        missed = 0
        for label, photo in zip(labels, photos, strict=True):
            matches = self._matches(label)
            if len(matches) == 1:
                indices.append(matches[0])
            else:
                missed += 1
                faults.setdefault(label, (photo, matches))
        if faults:
            label, (photo, matches) = next(iter(faults.items()))
            message = f"the label {label!r} of {photo} {self._fault(label, matches)}"
            if len(faults) > 1:
                others = listed(repr(other) for other in [*faults][1:])
                message += f"; nor do {others} fit, the labels of {missed} photos in all"
            raise UsageError(message)
        return np.array(indices, np.int32)

    def _matches(self, label: str) -> list[int]:
        matches = self._exact.get(exact_key(label)) or self._names.get(name_key(label), [])
        label = label.strip()
        if matches or not _INDEX.fullmatch(label):
            return matches
        if self._numbers:  # "01" for the class "1"
            return self._numbers.get(int(label), [])
        return [int(label)] if int(label) < len(self.classes) else []

    def _fault(self, label: str, matches: Sequence[int]) -> str:
        last = len(self.classes) - 1
        if matches:
            return f"names the classes {listed(map(str, matches))}; write the index instead"
        if self._numbers:
            return f"is none of the class names, some of which are numbers: {listed(self.classes)}"
        if _INDEX.fullmatch(label.strip()):
            return f"is out of range: the model has {last + 1} classes, 0 to {last}"
        names = "and the model's classes have no names"
        if not self.unnamed:
            names = f"nor one of the model's class names ({listed(self.classes)})"
        return f"is neither a class index (0 to {last}) {names}"


def listed(names: Iterable[str]) -> str:
    """Text with the first few of ``names`` and the number of the others."""
    names = list(names)
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
