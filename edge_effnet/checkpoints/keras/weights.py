"""Tensors and head of a network, from stored Keras layers and, if present, the config."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.keras.config import Description, describe
from edge_effnet.checkpoints.keras.head import (
    WEIGHTED_KINDS,
    build_head,
    complete_norm,
)
from edge_effnet.checkpoints.keras.weights_head import POOLING, WHOLE, head_layers, read_head
from edge_effnet.checkpoints.readers.hdf5 import Layer
from edge_effnet.checkpoints.source import Checkpoint
from edge_effnet.errors import CheckpointError

_KINDS = ("conv2d", "depthwise_conv2d", "batch_normalization", "dense", "layer_normalization")
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
        grey: Whether the first convolution takes one channel.
    """

    described: Description | None = None
    normalises: bool | None = None
    statistics: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...] = ()
    rescalings: int = 0
    unknown: str | None = None
    hidden: bool = False
    grey: bool = False


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
    """A weights-only file, whose head is read later: the user may list its layers."""
    home = next((layer.model for layer in layers if layer.kind == "conv2d"), "")
    nested = bool(home)
    unknown = None
    pooling: list[str] = []
    for layer in layers:
        outside = nested and layer.model != home and not layer.variables
        name = layer.name if layer.name == layer.kind else f"{layer.name} ({layer.kind})"
        silent = layer.kind in _SILENT or layer.kind.startswith(_NOISE)
        odd = _TELLING.match(layer.kind) or (layer.numbered and not silent)
        if not layer.variables and POOLING.match(layer.kind):
            pooling.append(name)
        elif not layer.variables and odd:
            raise CheckpointError(
                f"a file of weights does not tell what its layer {name} does; {WHOLE}"
            )
        if (outside and layer.kind in ("rescaling", "add", "multiply")) or (
            nested and layer.model != home and layer.kind == "normalization"
        ):
            unknown = name
    used = head_layers(layers)
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
        grey=_takes_grey(layers),
        head_reader=partial(read_head, used, pooling),
    )


def _takes_grey(layers: Sequence[Layer]) -> bool:
    """Whether the first convolution [height, width, in, out] has one input channel."""
    kernel = next((x.variables.get("kernel") for x in layers if x.kind == "conv2d"), None)
    return kernel is not None and kernel.ndim == 4 and kernel.shape[2] == 1


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
