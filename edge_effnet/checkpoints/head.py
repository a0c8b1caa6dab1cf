"""A checkpoint's classifier, wherever fine-tuning put it: a linear layer on the pooled features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from edge_effnet.checkpoints.source import Checkpoint, Source, Tensors
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Dense, Graph
from edge_effnet.model import Weights

WEIGHT, BIAS = "classifier.weight", "classifier.bias"


@dataclass(frozen=True)
class Head:
    """Where the classifier is: its tensors' names, and the checkpoint in which both are found.

    ``note`` tells the user of a bias that was not there.
    """

    checkpoint: Checkpoint
    weight: str
    bias: str
    classes: int
    note: str | None = None


def find_head(source: Source, wanted: Mapping[str, str], checkpoint: Checkpoint) -> Head | None:
    """The classifier under its own name, or the only linear layer in its place; None without one.

    A head replaced in fine-tuning may sit one level deeper (``classifier.1.weight``), or outside
    the network in its wrapper. A missing bias is zero. Raises `CheckpointError` for a head of
    several layers.
    """
    tensors = checkpoint.tensors
    weight = wanted[WEIGHT]
    if weight not in tensors or tensors[weight].ndim != 2:
        own = weight.split(".")[0]
        inside = [n for n in tensors if n.split(".")[0] == own and _is_matrix(tensors, n)]
        outside = [n for n in checkpoint.outside if _is_head(source, wanted, checkpoint, n)]
        found = inside or outside
        if len(found) > 1:
            raise CheckpointError(
                f"the head of {checkpoint.path} has {len(found)} linear layers "
                f"({', '.join(found)}); a classifier of one linear layer is supported: fine-tune "
                "one on the pooled features"
            )
        if not found:
            return None
        weight = found[0]
        if not inside:
            tensors = {**tensors, **_linear(checkpoint.outside, weight)}
    bias = wanted[BIAS] if weight == wanted[WEIGHT] else weight.removesuffix("weight") + "bias"
    classes = int(source.layout(WEIGHT, tensors[weight]).shape[0])
    note = None
    if bias not in tensors:
        tensors = {**tensors, bias: np.zeros(classes, np.float32)}
        note = f"the classifier {weight} of {checkpoint.path.name} has no bias: taken as zero"
    return Head(replace(checkpoint, tensors=tensors), weight, bias, classes, note)


def without_background(graph: Graph, weights: Weights, classes: int) -> tuple[Graph, Weights]:
    """The network without its first class; raises `UsageError` unless ``classes`` are left then."""
    had = len(weights[WEIGHT])
    if had != classes + 1:
        raise UsageError(
            f"the classifier has {had} classes, not {classes + 1} of which the first could be left "
            "out",
            hint="omit classes=",
        )
    kept = [replace(n, units=classes) if isinstance(n, Dense) else n for n in graph]
    cut = {name: weights[name][1:] for name in (WEIGHT, BIAS)}
    return replace(graph, nodes=tuple(kept)), {**weights, **cut}


def with_new_classifier(graph: Graph, weights: Weights, classes: int) -> tuple[Graph, Weights]:
    """The network with an untrained classifier of ``classes``: seeded He-normal, zero bias."""
    features = weights[WEIGHT].shape[1]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((classes, features), np.float32) * np.float32(2 / features) ** 0.5
    nodes = [replace(n, units=classes) if isinstance(n, Dense) else n for n in graph]
    new = {WEIGHT: weight.astype(np.float32), BIAS: np.zeros(classes, np.float32)}
    return replace(graph, nodes=tuple(nodes)), {**weights, **new}


def _is_matrix(tensors: Tensors, name: str) -> bool:
    return name.endswith(".weight") and tensors[name].ndim == 2


def _is_head(source: Source, wanted: Mapping[str, str], checkpoint: Checkpoint, name: str) -> bool:
    """Whether the tensor outside takes as many features as the head's batch normalisation gives."""
    features = checkpoint.tensors.get(wanted["head.bn.weight"])
    tensor = checkpoint.outside[name]
    fits = features is not None and tensor.ndim == 2 and tensor.shape[1] == len(features)
    return fits and name.endswith(".weight")


def _linear(tensors: Tensors, weight: str) -> Tensors:
    names = (weight, weight.removesuffix("weight") + "bias")
    return {name: tensors[name] for name in names if name in tensors}
