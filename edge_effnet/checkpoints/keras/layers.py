"""Layers of a Keras config in execution order, with nested models expanded.

Nothing in the config is executed or imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from edge_effnet.errors import CheckpointError

#: Advice at the end of error messages on unsupported layers.
SAVE_WITHOUT = "save the model without it"
_MODELS = {"Functional", "Model", "Sequential"}
_MOST_DEPTH = 5
#: Modules of Keras 3's operators. Some operators have the same name as a layer (Add, Multiply).
_OPERATORS = ("keras.src.ops", "keras.ops")


@dataclass(frozen=True)
class KerasLayer:
    """One layer of the config.

    Attributes:
        kind: Class of the layer; for an operator, a dot and its name in lower case (``.subtract``).
        name: Name of the layer.
        settings: Config of the layer.
        inputs: Names of the layers that this layer reads; empty in a Sequential.
        arguments: Call arguments of the layer, as in the config.
        path: Name of the nested model that contains the layer; "" at the top level.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    inputs: tuple[str, ...] = ()
    arguments: Any = None
    path: str = ""


def flatten(config: Mapping[str, Any]) -> list[KerasLayer]:
    """Every layer of a model in execution order."""
    _check_ends(config)
    return list(_flatten(config, "", 0))


def square(layer: KerasLayer, setting: str) -> int:
    """Value of a two-dimensional setting that must be equal in both directions."""
    sides = layer.settings[setting]
    sides = list(sides) if isinstance(sides, (list, tuple)) else [sides]
    if len(set(sides)) != 1 or not math.isfinite(sides[0]):
        raise CheckpointError(f"its layer {layer.name!r} has {setting} {sides}")
    return int(sides[0])


def function(activation: Any) -> str:
    """Name of an activation (a name or a serialized function); ``linear`` for None."""
    if isinstance(activation, Mapping):
        activation = activation.get("config")
    if isinstance(activation, Mapping):
        activation = activation.get("name")
    return str(activation or "linear")


def _check_ends(config: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for a model with several inputs or outputs."""
    inner = config.get("config")
    if not isinstance(inner, Mapping):
        return
    for side in ("input", "output"):
        ends = inner.get(f"{side}_layers")
        if isinstance(ends, Mapping):
            ends = list(ends.values())
        if isinstance(ends, list) and len(ends) > 1 and isinstance(ends[0], (list, Mapping)):
            names = ", ".join(str(end[0]) for end in ends if isinstance(end, list))
            raise CheckpointError(
                f"it has {len(ends)} {side}s ({names}); save a model with one: "
                "keras.Model(model.inputs, model.outputs[0]).save('model.keras')"
            )


def _flatten(config: Mapping[str, Any], path: str, depth: int) -> Iterator[KerasLayer]:
    kind, inner = config["class_name"], config["config"]
    registered = config.get("registered_name") or kind
    if ">" in registered:  # "package>Class" is a custom class, even with a known name
        kind = registered
    _check_call(config)
    if kind in _MODELS and depth < _MOST_DEPTH:
        layers = inner["layers"] if isinstance(inner, Mapping) else inner
        name = str(inner.get("name", "")) if isinstance(inner, Mapping) else ""
        for layer in layers:
            yield from _flatten(layer, name if depth else "", depth + 1)
        return
    if str(config.get("module") or "").startswith(_OPERATORS):
        kind = f".{kind.lower()}"
    elif kind == "TFOpLambda":
        kind = f".{inner.get('function', '')}"
    arguments = config.get("inbound_nodes")
    name = str(config.get("name") or inner.get("name", kind))
    yield KerasLayer(kind, name, inner, tuple(_sources(arguments)), arguments, path)


def _check_call(config: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` for layers that Keras 2 calls with training=True."""
    nodes = config.get("inbound_nodes")
    for node in nodes if isinstance(nodes, list) else ():
        single = isinstance(node, list) and bool(node) and isinstance(node[0], str)
        for call in [node] if single else node if isinstance(node, list) else ():
            named = call[3] if isinstance(call, list) and len(call) > 3 else None
            if isinstance(named, Mapping) and named.get("training") is True:
                raise CheckpointError(
                    f"its layer {config.get('name')!r} is called with training=True, so it behaves "
                    "in inference as in training; build the model without that and save it again"
                )


def _sources(value: Any, depth: int = 0) -> Iterator[str]:
    """Names of the layers in ``inbound_nodes`` of a Keras 2 or 3 config."""
    if depth > 2 * _MOST_DEPTH:
        return
    if isinstance(value, Mapping):
        history = value.get("keras_history")
        if value.get("class_name") == "__keras_tensor__" and isinstance(value["config"], Mapping):
            history = value["config"].get("keras_history")
        if isinstance(history, list) and history:
            yield str(history[0])
            return
        for inner in value.values():
            yield from _sources(inner, depth + 1)
    elif isinstance(value, list):
        if len(value) >= 3 and isinstance(value[0], str) and isinstance(value[1], int):
            yield value[0]
            value = value[3:]
        for inner in value:
            yield from _sources(inner, depth + 1)
