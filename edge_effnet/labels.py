"""Class names: ImageNet's, or a user's own file."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

from edge_effnet.errors import UsageError

#: ImageNet's classes after the "background" of some TensorFlow releases.
BACKGROUND_CLASSES = 1001


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 ImageNet class names in index order (source: see `edge_effnet.data`)."""
    text = resources.files("edge_effnet.data").joinpath("imagenet_labels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names from a text file (one a line) or JSON (a list, or an object {index: name}).

    Raises `UsageError` if the file is missing, empty, or leaves an index out.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the labels {path}: {error}; give a UTF-8 .txt or .json"
        ) from error
    if path.suffix.lower() == ".json":
        labels = _from_json(text, path)
    else:
        labels = tuple(line.strip() for line in text.splitlines())
        while labels and not labels[-1]:
            labels = labels[:-1]
    if not labels or not all(labels):
        raise UsageError(
            f"the labels {path} are empty or have an empty line; give one name a class"
        )
    return labels


def default_labels(classes: int) -> tuple[str, ...]:
    """ImageNet's names for 1,000 classes, after ``background`` for 1,001; else ``class 0``, ..."""
    if classes == 1000:
        return imagenet_labels()
    if classes == BACKGROUND_CLASSES:
        return ("background", *imagenet_labels())
    return tuple(f"class {index}" for index in range(classes))


def check_labels(labels: tuple[str, ...], classes: int, origin: str) -> tuple[str, ...]:
    """``labels`` if there is one a class; raises `UsageError` otherwise."""
    if len(labels) != classes:
        raise UsageError(
            f"{origin} names {len(labels)} classes but the checkpoint's classifier has {classes}; "
            "give a file with one name a class in index order"
        )
    return labels


def _from_json(text: str, path: Path) -> tuple[str, ...]:
    try:
        content = json.loads(text)
        if isinstance(content, dict):
            content = [content[str(index)] for index in range(len(content))]
        if not isinstance(content, list) or not all(isinstance(label, str) for label in content):
            raise ValueError("neither a list of names nor an object {index: name}")
    except (ValueError, KeyError) as error:
        raise UsageError(
            f"the labels {path} cannot be used ({error}); give a list of names or {{index: name}}"
        ) from error
    return tuple(content)
