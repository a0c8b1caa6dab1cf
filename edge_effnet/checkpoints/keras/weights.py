"""Tensors and head of a network, from stored Keras layers and, if present, the config."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.keras.config import Description, describe
from edge_effnet.checkpoints.keras.head import (
    WEIGHTED_KINDS,
    build_head,
    complete_norm,
    is_scale,
    norm_layer,
)
from edge_effnet.checkpoints.readers.hdf5 import Layer
from edge_effnet.checkpoints.source import Checkpoint
from edge_effnet.errors import CheckpointError
from edge_effnet.heads import Head, Linear
from edge_effnet.heads import Layer as HeadLayer
from edge_effnet.variants import BN_EPS_TENSORFLOW

WHOLE = "give the whole model: model.save('model.keras')"
_KINDS = ("conv2d", "depthwise_conv2d", "batch_normalization", "dense", "layer_normalization")
_EPSILONS = (1e-5, 1e-3)  # usual epsilons of layers.BatchNormalization
_MATTERS = 1e-4
#: Classes of harmless layers without weights, in snake case.
_SILENT = {
    "activation", "activity_regularization", "add", "dropout", "flatten",
    "global_average_pooling2d", "identity", "input_layer", "multiply", "normalization", "re_lu",
    "rescaling", "reshape", "softmax", "spatial_dropout2d", "zero_padding2d",
}  # fmt: skip
#: Prefixes of augmentation and noise classes, in snake case.
_NOISE = ("alpha_", "aug_", "cut_mix", "fixed_", "gaussian_", "mix_up", "rand_", "random_")
#: Prefixes of other layers' default names. A legacy file has names only, no classes.
_TELLING = re.compile(
    r"(lambda|resizing|center_crop|random_crop|tf\.|tf_op_layer|global_max_pooling2d|concatenate"
    r"|average|subtract|true_divide|divide|negative|permute)(_\d+)?\b"
)


@dataclass(frozen=True)
class KerasCheckpoint(Checkpoint):
    """A Keras checkpoint; ``tensors`` are the tensors before the head.

    Attributes:
        described: Description of the config; None for a weights-only file.
        normalises: Whether the graph normalises its input; None if unknown.
        statistics: Mean and variance of the backbone's Normalization layers.
        rescalings: Number of Rescaling layers in the backbone.
        unknown: A layer before the network whose settings are not in the file.
        hidden: Whether there may be arithmetic before the network that the file does not show.
    """

    described: Description | None = None
    normalises: bool | None = None
    statistics: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] = ()
    rescalings: int = 0
    unknown: str | None = None
    hidden: bool = False


def checkpoint_of(
    path: Path, layers: Sequence[Layer], config: Mapping[str, Any] | None
) -> KerasCheckpoint:
    """The checkpoint made of the stored ``layers``.

    Raises:
        CheckpointError: The layers are not an EfficientNet classifier.
    """
    for layer in layers:
        if layer.variables and layer.kind not in (*_KINDS, "normalization"):
            raise CheckpointError(
                f"its layer {layer.name!r} is none that an EfficientNet has; save the network "
                "without it"
            )
    if config is None:
        return _of_weights(path, layers)
    learned = [
        (layer.name, (layer.variables["mean"], layer.variables["variance"]))
        for layer in layers
        if layer.kind == "normalization" and layer.variables
    ]
    described = describe(config, learned)
    weighted = described.head.weighted
    queues: dict[str, list[Layer]] = {}
    for kind, variable_names in WEIGHTED_KINDS.items():
        names = [layer.name for layer in weighted if layer.kind == kind]
        queues[kind] = _chosen([layer for layer in layers if layer.kind == variable_names], names)
    ordered = [queues[layer.kind].pop(0) for layer in weighted]
    for configured, stored in zip(weighted, ordered, strict=True):
        units = configured.settings.get("units")
        if configured.kind == "Dense" and stored.variables["kernel"].shape[-1] != units:
            raise CheckpointError(
                f"its layer {configured.name!r} has {units} units and {stored.name!r} in the file "
                f"{stored.variables['kernel'].shape[-1]}; save the model again"
            )
    return KerasCheckpoint(
        path,
        _tensors([layer for layer in layers if layer not in _Same(ordered)], described.norms),
        described=described,
        normalises=described.front.mean is not None,
        head=build_head(described.head, ordered),
    )


class _Same:
    """Set of layers by identity, because the arrays in layers have no equality."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.ids = {id(layer) for layer in layers}

    def __contains__(self, layer: object) -> bool:
        return id(layer) in self.ids


def _chosen(candidates: Sequence[Layer], names: Sequence[str]) -> list[Layer]:
    """The layers called ``names``; the last ``len(names)`` layers if the file lacks a name."""
    by_name = {layer.name: layer for layer in candidates}
    if all(name in by_name for name in names):
        return [by_name[name] for name in names]
    if len(candidates) < len(names):
        raise CheckpointError(f"the weights of {', '.join(names)} are not in it; save it again")
    return list(candidates[len(candidates) - len(names) :])


