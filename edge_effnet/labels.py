"""Class names: ImageNet's, or a user's own file."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from edge_effnet.errors import UsageError
from edge_effnet.names import OUTPUT_ACTIVATIONS, OutputActivation

Labels = str | os.PathLike[str] | Sequence[str]

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


@dataclass(frozen=True)
class Interpretation:
    """How a network's outputs are read: names, activation, and what a user should know."""

    labels: tuple[str, ...]
    activation: OutputActivation
    multi_label: bool = False
    note: str | None = None


def interpret(
    name: str,
    outputs: int,
    activation: OutputActivation | None,
    labels: Labels | None = None,
    own: tuple[str, ...] | None = None,
) -> Interpretation:
    """The reading of ``outputs`` values of the network ``name``.

    Args:
        name: The checkpoint, for messages.
        outputs: Number of values.
        activation: What turns them into the answer, None if nothing tells: softmax.
        labels: The user's class names, or the file with them.
        own: Class names that the checkpoint carries, used where their number fits.

    Raises:
        UsageError: One output without a known activation, softmax of one output, or names whose
            number does not fit.
    """
    if activation is not None and activation not in OUTPUT_ACTIVATIONS:
        raise UsageError(
            f"unknown output activation {activation!r}; known: {', '.join(OUTPUT_ACTIVATIONS)}"
        )
    if outputs == 1 and activation is None:
        raise UsageError(
            f"{name} has one output, and nothing says how to read it",
            hint="give output_activation='sigmoid' (the probability of the second of two classes) "
            "or output_activation='none' (a number, such as an age)",
        )
    if outputs == 1 and activation == "softmax":
        raise UsageError(
            f"{name} has one output, whose softmax is always 1",
            hint="give output_activation='sigmoid' or output_activation='none'",
        )
    activation = activation or "softmax"
    binary = outputs == 1 and activation == "sigmoid"
    names, origin = _given(labels)
    if names is None and own and len(own) in ((1, 2) if binary else (outputs,)):
        names = own
    if not binary:
        names = default_labels(outputs) if names is None else check_labels(names, outputs, origin)
        return Interpretation(names, activation, multi_label=activation == "sigmoid")
    if names is not None and len(names) == 1:
        names = (f"not {names[0]}", names[0])
    names = names or default_labels(2)
    if len(names) != 2:
        raise UsageError(
            f"{origin} names {len(names)} classes but one sigmoid output tells two apart: name "
            "both, the one at 0 first, or only the one at 1"
        )
    note = f"one sigmoid output: the probability of {names[1]!r}; below 0.5 it is {names[0]!r}"
    return Interpretation(names, activation, note=note)


def _given(labels: Labels | None) -> tuple[tuple[str, ...] | None, str]:
    """The user's names and where they are from."""
    if labels is None:
        return None, ""
    if not isinstance(labels, (str, os.PathLike)):
        return tuple(labels), "the list of labels"
    return read_labels(labels), f"the label file {labels}"


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
