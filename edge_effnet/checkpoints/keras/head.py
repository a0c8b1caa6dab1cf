"""Conversion of the Keras layers after the last convolution to a `Head` with weights.

Pooling, dropout, both normalisations, Dense and activations are read; all else is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.checkpoints.accounting import KERAS_ONNX_WAY
from edge_effnet.checkpoints.keras.front import INERT
from edge_effnet.checkpoints.keras.layers import KerasLayer, function
from edge_effnet.checkpoints.readers.hdf5 import Layer as Stored
from edge_effnet.errors import CheckpointError
from edge_effnet.heads import Affine, Function, Head, Layer, Linear, Normalization, Pooling
from edge_effnet.names import OutputActivation
from edge_effnet.variants import ActivationKind

_POOLS: dict[str, Pooling] = {"GlobalAveragePooling2D": "avg", "GlobalMaxPooling2D": "max"}
_SHAPES = {"Flatten", "Reshape"}  # no effect on vectors
_FUNCTIONS: dict[str, ActivationKind] = {
    "relu": "relu", "relu6": "relu6", "swish": "swish", "silu": "swish", "sigmoid": "sigmoid",
    "tanh": "tanh", "gelu": "gelu", "hard_silu": "hard_swish", "hard_swish": "hard_swish",
}  # fmt: skip
_FINAL: dict[str, OutputActivation] = {"softmax": "softmax", "sigmoid": "sigmoid"}
#: Class of a layer with weights -> its name in files.
WEIGHTED_KINDS = {
    "Dense": "dense",
    "BatchNormalization": "batch_normalization",
    "LayerNormalization": "layer_normalization",
}
_LEAKY_SLOPE = 0.01  # slope of the graph's leaky_relu


@dataclass(frozen=True)
class KerasHead:
    """A head without weights: pooling, and all layers that have an effect, in order.

    ``output_activation`` is None if the last layer's outputs are logits.
    """

    pooling: Pooling
    layers: tuple[KerasLayer, ...]
    output_activation: OutputActivation | None

    @property
    def weighted(self) -> list[KerasLayer]:
        """The layers with weights, in order."""
        return [layer for layer in self.layers if layer.kind in WEIGHTED_KINDS]


def read_head(layers: Sequence[KerasLayer]) -> KerasHead:
    """The head in ``layers``; raises `CheckpointError` with the name of an unsupported layer."""
    pools: list[KerasLayer] = []
    steps: list[KerasLayer] = []
    merged: Pooling | None = None
    for layer in layers:
        kind = layer.kind
        if kind in INERT or kind == "InputLayer":
            continue
        if kind in _POOLS and not [x for x in steps if x.kind != "BatchNormalization"]:
            pools.append(layer)
        elif kind in ("Concatenate", "Average") and len(pools) == 2 and not steps:
            merged = _merged(layer, pools)
        elif kind in _SHAPES and pools:
            continue
        elif kind in WEIGHTED_KINDS or kind in ("Activation", "LeakyReLU", "ReLU", "Softmax"):
            if not pools and kind != "BatchNormalization":
                raise CheckpointError(
                    f"its layer {layer.name!r} is a {kind} on a whole feature map, without global "
                    f"pooling before it; {KERAS_ONNX_WAY}"
                )
            steps.append(layer)
        else:
            why = " of a whole feature map" if kind in _SHAPES else ""
            raise CheckpointError(
                f"its head has {layer.name!r}, a {kind.lstrip('.')}{why}, which is not read; "
                f"{KERAS_ONNX_WAY}"
            )
    _check_pools(pools, merged, steps)
    if not any(layer.kind == "Dense" for layer in steps):
        raise CheckpointError(
            "it has no classifier (include_top=False?); add the Dense layer that it was trained "
            "with, and save the whole model"
        )
    pooling = merged or _POOLS[pools[0].kind]
    if pooling != "avg" and steps[0].kind == "BatchNormalization" and _before(layers, pools):
        raise CheckpointError(
            f"its layer {steps[0].name!r} normalises the feature map before its maximum is taken, "
            f"which is not read; {KERAS_ONNX_WAY}"
        )
    steps, activation = _without_final(steps)
    return KerasHead(pooling, tuple(steps), activation)


def build_head(head: KerasHead, weights: Sequence[Stored]) -> Head:
    """The head with weights: one entry of ``weights`` per layer of ``head.weighted``."""
    stored = iter(weights)
    layers: list[Layer] = []
    for layer in head.layers:
        if layer.kind == "Dense":
            layers.append(linear_layer(next(stored).variables))
            layers += _functions(layer)
        elif layer.kind == "BatchNormalization":
            settings = layer.settings
            epsilon = float(settings.get("epsilon", 1e-3))
            layers.append(norm_layer(next(stored).variables, epsilon, settings))
        elif layer.kind == "LayerNormalization":
            layers.append(_layer_norm(layer, next(stored).variables))
        else:
            layers += _functions(layer)
    return Head(tuple(layers), head.pooling)


def linear_layer(variables: Mapping[str, NDArray[np.float32]]) -> Linear:
    """A Dense layer [in, out] as `Linear`; a missing bias is zero.

    Raises `CheckpointError` for arrays of other shapes.
    """
    kernel = variables.get("kernel", np.zeros(0, np.float32))
    bias = variables.get("bias", np.zeros(kernel.shape[1:], np.float32))
    if kernel.ndim != 2 or bias.shape != kernel.shape[1:]:
        raise _misshapen("a Dense layer", variables)
    return Linear(kernel.T, bias)


def norm_layer(
    variables: Mapping[str, NDArray[np.float32]], epsilon: float, settings: Mapping[str, Any]
) -> Affine:
    """A BatchNormalization layer at inference as `Affine`.

    Raises `CheckpointError` for missing arrays, and for arrays of other shapes.
    """
    values = complete_norm(variables, settings)
    if not {"moving_mean", "moving_variance"} <= values.keys():
        raise _misshapen("a BatchNormalization layer", variables)
    factor = values["gamma"] / np.sqrt(values["moving_variance"].astype(np.float64) + epsilon)
    return Affine(factor, values["beta"] - values["moving_mean"] * factor)


def complete_norm(
    variables: Mapping[str, NDArray[np.float32]], settings: Mapping[str, Any]
) -> dict[str, NDArray[np.float32]]:
    """All arrays of a normalisation: a missing gamma is ones, a missing beta is zeros.

    Layers with ``scale=False`` have no gamma; layers with ``center=False`` have no beta. In
    files with numbered layers, a layer's single array is called ``scale or shift``, because it may
    be either. The layer's ``settings`` decide; without them, values near one mean gamma.
    Raises `CheckpointError` for arrays that are not vectors of one length.
    """
    arrays = dict(variables)
    either = arrays.pop("scale or shift", None)
    if either is not None:
        arrays["gamma" if settings.get("scale", is_scale(either)) else "beta"] = either
    if arrays:
        values = next(iter(arrays.values()))
        arrays.setdefault("gamma", np.ones_like(values))
        arrays.setdefault("beta", np.zeros_like(values))
        if values.ndim != 1 or any(array.shape != values.shape for array in arrays.values()):
            raise _misshapen("a normalisation", variables)
    return arrays


def _misshapen(layer: str, variables: Mapping[str, NDArray[np.float32]]) -> CheckpointError:
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in variables.items())
    return CheckpointError(
        f"it has {layer} with arrays of unexpected shapes ({shapes or 'none'}); fetch the file or "
        "save it again"
    )


def _layer_norm(layer: KerasLayer, variables: Mapping[str, NDArray[np.float32]]) -> Normalization:
    """A LayerNormalization layer on vectors as `Normalization`.

    Raises `CheckpointError` for other axes, RMS scaling, or a layer without gamma and beta.
    """
    settings = layer.settings
    axis = settings.get("axis", -1)
    if axis not in (-1, [-1], 1, [1]) or settings.get("rms_scaling") or not variables:
        raise CheckpointError(
            f"its layer {layer.name!r} is a LayerNormalization of another kind; {KERAS_ONNX_WAY}"
        )
    arrays = complete_norm(variables, settings)
    return Normalization(arrays["gamma"], arrays["beta"], float(settings.get("epsilon", 1e-3)))


def is_scale(values: NDArray[np.float32]) -> bool:
    """Whether the values of a normalisation's array are nearer to one than to zero."""
    return float(np.median(np.abs(values - 1))) < float(np.median(np.abs(values)))


def _merged(layer: KerasLayer, pools: Sequence[KerasLayer]) -> Pooling:
    """Pooling for two pooling layers that ``layer`` concatenates or averages."""
    kinds = {pool.name: _POOLS[pool.kind] for pool in pools}
    order = [kinds.get(name) for name in layer.inputs]
    if layer.kind == "Average" and sorted(map(str, order)) == ["avg", "max"]:
        return "avgmax"
    if order == ["avg", "max"]:
        return "avg+max"
    if order == ["max", "avg"]:
        return "max+avg"
    raise CheckpointError(
        f"its layer {layer.name!r} joins {', '.join(layer.inputs)}, which is not read; "
        f"{KERAS_ONNX_WAY}"
    )


def _check_pools(
    pools: Sequence[KerasLayer], merged: Pooling | None, steps: Sequence[KerasLayer]
) -> None:
    if not pools and steps:
        raise CheckpointError(f"its head has no global pooling; {KERAS_ONNX_WAY}")
    if len(pools) > 1 and merged is None:
        names = ", ".join(pool.name for pool in pools)
        raise CheckpointError(f"its head pools {len(pools)} times ({names}); {KERAS_ONNX_WAY}")


def _before(layers: Sequence[KerasLayer], pools: Sequence[KerasLayer]) -> bool:
    """Whether a BatchNormalization among ``layers`` comes before the first of ``pools``."""
    kinds = [layer.kind for layer in layers]
    norm = kinds.index("BatchNormalization") if "BatchNormalization" in kinds else len(kinds)
    return norm < kinds.index(pools[0].kind)


def _without_final(steps: list[KerasLayer]) -> tuple[list[KerasLayer], OutputActivation | None]:
    """The layers without the final softmax or sigmoid, and its name (None if absent)."""
    last = steps[-1]
    name = "softmax" if last.kind == "Softmax" else function(last.settings.get("activation"))
    if last.kind in ("Activation", "LeakyReLU", "ReLU", "Softmax"):
        dense = steps[-2] if len(steps) > 1 else last
        inner = function(dense.settings.get("activation"))
        if last.kind == "Activation" and name == "linear":
            return _without_final(steps[:-1])
        if name in _FINAL and inner == "linear" and dense.kind == "Dense":
            return steps[:-1], _FINAL[name]
        raise CheckpointError(
            f"its head ends in {last.name!r} after {dense.name!r} ({inner}): only softmax, sigmoid "
            f"or nothing after a Dense layer can be read; {KERAS_ONNX_WAY}"
        )
    if last.kind == "BatchNormalization" or name == "linear":
        return steps, None
    if name not in _FINAL:
        raise CheckpointError(
            f"its last layer {last.name!r} has the activation {name}: only softmax, sigmoid or "
            f"none can be read; {KERAS_ONNX_WAY}"
        )
    settings = {**last.settings, "activation": "linear"}
    return [*steps[:-1], KerasLayer(last.kind, last.name, settings)], _FINAL[name]


def _functions(layer: KerasLayer) -> Iterator[Function]:
    """The activation of a layer that is not the last."""
    if layer.kind == "ReLU":
        settings = layer.settings
        limit = settings.get("max_value")
        plain = not settings.get("negative_slope") and not settings.get("threshold")
        if plain and limit in (None, 6):
            yield Function("relu" if limit is None else "relu6")
            return
        raise CheckpointError(
            f"its layer {layer.name!r} is a ReLU of another kind; {KERAS_ONNX_WAY}"
        )
    if layer.kind == "LeakyReLU":
        slope = layer.settings.get("negative_slope", layer.settings.get("alpha"))
        if slope is None or abs(float(slope) - _LEAKY_SLOPE) > 1e-6:
            raise CheckpointError(
                f"its layer {layer.name!r} is a LeakyReLU of slope {slope}; read is "
                f"{_LEAKY_SLOPE}; {KERAS_ONNX_WAY}"
            )
        yield Function("leaky_relu")
        return
    name = "softmax" if layer.kind == "Softmax" else function(layer.settings.get("activation"))
    if name == "linear":
        return
    if name not in _FUNCTIONS:
        raise CheckpointError(
            f"its layer {layer.name!r} has the activation {name} inside the head; read are "
            f"{', '.join(_FUNCTIONS)}; {KERAS_ONNX_WAY}"
        )
    yield Function(_FUNCTIONS[name])
