"""Layers before the first convolution: normalisation and resizing of the input.

Rescaling, Normalization and constant arithmetic are composed to (pixel - mean) / std. Augmentation
layers have no effect at inference. Other layers raise an error with their name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.keras.layers import SAVE_WITHOUT, KerasLayer
from edge_effnet.checkpoints.keras.resizing import SIZES, Resizing, read_resizing, side_of
from edge_effnet.errors import CheckpointError

Stats = tuple[
    NDArray[np.float32], NDArray[np.float32]
]  # mean and variance of a Normalization layer
Doubles = NDArray[np.float64]

#: Layers without effect at inference. FixedDropout is from the PyPI package "efficientnet".
INERT = {
    "ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "Dropout",
    "FixedDropout", "GaussianDropout", "GaussianNoise", "MixUp", "RandAugment",
    "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter", "RandomContrast",
    "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
    "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert", "RandomPerspective",
    "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomWidth", "RandomZoom", "SpatialDropout2D",
    "Identity",
}  # fmt: skip
_CODE = {"Lambda", "SlicingOpLambda"}
#: Keras 3 operator, or TensorFlow function recorded by Keras 2 -> arithmetic operation.
_ARITHMETIC = {
    ".add": "+", ".subtract": "-", ".multiply": "*", ".divide": "/", ".truedivide": "/",
    ".negative": "negative", ".cast": "nothing", ".math.add": "+", ".__operators__.add": "+",
    ".math.subtract": "-", ".math.multiply": "*", ".math.truediv": "/", ".math.divide": "/",
    ".math.negative": "negative", ".nn.bias_add": "+",
}  # fmt: skip
_EPSILON = 1e-7  # keras.backend.epsilon(): lower bound of Normalization's divisor
_RGB = 3
_MOST_DEPTH = 6


@dataclass(frozen=True)
class Front:
    """Operations on pixels before the first convolution.

    Attributes:
        mean: Mean of the normalisation in pixel units; None without normalisation.
        std: Standard deviation of the normalisation; None without normalisation.
        side: Side of the image after all layers that change it.
        resizing: How photos are resized, if the layers resize photos of any size.
        problem: Why the layers that change the size cannot be reproduced; None if they can.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    side: int | None = None
    resizing: Resizing | None = None
    problem: str | None = None


def read_front(
    layers: Sequence[KerasLayer], learned: Sequence[tuple[str, Stats]], side: int | None
) -> Front:
    """Normalisation and resizing of ``layers``.

    Args:
        layers: The layers before the first convolution.
        learned: Statistics of the Normalization layers by name.
        side: Side of the input.

    Raises:
        CheckpointError: A layer is not constant arithmetic.
    """
    scale, offset = np.ones(_RGB), np.zeros(_RGB)
    normalises = False
    remaining = list(learned)
    resizers: list[KerasLayer] = []
    input_side = side
    for layer in layers:
        if layer.kind in INERT or layer.kind == "InputLayer":
            continue
        if layer.kind in SIZES:
            if side != side_of(layer):
                resizers.append(layer)
                side = side_of(layer)
            continue
        if layer.kind == ".cast":
            _check_cast(layer)
            continue
        factor, shift = _step(layer, remaining)
        scale, offset = scale * factor, offset * factor + shift
        normalises = True
    mean, std = affine(scale, offset) if normalises else (None, None)
    if not resizers:
        return Front(mean, std, side)
    resizing = read_resizing(resizers, input_side, _input_type(layers))
    if isinstance(resizing, str):
        return Front(mean, std, side, None, resizing)
    return Front(mean, std, side, resizing)


def _input_type(layers: Sequence[KerasLayer]) -> str:
    """Type of the first input's elements; float32 if it is not recorded."""
    types = (layer.settings.get("dtype") for layer in layers if layer.kind == "InputLayer")
    return str(next(types, None) or "float32")


def affine(scale: Doubles, offset: Doubles) -> tuple[Any, Any]:
    """(mean, std) so that (x - mean) / std = scale * x + offset, to 9 significant digits."""
    if not np.all(np.isfinite(scale)) or not np.all(scale > 0):
        raise CheckpointError("its normalisation has a scale that is not positive")
    mean, std = np.broadcast_to(-offset / scale, _RGB), np.broadcast_to(1.0 / scale, _RGB)
    return tuple(float(f"{v:.9g}") + 0.0 for v in mean), tuple(float(f"{v:.9g}") for v in std)


