"""Parsing of a Keras model's JSON config: the arithmetic that the weights do not contain.

Nothing in it is executed or imported; layers of unlisted classes are refused by name. The graph's
normalisation is returned as mean and std in pixel units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_effnet.checkpoints.accounting import KERAS_ONNX_WAY
from edge_effnet.checkpoints.keras.front import INERT, Front, Stats, read_front
from edge_effnet.checkpoints.keras.head import KerasHead, read_head
from edge_effnet.checkpoints.keras.layers import SAVE_WITHOUT, KerasLayer, flatten, function, square
from edge_effnet.errors import CheckpointError
from edge_effnet.variants import ActivationKind

_BACKBONE = {
    "InputLayer", "ZeroPadding2D", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "Activation",
    "ReLU", "GlobalAveragePooling2D", "Reshape", "Multiply", "Add",
}  # fmt: skip
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
_ACTIVATIONS: dict[str, ActivationKind] = {"swish": "swish", "silu": "swish", "relu6": "relu6"}
#: Activations accepted inside convolutions; squeeze-excite convolutions have them.
_INSIDE = {
    "Conv2D": {"swish", "silu", "relu", "relu6", "sigmoid", "linear"},
    "DepthwiseConv2D": {"linear"},
}


@dataclass(frozen=True)
class Description:
    """Properties of a Keras graph that the weights do not determine.

    Attributes:
        front: Operations on pixels before the first convolution.
        activation: The activation after convolutions.
        bn_eps: Epsilon of the batch normalisations before the head.
        head: The layers after the last convolution.
        norms: Settings of the batch normalisations before the head, in order.
        padded: Whether strided convolutions are padded by ZeroPadding2D layers, for one input size.
    """

    front: Front
    activation: ActivationKind
    bn_eps: float
    head: KerasHead
    norms: tuple[Mapping[str, Any], ...]
    padded: bool


def describe(config: Mapping[str, Any], learned: Sequence[tuple[str, Stats]]) -> Description:
    """Description of a model's config.

    Args:
        config: The config.
        learned: Statistics of the Normalization layers by name.

    Raises:
        CheckpointError: A layer is unknown, runs code, or does not belong to this family.
    """
    layers = flatten(config)
    for layer in layers:
        if layer.settings.get("data_format", "channels_last") != "channels_last":
            raise CheckpointError(
                f"its layer {layer.name!r} runs on channels first; save the model with channels "
                "last"
            )
    first, last = _ends(layers)
    front = read_front(layers[:first], learned, _side(layers))
    backbone = [layer for layer in layers[first:last] if layer.kind not in INERT]
    for layer in backbone:
        _check(layer)
    norms = [layer for layer in backbone if layer.kind == "BatchNormalization"]
    epsilons = {float(layer.settings["epsilon"]) for layer in norms}
    if len(epsilons) != 1:
        raise CheckpointError(
            f"its batch normalisations use {len(epsilons)} epsilons; save one network alone"
        )
    head = read_head(layers[last:])
    settings = tuple(layer.settings for layer in norms)
    padded = any(layer.kind == "ZeroPadding2D" for layer in backbone)
    return Description(front, _activation(backbone), epsilons.pop(), head, settings, padded)


def _ends(layers: Sequence[KerasLayer]) -> tuple[int, int]:
    """Indices of the first convolution (or its padding) and of the head's first layer."""
    indices = [i for i, layer in enumerate(layers) if layer.kind in _CONVOLUTIONS]
    if not indices and len(layers) == 1:
        raise CheckpointError(
            f"it is a model of a class of its own, {layers[0].kind}, whose file does not list its "
            "layers; build the network as keras.Model(inputs, outputs) or keras.Sequential, copy "
            f"the weights, and save that; or: {KERAS_ONNX_WAY}"
        )
    if not indices:
        raise CheckpointError("it has no convolutions; is it an EfficientNet?")
    first, last = indices[0], indices[-1] + 1
    if first and layers[first - 1].kind == "ZeroPadding2D":
        first -= 1
    for kinds in (("BatchNormalization",), ("Activation", "ReLU")):
        if last < len(layers) and layers[last].kind in kinds:
            last += 1
    return first, last


def _check(layer: KerasLayer) -> None:
    kind, settings = layer.kind, layer.settings
    if kind not in _BACKBONE:
        raise CheckpointError(
            f"its layer {layer.name!r} is a {kind.lstrip('.')}, which no EfficientNet classifier "
            f"has; {SAVE_WITHOUT}"
        )
    name = function(settings.get("activation"))
    if kind in _INSIDE and name not in _INSIDE[kind]:
        raise CheckpointError(_other_activation(layer, name))
    if kind in _CONVOLUTIONS and square(layer, "dilation_rate") != 1:
        raise CheckpointError(f"its layer {layer.name!r} is dilated, as no EfficientNet is")


def _activation(backbone: Sequence[KerasLayer]) -> ActivationKind:
    """The activation between convolutions."""
    first_layers: dict[str, KerasLayer] = {}
    for layer in backbone:
        name = function(layer.settings.get("activation"))
        if layer.kind == "ReLU":
            name = "relu6" if layer.settings.get("max_value") == 6 else "relu"
        elif layer.kind != "Activation":
            continue
        first_layers.setdefault(name, layer)
    known = {_ACTIVATIONS[name] for name in first_layers if name in _ACTIVATIONS}
    odd = [name for name in first_layers if name not in {*_ACTIVATIONS, "sigmoid", "linear"}]
    if odd:
        raise CheckpointError(_other_activation(first_layers[odd[0]], odd[0]))
    if len(known) != 1:
        raise CheckpointError(
            f"its convolutions have {' and '.join(sorted(known)) or 'no activations'} after them; "
            "one of swish and relu6 can be read"
        )
    return known.pop()


def _other_activation(layer: KerasLayer, name: str) -> str:
    return (
        f"its layer {layer.name!r} has the activation {name} instead of swish (of relu6 in "
        "EfficientNet-Lite); networks with other activations cannot be read from Keras"
    )


def _side(layers: Sequence[KerasLayer]) -> int | None:
    """Side of the first input with a size."""
    for layer in layers:
        shape = layer.settings.get("batch_shape") or layer.settings.get("batch_input_shape")
        if layer.kind != "InputLayer" or not shape:
            continue
        if len(shape) != 4 or shape[3] not in (1, 3, None):
            raise CheckpointError(
                f"its input is {shape}, not RGB or grey pictures [n, height, width, 3 or 1]"
            )
        if shape[1] != shape[2]:
            raise CheckpointError(
                f"its input is {shape[1]} x {shape[2]}; only squares can be read: build it with "
                "input_shape=(side, side, 3), load these weights into it and save it again"
            )
        return None if shape[1] is None else int(shape[1])
    return None
