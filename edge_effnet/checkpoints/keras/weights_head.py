"""Head of a weights-only Keras file: guessed if it has one Dense layer, else from the user's list.

Such a file has arrays, but neither the order of layers nor their settings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.head_words import FUNCTIONS, epsilon_of, parse
from edge_effnet.checkpoints.keras.head import (
    complete_norm,
    is_scale,
    linear_layer,
    norm_layer,
)
from edge_effnet.checkpoints.readers.hdf5 import Layer
from edge_effnet.errors import CheckpointError
from edge_effnet.heads import Affine, Function, Head, Linear, Normalization
from edge_effnet.heads import Layer as HeadLayer
from edge_effnet.variants import BN_EPS_TENSORFLOW

WHOLE = "give the whole model: model.save('model.keras')"
_EPSILONS = (1e-5, 1e-3)  # usual epsilons of layers.BatchNormalization
_MATTERS = 1e-4
#: Classes of layers, in snake case, by which a head pools in another way than by the average.
POOLING = re.compile(r"(global_max_pooling2d|concatenate|average)(_\d+)?\b")
_WORDS = {"linear": "dense", "batchnorm": "batch_normalization", "layernorm": "layer_normalization"}


def head_layers(layers: Sequence[Layer]) -> list[Layer]:
    """The layers of the head: Dense and LayerNormalization layers, and the last normalisations.

    The network has one BatchNormalization after each convolution without a bias; the layers that
    follow those are the head's.
    """
    bare = sum(
        layer.kind == "depthwise_conv2d"
        or (layer.kind == "conv2d" and "bias" not in layer.variables)
        for layer in layers
    )
    norms = [layer for layer in layers if layer.kind == "batch_normalization"][bare:]
    others = [layer for layer in layers if layer.kind in ("dense", "layer_normalization")]
    return [*others, *norms]


def read_head(
    layers: Sequence[Layer], pooling: Sequence[str], text: str | None
) -> tuple[Head, tuple[str, ...]]:
    """The head made of its stored ``layers``, and notes on what was guessed.

    Args:
        layers: The result of `head_layers`.
        pooling: Names of layers that pool in another way than by the average.
        text: The user's list of layers; None to guess.

    Raises:
        CheckpointError: The list and the file differ, or there is too much to guess.
        UsageError: The list has an unknown word.
    """
    if text is not None:
        return _described(layers, text), ()
    if pooling:
        raise CheckpointError(
            f"a file of weights does not tell what its layer {pooling[0]} does",
            hint=f"{WHOLE}; or give the layers, as in head='maxpool, linear'",
        )
    return _guessed(layers)


def _described(layers: Sequence[Layer], text: str) -> Head:
    parsed = parse(text)
    queues = {kind: [x for x in layers if x.kind == kind] for kind in _WORDS.values()}
    head: list[HeadLayer] = []
    for word in parsed.words:
        kind = word.partition(":")[0]
        if kind in FUNCTIONS:
            head.append(Function(FUNCTIONS[kind]))
            continue
        if kind not in _WORDS:
            raise CheckpointError(f"no layer of Keras is a {kind} layer of the head {text!r}")
        if not queues[_WORDS[kind]]:
            raise CheckpointError(f"it has fewer {kind} layers than the head {text!r}")
        variables = queues[_WORDS[kind]].pop(0).variables
        epsilon = epsilon_of(word, BN_EPS_TENSORFLOW)
        if kind == "linear":
            head.append(linear_layer(variables))
        elif kind == "batchnorm":
            head.append(norm_layer(variables, epsilon, {}))
        else:
            arrays = complete_norm(variables, {})
            head.append(Normalization(arrays["gamma"], arrays["beta"], epsilon))
    left = [layer.name for queue in queues.values() for layer in queue]
    if left:
        raise CheckpointError(f"its layers {', '.join(left)} are not in the head {text!r}")
    _check_sizes(head, text)
    return Head(tuple(head), parsed.pooling or "avg")


def _check_sizes(head: Sequence[HeadLayer], text: str) -> None:
    """Raise `CheckpointError` if a layer does not take the values of the layer before it."""
    size = 0
    for layer in head:
        if isinstance(layer, Function):
            continue
        takes = layer.weight.shape[1] if isinstance(layer, Linear) else len(_vector(layer))
        if size and takes != size:
            raise CheckpointError(
                f"the head {text!r} has a layer of {takes} inputs after one of {size} outputs"
            )
        size = len(layer.weight) if isinstance(layer, Linear) else takes


def _vector(layer: Affine | Normalization) -> NDArray[Any]:
    """The shift of a normalisation, one value per feature."""
    return layer.shift if isinstance(layer, Affine) else layer.bias


def _guessed(layers: Sequence[Layer]) -> tuple[Head, tuple[str, ...]]:
    """One Dense layer, with at most one normalisation before or after it."""
    dense = [layer for layer in layers if layer.kind == "dense"]
    norms = [layer for layer in layers if layer.kind == "batch_normalization"]
    others = [layer for layer in layers if layer.kind == "layer_normalization"]
    if not dense:
        raise CheckpointError(
            f"its head has 0 Dense layers (include_top=False?); a file of weights does not tell "
            f"what stands between them: {WHOLE}"
        )
    if len(dense) > 1 or len(norms) > 1 or others:
        names = ", ".join(layer.name for layer in layers)
        raise CheckpointError(
            f"its head has {len(dense)} Dense layers and {len(norms) + len(others)} normalisations "
            f"({names}), and a file of weights does not tell their order, the activations between "
            "them and their epsilons",
            hint=f"{WHOLE}; or give the layers, as in head='batchnorm:0.001, linear, relu, linear'",
        )
    classifier = linear_layer(dense[0].variables)
    if not norms:
        return Head((classifier,)), ()
    (norm,) = norms
    affine = norm_layer(norm.variables, BN_EPS_TENSORFLOW, {})
    size = len(affine.shift)
    if size not in classifier.weight.shape:
        raise CheckpointError(f"its layer {norm.name!r} fits nowhere in its head; {WHOLE}")
    first = size == classifier.weight.shape[1]
    order = "batchnorm:0.00001, linear" if first else "linear, batchnorm:0.00001"
    variance = norm.variables["moving_variance"].astype(np.float64)
    small, large = (np.sqrt(np.maximum(variance, 0) + epsilon) for epsilon in _EPSILONS)
    change = float(np.max(large / small)) - 1
    note = (
        f"the epsilon of the batch normalisation {norm.name!r} is not in the file: taken for "
        f"Keras' default, 0.001; with 0.00001 its outputs were up to {change:.1%} larger; if it "
        f"was, give head='{order}'; to be sure, {WHOLE}"
    )
    notes: tuple[str, ...] = (note,) if change > _MATTERS else ()
    if "scale or shift" in norm.variables:
        part = "scale" if is_scale(norm.variables["scale or shift"]) else "shift"
        notes += (f"{norm.name!r} has one array for scale and shift: taken for the {part}",)
    return Head((affine, classifier) if first else (classifier, affine)), notes