def _step(layer: KerasLayer, learned: list[tuple[str, Stats]]) -> tuple[Doubles, Doubles]:
    """Factor and offset that ``layer`` applies to its input, each one number or R, G, B."""
    settings = layer.settings
    if layer.kind == "Rescaling":
        return _values(layer, settings["scale"]), _values(layer, settings.get("offset", 0.0))
    if layer.kind == "Normalization":
        if settings.get("invert"):
            raise CheckpointError(f"its layer {layer.name!r} undoes a normalisation")
        if settings.get("mean") is not None:
            mean, variance = (_values(layer, settings[key]) for key in ("mean", "variance"))
        else:
            mean, variance = (np.asarray(v, np.float64).reshape(-1) for v in _take(layer, learned))
        factor = 1.0 / np.maximum(np.sqrt(variance), _EPSILON)
        return factor, -mean * factor
    if layer.kind in _ARITHMETIC:
        return _arithmetic(layer)
    if layer.kind in _CODE:
        raise CheckpointError(
            f"its layer {layer.name!r} is a {layer.kind}, code that is never run here; put a "
            "Rescaling layer in its place (scale=1/127.5, offset=-1 for x / 127.5 - 1) and save "
            "the model again, or save it without the layer and give its mean= and std="
        )
    kind = layer.kind.lstrip(".")
    raise CheckpointError(
        f"its layer {layer.name!r} in front of the network is a {kind}, which is neither constant "
        f"arithmetic nor augmentation; {SAVE_WITHOUT}"
    )


def _take(layer: KerasLayer, learned: list[tuple[str, Stats]]) -> Stats:
    """Remove the statistics of ``layer`` from ``learned`` and return them.

    Statistics of that name are preferred; without them, the first are the layer's.
    """
    names = [name for name, _ in learned]
    if not names:
        raise CheckpointError(f"the statistics of its layer {layer.name!r} are not in it")
    return learned.pop(names.index(layer.name) if layer.name in names else 0)[1]


def _arithmetic(layer: KerasLayer) -> tuple[Doubles, Doubles]:
    """Factor and offset that an operator on the image and a constant applies to the image."""
    operator = _ARITHMETIC[layer.kind]
    one, zero = np.ones(1), np.zeros(1)
    if operator == "negative":
        return -one, zero
    operands = _operands(layer)
    if len(layer.inputs) != 1 or len(operands) != 2 or sum(o is None for o in operands) != 1:
        raise CheckpointError(
            f"its layer {layer.name!r} is arithmetic on the image that is not with one constant; "
            f"{SAVE_WITHOUT}"
        )
    image_first = operands[0] is None
    constant = _values(layer, operands[1] if image_first else operands[0])
    if operator == "+":
        return one, constant
    if operator == "*":
        return constant, zero
    if operator == "-":
        return (one, -constant) if image_first else (-one, constant)
    if not image_first or not np.all(constant):
        raise CheckpointError(f"its layer {layer.name!r} divides by the image or by zero")
    return 1.0 / constant, zero


def _operands(layer: KerasLayer) -> list[Any]:
    """The operands of an operator: None for the image, values for constants."""
    (node,) = layer.arguments if len(layer.arguments) == 1 else (None,)
    if isinstance(node, Mapping):  # Keras 3
        call_arguments = [*node.get("args", ()), *_operands_of(node.get("kwargs", {}))]
        return [None if _is_tensor(value) else value for value in call_arguments]
    while isinstance(node, list) and len(node) == 1:
        (node,) = node
    if isinstance(node, list) and len(node) == 4 and node[0] != "_CONSTANT_VALUE":  # Keras 2
        return [None, *_operands_of(node[3])]
    return []


def _operands_of(named: Mapping[str, Any]) -> list[Any]:
    keys = ("x1", "x2", "x", "y", "bias")
    return [named[key] for key in keys if named.get(key) is not None]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("class_name") == "__keras_tensor__"


def _values(layer: KerasLayer, value: Any) -> Doubles:
    """A constant of a config: a number, nested lists, or an array serialized by Keras."""
    for _ in range(_MOST_DEPTH):
        if not isinstance(value, Mapping):
            break
        value = value.get("config", value.get("value"))
    values = np.asarray(value, np.float64).reshape(-1)
    if values.size not in (1, _RGB) or not np.all(np.isfinite(values)):
        raise CheckpointError(
            f"its layer {layer.name!r} has {values.size} values, not one or one for R, G and B"
        )
    return values


def _check_cast(layer: KerasLayer) -> None:
    if "float" not in str(layer.settings.get("dtype", "")) + str(layer.arguments):
        raise CheckpointError(f"its layer {layer.name!r} makes integers; {SAVE_WITHOUT}")