def _of_weights(path: Path, layers: Sequence[Layer]) -> KerasCheckpoint:
    """A weights-only file: one Dense layer, and at most one normalisation in the head."""
    home = next((layer.model for layer in layers if layer.kind == "conv2d"), "")
    nested = bool(home)
    unknown = None
    for layer in layers:
        outside = nested and layer.model != home and not layer.variables
        name = layer.name if layer.name == layer.kind else f"{layer.name} ({layer.kind})"
        silent = layer.kind in _SILENT or layer.kind.startswith(_NOISE)
        odd = _TELLING.match(layer.kind) or (layer.numbered and not silent)
        if not layer.variables and odd:
            raise CheckpointError(
                f"a file of weights does not tell what its layer {name} does; {WHOLE}"
            )
        if (outside and layer.kind in ("rescaling", "add", "multiply")) or (
            nested and layer.model != home and layer.kind == "normalization"
        ):
            unknown = name
        if layer.kind == "layer_normalization":
            raise CheckpointError(
                f"a file of weights does not tell the epsilon of its layer {name}; {WHOLE}"
            )
    head, notes, used = _linear_head(layers)
    statistics = tuple(
        (layer.variables["mean"], layer.variables["variance"])
        for layer in layers
        if layer.kind == "normalization" and layer.variables and layer.model == home
    )
    rescalings = sum(layer.kind == "rescaling" and layer.model == home for layer in layers)
    tells = not nested or any(layer.numbered for layer in layers)
    normalises = bool(statistics or rescalings)
    return KerasCheckpoint(
        path,
        _tensors([layer for layer in layers if layer not in _Same(used)], ()),
        normalises=normalises or (False if tells else None),
        statistics=statistics,
        rescalings=rescalings,
        unknown=unknown,
        hidden=nested,
        head=head,
        notes=notes,
    )


def _linear_head(layers: Sequence[Layer]) -> tuple[Head | None, tuple[str, ...], list[Layer]]:
    """The Dense layer with a normalisation before or after it, notes, and the layers used.

    The network has one normalisation after each convolution without a bias. If there is one more,
    the last normalisation is the head's. Its epsilon is not in the file.
    """
    dense = [layer for layer in layers if layer.kind == "dense"]
    if len(dense) != 1:
        names = ", ".join(layer.name for layer in dense) or "include_top=False?"
        raise CheckpointError(
            f"its head has {len(dense)} Dense layers ({names}); a file of weights does not tell "
            f"what stands between them: {WHOLE}"
        )
    kernel = dense[0].variables["kernel"]
    bias = dense[0].variables.get("bias", np.zeros(kernel.shape[1], np.float32))
    head: list[HeadLayer] = [Linear(kernel.T, bias)]
    norms = [layer for layer in layers if layer.kind == "batch_normalization"]
    bare = sum(
        layer.kind == "depthwise_conv2d"
        or (layer.kind == "conv2d" and "bias" not in layer.variables)
        for layer in layers
    )
    if len(norms) != bare + 1:
        return Head(tuple(head)), (), dense
    norm = norms[-1]
    size = len(norm.variables["moving_mean"])
    affine = norm_layer(norm.variables, BN_EPS_TENSORFLOW, {})
    if size not in kernel.shape:
        raise CheckpointError(f"its layer {norm.name!r} fits nowhere in its head; {WHOLE}")
    head.insert(0 if size == kernel.shape[0] else 1, affine)
    variance = norm.variables["moving_variance"].astype(np.float64)
    small, large = (np.sqrt(np.maximum(variance, 0) + epsilon) for epsilon in _EPSILONS)
    change = float(np.max(large / small)) - 1
    note = (
        f"the epsilon of the batch normalisation {norm.name!r} is not in the file: taken for "
        f"Keras' default, 0.001; with 0.00001 its outputs were up to {change:.1%} larger; to be "
        f"sure, {WHOLE}"
    )
    notes: tuple[str, ...] = (note,) if change > _MATTERS else ()
    if "scale or shift" in norm.variables:
        part = "scale" if is_scale(norm.variables["scale or shift"]) else "shift"
        notes += (f"{norm.name!r} has one array for scale and shift: taken for the {part}",)
    return Head(tuple(head)), notes, [*dense, norm]


def _tensors(layers: Sequence[Layer], norms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """``conv2d_3/kernel`` -> array, numbered by class; missing gammas and betas are added."""
    counts: Counter[str] = Counter()
    tensors: dict[str, Any] = {}
    settings = iter(norms)
    for layer in layers:
        if not layer.variables or layer.kind not in _KINDS:
            continue
        variables = layer.variables
        if layer.kind == "batch_normalization":
            variables = complete_norm(variables, next(settings, {}))
        number = numbered(layer.kind, counts)
        tensors |= {f"{number}/{part}": values for part, values in variables.items()}
    return tensors


def numbered(kind: str, counts: Counter[str]) -> str:
    """The next name of a class, as in Keras's files: ``conv2d``, ``conv2d_1``, ..."""
    number = counts[kind]
    counts[kind] += 1
    return f"{kind}_{number}" if number else kind
