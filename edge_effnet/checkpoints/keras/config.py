"""The config of a Keras model, as JSON -> what its graph does besides the weights.

Nothing in it is executed or imported: a layer of a class that is not listed here is refused by
name. The normalisation inside the graph comes out as mean and std in pixel units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import CheckpointError

_MODELS = {"Functional", "Model", "Sequential"}
_BACKBONE = {
    "InputLayer", "Rescaling", "Normalization", "ZeroPadding2D", "Conv2D", "DepthwiseConv2D",
    "BatchNormalization", "Activation", "GlobalAveragePooling2D", "Reshape", "Multiply", "Add",
    "Dropout", "Dense", "Softmax",
}  # fmt: skip
#: Layers that do nothing at inference. FixedDropout is of the PyPI package "efficientnet".
_TRAINING = {
    "ActivityRegularization", "AlphaDropout", "FixedDropout", "GaussianDropout", "GaussianNoise",
    "RandomBrightness", "RandomContrast", "RandomCrop", "RandomFlip", "RandomHeight", "RandomHue",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation",
    "RandomWidth", "RandomZoom", "SpatialDropout2D",
}  # fmt: skip
_CODE = {"Lambda", "TFOpLambda", "SlicingOpLambda"}
_ACTIVATIONS = {
    "Activation": {"swish", "silu", "softmax", "linear"},
    "Conv2D": {"swish", "silu", "sigmoid", "linear"},  # squeeze-excite has them inside
    "DepthwiseConv2D": {"linear"},
}
_EPSILON = (
    1e-7  # keras.backend.epsilon(): the least standard deviation that Normalization divides by
)
_HEAD = {"Dropout", "BatchNormalization", "Dense", "Softmax", "Activation"} | _TRAINING

Stats = tuple[NDArray[np.float32], NDArray[np.float32]]  # mean, variance of a Normalization


@dataclass(frozen=True)
class KerasLayer:
    """One layer of the config: its class, its name, its own settings."""

    kind: str
    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Description:
    """What the graph does: ``mean`` and ``std`` are None where it does not normalise.

    ``side`` is the input's in pixels, None where it is left open; ``strides`` are those of the
    convolutions (depthwise ones among them) in order.
    """

    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    side: int | None
    bn_eps: float
    strides: tuple[int, ...]


def describe(config: Mapping[str, Any], learned: list[Stats]) -> Description:
    """Read a model's config; ``learned`` are the statistics of its Normalization layers in order.

    Raises `CheckpointError` for layers that are unknown, that run code, or that make it another
    network than a classifier of this family.
    """
    layers = list(_flatten(config))
    for layer in layers:
        _check(layer)
    first = next((i for i, layer in enumerate(layers) if layer.kind == "Conv2D"), len(layers))
    _check_head(layers)
    epsilons = {
        float(layer.settings["epsilon"])
        for layer in layers[: _last_pool(layers)]
        if layer.kind == "BatchNormalization"
    }
    if len(epsilons) != 1:
        raise CheckpointError(
            f"its batch normalisations use {len(epsilons)} epsilons; save one network alone"
        )
    mean, std = _normalisation(layers[:first], learned)
    strides = tuple(
        _square(layer, "strides") for layer in layers if layer.kind in ("Conv2D", "DepthwiseConv2D")
    )
    return Description(mean, std, _side(layers), epsilons.pop(), strides)


def affine(scale: NDArray[np.float64], offset: NDArray[np.float64]) -> tuple[Any, Any]:
    """The (mean, std) by which (x - mean) / std is scale * x + offset, in 9 significant digits."""
    if not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        raise CheckpointError("its normalisation has a scale that is not positive")
    mean, std = np.broadcast_to(-offset / scale, 3), np.broadcast_to(1.0 / scale, 3)
    return tuple(float(f"{v:.9g}") + 0.0 for v in mean), tuple(float(f"{v:.9g}") for v in std)


def _flatten(config: Mapping[str, Any], depth: int = 0) -> Iterator[KerasLayer]:
    """Every layer in execution order, those of nested models in their place."""
    kind, inner = config["class_name"], config["config"]
    registered = config.get("registered_name") or kind
    if ">" in registered:  # "package>Class": somebody's own, whatever it calls itself
        kind = registered
    if kind in _MODELS and depth < 5:
        layers = inner["layers"] if isinstance(inner, Mapping) else inner
        for layer in layers:
            yield from _flatten(layer, depth + 1)
    else:
        yield KerasLayer(kind, str(inner.get("name", kind)), inner)


def _check(layer: KerasLayer) -> None:
    kind, settings = layer.kind, layer.settings
    if kind in _CODE:
        raise CheckpointError(
            f"its layer {layer.name!r} is a {kind}, code that is never run here; put what it does "
            "into the preprocessing and save the model without it"
        )
    if kind not in _BACKBONE and kind not in _TRAINING:
        raise CheckpointError(
            f"its layer {layer.name!r} is a {kind}, which no EfficientNet classifier has; save the "
            "network without it"
        )
    if settings.get("data_format", "channels_last") != "channels_last":
        raise CheckpointError(
            f"its layer {layer.name!r} runs on channels first; save the model with channels last"
        )
    known = _ACTIVATIONS.get(kind)
    function = _function(settings.get("activation") or "linear")
    if known and function not in known:
        raise CheckpointError(
            f"its layer {layer.name!r} has the activation {function} instead of swish; networks "
            "with other activations cannot be read from Keras"
        )
    if kind in ("Conv2D", "DepthwiseConv2D") and _square(layer, "dilation_rate") != 1:
        raise CheckpointError(f"its layer {layer.name!r} is dilated, as no EfficientNet is")


def _check_head(layers: list[KerasLayer]) -> None:
    pooled = _last_pool(layers)
    head = layers[pooled + 1 :]
    dense = [layer for layer in head if layer.kind == "Dense"]
    if not dense:
        raise CheckpointError(
            "it has no classifier (include_top=False?); add the Dense layer that it was trained "
            "with, and save the whole model"
        )
    odd = [layer for layer in head if layer.kind not in _HEAD]
    if len(dense) > 1 or odd:
        names = ", ".join(layer.name for layer in (odd or dense))
        raise CheckpointError(
            f"its head is more than one Dense layer ({names}); only global average pooling, then "
            "at most dropout and batch normalisation, then one Dense layer can be read"
        )
    after = head[head.index(dense[0]) :]
    given = [_function(dense[0].settings.get("activation") or "linear")]
    given += [_function(x.settings["activation"]) for x in after if x.kind == "Activation"]
    unfit = [name for name in given if name not in ("softmax", "linear")]
    before = [x.name for x in head[: head.index(dense[0])] if x.kind in ("Activation", "Softmax")]
    behind = [x.name for x in after if x.kind == "BatchNormalization"]
    if unfit or before or behind:
        raise CheckpointError(
            f"its head has {', '.join(unfit + before + behind)}: only a Dense layer that ends in "
            "softmax, or in nothing, can be read (one class of several, not several at once)"
        )


def _last_pool(layers: list[KerasLayer]) -> int:
    pools = [i for i, layer in enumerate(layers) if layer.kind == "GlobalAveragePooling2D"]
    return pools[-1] if pools else len(layers)


def _normalisation(layers: list[KerasLayer], learned: list[Stats]) -> tuple[Any, Any]:
    """Rescaling and Normalization layers before the stem, composed."""
    scale, offset = np.ones(3), np.zeros(3)
    statistics, found = iter(learned), False
    for layer in layers:
        settings = layer.settings
        if layer.kind == "Rescaling":
            factor = np.asarray(settings["scale"], np.float64)
            scale, offset = scale * factor, offset * factor + np.asarray(settings["offset"])
        elif layer.kind == "Normalization":
            if settings.get("invert"):
                raise CheckpointError(f"its layer {layer.name!r} undoes a normalisation")
            if settings.get("mean") is not None:
                given = (settings["mean"], settings["variance"])
            else:
                given = next(statistics)
            mean, variance = (np.asarray(v, np.float64).reshape(-1) for v in given)
            factor = 1.0 / np.maximum(np.sqrt(variance), _EPSILON)
            scale, offset = scale * factor, (offset - mean) * factor
        else:
            continue
        found = True
    return affine(scale, offset) if found else (None, None)


def _side(layers: list[KerasLayer]) -> int | None:
    """Side of the first input that says one."""
    for layer in layers:
        shape = layer.settings.get("batch_shape") or layer.settings.get("batch_input_shape")
        if layer.kind != "InputLayer" or not shape:
            continue
        if len(shape) != 4 or shape[3] not in (3, None):
            raise CheckpointError(f"its input is {shape}, not RGB pictures [n, height, width, 3]")
        if shape[1] != shape[2]:
            raise CheckpointError(f"its input is {shape[1]} x {shape[2]}; only squares can be read")
        return None if shape[1] is None else int(shape[1])
    return None


def _square(layer: KerasLayer, setting: str) -> int:
    sides = layer.settings[setting]
    sides = list(sides) if isinstance(sides, (list, tuple)) else [sides]
    if len(set(sides)) != 1 or not math.isfinite(sides[0]):
        raise CheckpointError(f"its layer {layer.name!r} has {setting} {sides}")
    return int(sides[0])


def _function(activation: Any) -> str:
    """Name of an activation, which may be a serialized function."""
    if isinstance(activation, Mapping):
        activation = activation.get("config")
    if isinstance(activation, Mapping):
        activation = activation.get("name")
    return str(activation)
