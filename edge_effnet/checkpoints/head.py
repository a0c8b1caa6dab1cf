"""Classifier of a checkpoint: the linear layer on the pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge_effnet.checkpoints.source import Checkpoint, Source
from edge_effnet.errors import UsageError
from edge_effnet.graph import Dense, Graph, Node
from edge_effnet.heads import Head
from edge_effnet.model import Weights

WEIGHT, BIAS = "classifier.weight", "classifier.bias"


@dataclass(frozen=True)
class Classifier:
    """Classifier (head) of a checkpoint.

    ``names`` maps canonical parameters to tensor names. It is empty if ``head`` contains the layers
    with their weights. ``checkpoint`` is the checkpoint without the tensors outside the network.
    ``notes`` tell the user what was assumed.
    """

    checkpoint: Checkpoint
    classes: int
    names: Mapping[str, str]
    head: Head | None = None
    notes: tuple[str, ...] = ()


def find_linear(
    source: Source, wanted: Mapping[str, str], checkpoint: Checkpoint
) -> Classifier | None:
    """The classifier with the source's default name; None if it is missing.

    A missing bias is treated as zero.
    """
    tensors, weight, bias = checkpoint.tensors, wanted[WEIGHT], wanted[BIAS]
    if weight not in tensors or tensors[weight].ndim != 2:
        return None
    classes = int(source.layout(WEIGHT, tensors[weight]).shape[0])
    notes: tuple[str, ...] = ()
    if bias not in tensors:
        tensors = {**tensors, bias: np.zeros(classes, np.float32)}
        file = checkpoint.path.name
        notes = (f"the classifier {weight} of {file} has no bias: taken as zero",)
    complete = replace(checkpoint, tensors=tensors)
    return Classifier(complete, classes, {WEIGHT: weight, BIAS: bias}, notes=notes)


def without_background(graph: Graph, weights: Weights, classes: int) -> tuple[Graph, Weights]:
    """The network without its first class; raises `UsageError` if not ``classes`` remain."""
    had = len(weights[WEIGHT])
    if had != classes + 1:
        raise UsageError(
            f"the classifier has {had} classes, not {classes + 1} of which the first could be left "
            "out",
            hint="omit classes=",
        )
    nodes = [_resized(node, classes) for node in graph]
    cut = {name: weights[name][1:] for name in (WEIGHT, BIAS)}
    return replace(graph, nodes=tuple(nodes)), {**weights, **cut}


def with_new_classifier(graph: Graph, weights: Weights, classes: int) -> tuple[Graph, Weights]:
    """The network with an untrained classifier of ``classes`` (seeded He-normal, zero bias)."""
    features = weights[WEIGHT].shape[1]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((classes, features), np.float32) * np.float32(2 / features) ** 0.5
    nodes = [_resized(node, classes) for node in graph]
    new = {WEIGHT: weight.astype(np.float32), BIAS: np.zeros(classes, np.float32)}
    return replace(graph, nodes=tuple(nodes)), {**weights, **new}


def _resized(node: Node, classes: int) -> Node:
    """``node``, with ``classes`` units if it is the classifier."""
    if isinstance(node, Dense) and f"{node.name}.weight" == WEIGHT:
        return replace(node, units=classes)
    return node
