"""Class names of ImageNet or from a user's file, and the meaning of a network's outputs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from edge_effnet.errors import UsageError
from edge_effnet.label_files import LabelFile, read_label_file, repeated_names
from edge_effnet.names import OUTPUT_ACTIVATIONS, OutputActivation

Labels = str | os.PathLike[str] | Sequence[str]

#: Number of classes with the additional "background" class of some TensorFlow releases.
BACKGROUND_CLASSES = 1001


def imagenet_labels() -> tuple[str, ...]:
    """The 1,000 ImageNet class names in index order (source: see `edge_effnet.data`)."""
    text = resources.files("edge_effnet.data").joinpath("imagenet_labels.txt").read_text("utf-8")
    return tuple(text.splitlines())


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Class names in index order from a file, as in `label_files.read_label_file`.

    Raises:
        UsageError: The file is missing, empty or ambiguous, or lacks an index.
    """
    return read_label_file(path).names


def default_labels(classes: int) -> tuple[str, ...]:
    """Names for 1,000 (ImageNet), 1,001 (background, ImageNet) or other classes (``class 0``)."""
    if classes == 1000:
        return imagenet_labels()
    if classes == BACKGROUND_CLASSES:
        return ("background", *imagenet_labels())
    return tuple(f"class {index}" for index in range(classes))


def check_labels(labels: tuple[str, ...], classes: int, origin: str) -> tuple[str, ...]:
    """``labels`` if there is one per class; raises `UsageError` otherwise."""
    if len(labels) != classes:
        raise UsageError(
            f"{origin} names {len(labels)} classes but the checkpoint's classifier has {classes}; "
            "give a file with one name a class in index order"
        )
    return labels


@dataclass(frozen=True)
class Interpretation:
    """Meaning of a network's outputs: class names, activation, and notes for the user."""

    labels: tuple[str, ...]
    activation: OutputActivation
    multi_label: bool = False
    notes: tuple[str, ...] = ()


def interpret(
    name: str,
    outputs: int,
    activation: OutputActivation | None,
    labels: Labels | None = None,
    checkpoint_labels: tuple[str, ...] | None = None,
) -> Interpretation:
    """Meaning of the ``outputs`` values of the network ``name``.

    Args:
        name: Name of the checkpoint in messages.
        outputs: Number of output values.
        activation: Output activation; None means unknown and is treated as softmax.
        labels: The user's class names, or a file of them.
        checkpoint_labels: Class names stored in the checkpoint; used if there is one per class.

    Raises:
        UsageError: There is a single output whose activation is unknown or softmax, or the number
            of names does not match the outputs.
    """
    if activation is not None and activation not in OUTPUT_ACTIVATIONS:
        raise UsageError(
            f"unknown output activation {activation!r}; known: {', '.join(OUTPUT_ACTIVATIONS)}"
        )
    if outputs == 1 and activation is None:
        raise UsageError(
            f"{name} has one output, and its activation is unknown",
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
    user_labels, origin = _user_labels(labels)
    names, notes = (user_labels.names, [user_labels.note]) if user_labels else (None, [])
    if (
        names is None
        and checkpoint_labels
        and len(checkpoint_labels) in ((1, 2) if binary else (outputs,))
    ):
        names = checkpoint_labels
    if names:
        notes.append(_repetition(names))
    if not binary:
        names = default_labels(outputs) if names is None else check_labels(names, outputs, origin)
        remarks = tuple(note for note in notes if note)
        return Interpretation(names, activation, activation == "sigmoid", remarks)
    if names is not None and len(names) == 1:
        names = (f"not {names[0]}", names[0])
    names = names or default_labels(2)
    if len(names) != 2:
        raise UsageError(
            f"{origin} names {len(names)} classes but one sigmoid output distinguishes two: name "
            "both, the one at 0 first, or only the one at 1"
        )
    notes.append(
        f"one sigmoid output: the probability of {names[1]!r}; below 0.5 it is {names[0]!r}"
    )
    return Interpretation(names, activation, notes=tuple(note for note in notes if note))


def _user_labels(labels: Labels | None) -> tuple[LabelFile | None, str]:
    """The user's class names, and their origin for messages."""
    if labels is None:
        return None, ""
    if not isinstance(labels, (str, os.PathLike)):
        return LabelFile(tuple(map(str, labels))), "the list of labels"
    return read_label_file(labels), f"the label file {labels}"


def _repetition(names: tuple[str, ...]) -> str | None:
    """A note on repeated class names; None without repetition."""
    repeated = repeated_names(names)
    if not repeated:
        return None
    name, indices = next(iter(repeated.items()))
    more = f", as {len(repeated) - 1} more" if len(repeated) > 1 else ""
    return (
        f"the classes {' and '.join(map(str, indices))} have one name, {name!r}{more}: they can be "
        "told apart by index only"
    )
