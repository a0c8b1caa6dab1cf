"""Checkpoint + graph -> canonical weights, once every name and shape was checked."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.detect import guess_variant
from edge_effnet.checkpoints.source import Checkpoint, Source
from edge_effnet.errors import CheckpointError
from edge_effnet.graph import Graph
from edge_effnet.network import build
from edge_effnet.variants import Variant

_MOST_NAMES = 6  # names quoted in a message before the rest is counted


def count_classes(variant: Variant, source: Source, checkpoint: Checkpoint) -> int:
    """Classes of the checkpoint's classifier; raises `CheckpointError` where it has none."""
    ours = "classifier.weight"
    theirs = source.names(build(variant))[ours]
    if theirs not in checkpoint.tensors or checkpoint.tensors[theirs].ndim != 2:
        problem = f"no classifier {theirs} [classes, features]"
        raise CheckpointError(_mismatch(variant, checkpoint, [problem]))
    return int(source.layout(ours, checkpoint.tensors[theirs]).shape[0])


def match(
    variant: Variant, graph: Graph, source: Source, checkpoint: Checkpoint
) -> dict[str, NDArray[np.float32]]:
    """The weights of ``graph`` in canonical names, layout and float32.

    Raises `CheckpointError` naming what is missing, surplus or of another shape.
    """
    tensors = checkpoint.tensors
    wanted = source.names(graph)
    found = {
        ours: source.layout(ours, tensors[theirs])
        for ours, theirs in wanted.items()
        if theirs in tensors
    }
    differences = _differences(wanted, found, graph, source, checkpoint)
    if differences:
        raise CheckpointError(_mismatch(variant, checkpoint, differences))
    return {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in found.items()}


def _differences(
    wanted: Mapping[str, str],
    found: Mapping[str, NDArray[np.generic]],
    graph: Graph,
    source: Source,
    checkpoint: Checkpoint,
) -> list[str]:
    known = set(wanted.values())
    missing = [theirs for ours, theirs in wanted.items() if ours not in found]
    surplus = [n for n in checkpoint.tensors if n not in known and not n.endswith(source.ignored)]
    shapes = [
        f"{wanted[ours]} is {list(values.shape)}, expected {list(graph.parameter_shapes[ours])}"
        for ours, values in found.items()
        if values.shape != graph.parameter_shapes[ours]
    ]
    kinds = (("missing", missing), ("surplus", surplus), ("other shapes", shapes))
    return [f"{kind}: {_quote(names)}" for kind, names in kinds if names]


def _mismatch(variant: Variant, checkpoint: Checkpoint, differences: list[str]) -> str:
    guess = guess_variant(checkpoint.tensors)
    if guess is None:
        advice = "it fits no known variant; is it an EfficientNet?"
    elif guess == variant:
        advice = f"it still looks most like {guess.short_name}: is it damaged or unfinished?"
    else:
        advice = f"it looks like {guess.short_name}: use that variant"
    return (
        f"{checkpoint.path} is not a checkpoint of {variant.name}: {'; '.join(differences)}. "
        f"{advice}"
    )


def _quote(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    rest = len(names) - _MOST_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown
