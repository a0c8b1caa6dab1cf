"""Refusal of layers and weights that a format cannot hold, before files are written."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import QuantizationError, UsageError
from edge_effnet.graph import Activation, Graph, Node
from edge_effnet.model import Model

_NAMED = 3  # layers in a message


def check_layers(graph: Graph, title: str, holds: Callable[[Node], bool]) -> None:
    """Raise `UsageError` if the format ``title`` cannot hold a layer of ``graph``."""
    layers = [node for node in graph if not holds(node)]
    if not layers:
        return
    names = [f"{node.name} ({layer_kind(node)})" for node in layers[:_NAMED]]
    more = f" and {len(layers) - _NAMED} more layers" if layers[_NAMED:] else ""
    raise UsageError(
        f"{title} has no form of {', '.join(names)}{more}",
        hint="omit that format from formats=, for example formats=['tflite', 'onnx']",
    )


def layer_kind(node: Node) -> str:
    """Kind of an activation, or the class of another node."""
    return node.kind if isinstance(node, Activation) else type(node).__name__


def fits_half(values: NDArray[np.float32]) -> bool:
    """Whether all ``values`` are within float16's range."""
    return bool(np.abs(values).max(initial=0) <= np.finfo(np.float16).max)


def check_halves(model: Model) -> None:
    """Raise `QuantizationError` if a weight of the folded ``model`` exceeds float16's range."""
    for name in model.graph.parameter_shapes:
        if not fits_half(model.weights[name]):
            raise QuantizationError(
                f"{name} has values beyond float16's range",
                hint="omit fp16 from precisions=",
            )
