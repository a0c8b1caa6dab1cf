"""Matching of a checkpoint with a graph: every name and shape is checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.accounting import onnx_way
from edge_effnet.checkpoints.detect import guess_variant
from edge_effnet.checkpoints.head import WEIGHT, Classifier, find_linear
from edge_effnet.checkpoints.pytorch.head import find_head
from edge_effnet.checkpoints.source import Checkpoint, Source
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Graph
from edge_effnet.heads import Head, Linear
from edge_effnet.model import Weights
from edge_effnet.network import build
from edge_effnet.variants import Variant

_MISSING = "missing"
_DAMAGED = "is it damaged or unfinished?"
_CHANGED = "a network with other layers is not read; "
_RARE = -2.0  # logit of a label that one photo in eight has
_MOST_NAMES = 6  # names listed in a message; further names are counted


def locate_head(
    variant: Variant,
    source: Source,
    checkpoint: Checkpoint,
    head_text: str | None = None,
    pooling: str = "avg",
) -> Classifier:
    """The classifier (head) of the checkpoint.

    Args:
        variant: The network.
        source: The kind of checkpoint.
        checkpoint: The tensors.
        head_text: Layers of a PyTorch network's head (`head_words`); None to detect them.
        pooling: The pooling before the head, unless ``head_text`` names one.

    Raises:
        CheckpointError: There is no suitable classifier.
    """
    wanted = source.names(build(variant))
    pytorch = wanted[WEIGHT].endswith(".weight")
    if checkpoint.head_reader is not None:
        try:
            read, notes = checkpoint.head_reader(head_text)
        except CheckpointError as error:
            message = f"cannot read {checkpoint.path}: {error.message}"
            raise CheckpointError(message, hint=error.hint) from error
        return Classifier(checkpoint, _outputs(read), {}, read, notes)
    if head_text is not None and not pytorch:
        raise UsageError(
            f"head= is for files that do not tell their head, not for {source.summary} that does"
        )
    if checkpoint.head is not None:
        return Classifier(checkpoint, _outputs(checkpoint.head), {}, checkpoint.head)
    if pytorch:
        classifier = find_head(wanted, checkpoint, head_text, pooling)
    else:
        classifier = find_linear(source, wanted, checkpoint)
    if classifier is None:
        difference = f"no classifier {wanted[WEIGHT]} [classes, features]"
        advice = "a backbone alone? Save the network with its trained classifier"
        raise CheckpointError(_mismatch(variant, checkpoint, [difference], advice))
    return classifier


def _outputs(head: Head) -> int:
    """Number of outputs of the head's last linear layer."""
    return len([layer for layer in head.layers if isinstance(layer, Linear)][-1].weight)


def match(variant: Variant, graph: Graph, source: Source, classifier: Classifier) -> Weights:
    """The weights of ``graph``: float32, with canonical names and layout.

    Raises:
        CheckpointError: Tensors are missing, unexpected, of another shape, or not float.
    """
    tensors = classifier.checkpoint.tensors
    wanted = {**source.names(graph), **classifier.names}
    located = {
        ours: source.layout(ours, tensors[theirs])
        for ours, theirs in wanted.items()
        if theirs in tensors
    }
    differences = _differences(wanted, located, graph, source, classifier.checkpoint)
    if differences:
        damaged = len(differences) == 1 and differences[0].startswith(_MISSING)
        advice = _DAMAGED if damaged else _CHANGED + onnx_way(classifier.checkpoint.tensors)
        raise CheckpointError(_mismatch(variant, classifier.checkpoint, differences, advice))
    integers = [wanted[name] for name, values in located.items() if values.dtype.kind != "f"]
    if integers:
        raise CheckpointError(
            f"{classifier.checkpoint.path} holds integers where weights belong: {_quote(integers)};"
            " it is quantized or damaged: give the float checkpoint that it was made from"
        )
    return {
        name: np.ascontiguousarray(values, dtype=np.float32) for name, values in located.items()
    }


def unusable(weights: Weights) -> str | None:
    """A warning about tensors with NaN, infinity or negative variances; None without them."""
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:
        return (
            f"NaN or infinity in {_quote(broken)}: predictions will be NaN; use another checkpoint"
        )
    negative = [n for n, v in weights.items() if n.endswith(".running_var") and (v < 0).any()]
    if negative:
        return f"negative variances in {_quote(negative)}: predictions may be NaN; is it damaged?"
    return None


def sigmoid_prior(weights: Weights, output: str) -> str | None:
    """A sign that the outputs are sigmoids: every bias of the last layer is that of a rare label.

    A softmax ignores what all biases have in common, so training leaves their mean near 0.
    """
    biases = weights.get(f"{output}.bias")
    if biases is None or not np.max(biases) <= _RARE:
        return None
    return f"all biases of its last layer are below {_RARE:g}, as for rare independent labels"


def _differences(
    wanted: Mapping[str, str],
    located: Mapping[str, NDArray[np.generic]],
    graph: Graph,
    source: Source,
    checkpoint: Checkpoint,
) -> list[str]:
    known = set(wanted.values())
    missing = [theirs for ours, theirs in wanted.items() if ours not in located]
    surplus = [n for n in checkpoint.tensors if n not in known and not n.endswith(source.ignored)]
    shapes = [
        f"{wanted[ours]} is {list(values.shape)}, expected {list(graph.parameter_shapes[ours])}"
        for ours, values in located.items()
        if values.shape != graph.parameter_shapes[ours]
    ]
    kinds = ((_MISSING, missing), ("surplus", surplus), ("other shapes", shapes))
    return [f"{kind}: {_quote(names)}" for kind, names in kinds if names]


def _mismatch(variant: Variant, checkpoint: Checkpoint, differences: list[str], advice: str) -> str:
    """Error message for a checkpoint that differs from ``variant``, with the better variant if any.

    ``advice`` is used if no other variant fits better.
    """
    guess = guess_variant(checkpoint.tensors)
    refusal = f"{checkpoint.path} is not a checkpoint of {variant.name}"
    listing = "; ".join(differences)
    if guess is None:
        return f"{refusal}: {listing}. it fits no known variant; is it an EfficientNet?"
    if guess == variant:
        return f"{refusal}: {listing}. it still looks most like {guess.short_name}: {advice}"
    return f"{refusal}; it looks like {guess.short_name}: use that variant ({listing})"


def _quote(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    rest = len(names) - _MOST_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown
