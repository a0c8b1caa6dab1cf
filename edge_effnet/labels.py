"""Class names: ImageNet's, or a user's own file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from edge_effnet.errors import UsageError
from edge_effnet.label_files import LabelFile, read_label_file, repeated_names
from edge_effnet.names import OUTPUT_ACTIVATIONS, OutputActivation

Labels = str | os.PathLike[str] | Sequence[str]

#: ImageNet's classes after the "background" of some TensorFlow releases.
BACKGROUND_CLASSES = 1001


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 ImageNet class names in index order (source: see `edge_effnet.data`)."""
    text = resources.files("edge_effnet.data").joinpath("imagenet_labels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names in index order from a file as `label_files.read_label_file` takes it.

    Raises `UsageError` if the file is missing or empty, leaves an index out or can be read in two
    ways.
    """
    return read_label_file(path).names


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
    """How a network's outputs are read: names, activation, and notes for the user."""

    labels: tuple[str, ...]
    activation: OutputActivation
    multi_label: bool = False
    notes: tuple[str, ...] = ()


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
    given, origin = _given(labels)
    names, notes = (given.names, [given.note]) if given else (None, [])
    if names is None and own and len(own) in ((1, 2) if binary else (outputs,)):
        names = own
    if names:
        notes.append(_repetition(names))
    if not binary:
        names = default_labels(outputs) if names is None else check_labels(names, outputs, origin)
        said = tuple(note for note in notes if note)
        return Interpretation(names, activation, activation == "sigmoid", said)
    if names is not None and len(names) == 1:
        names = (f"not {names[0]}", names[0])
    names = names or default_labels(2)
    if len(names) != 2:
        raise UsageError(
            f"{origin} names {len(names)} classes but one sigmoid output tells two apart: name "
            "both, the one at 0 first, or only the one at 1"
        )
    notes.append(
        f"one sigmoid output: the probability of {names[1]!r}; below 0.5 it is {names[0]!r}"
    )
    return Interpretation(names, activation, notes=tuple(note for note in notes if note))


def _given(labels: Labels | None) -> tuple[LabelFile | None, str]:
    """The user's names and where they are from."""
    if labels is None:
        return None, ""
    if not isinstance(labels, (str, os.PathLike)):
        return LabelFile(tuple(map(str, labels))), "the list of labels"
    return read_label_file(labels), f"the label file {labels}"


def _repetition(names: tuple[str, ...]) -> str | None:
    """A note on a name that several classes have."""
    repeated = repeated_names(names)
    if not repeated:
        return None
    name, indices = next(iter(repeated.items()))
    more = f", as {len(repeated) - 1} more" if len(repeated) > 1 else ""
    return (
        f"the classes {' and '.join(map(str, indices))} have one name, {name!r}{more}: they can be "
        "told apart by index only"
    )
