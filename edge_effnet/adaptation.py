"""Adaptation of networks to accelerators: another activation, or no squeeze-excite.

EfficientNet-Lite is EfficientNet with these two changes. Accelerators without a fast sigmoid run
hard-swish (Howard et al. 2019, arXiv 1905.02244, section 5.2) or ReLU6 instead of swish. Squeeze-
excite stalls accelerators, because its pooling needs the whole feature map first.

An adapted network has other outputs than the original, so it must be trained before use
(`ModelInfo.untrained`). The name of an adapted variant ends with its changes:
``efficientnetv2-b0-hswish``, ``efficientnet-b0-relu6-no-se``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, Conv, Graph, Mul, Node
from edge_effnet.model import Model
from edge_effnet.variants import ActivationKind, Variant

#: Names of the activations that accelerators run fast, as in options and in names of variants.
ACTIVATIONS: dict[str, ActivationKind] = {"hswish": "hard_swish", "relu6": "relu6"}
_NO_SQUEEZE_EXCITE = "-no-se"
_BLOCK = ".se."  # in the names of all nodes of a squeeze-excite branch


@dataclass(frozen=True)
class Adaptation:
    """The changes of a network.

    Attributes:
        activation: A key of `ACTIVATIONS`, which replaces the activation of all layers; None keeps
            it. Squeeze-excite gates remain sigmoids. Activations of the head are kept.
        squeeze_excite: Whether squeeze-excite is kept.

    Raises:
        UsageError: The activation is unknown.
    """

    activation: str | None = None
    squeeze_excite: bool = True

    def __post_init__(self) -> None:
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise UsageError(
                f"unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}"
            )

    def variant(self, original: Variant) -> Variant:
        """``original`` with the changes; ``original`` itself if it already has them."""
        changed, suffix = original, ""
        kind = ACTIVATIONS[self.activation] if self.activation else original.activation
        if kind != original.activation:
            changed, suffix = replace(changed, activation=kind), f"-{self.activation}"
        if not self.squeeze_excite and any(stage.se_ratio for stage in original.stages):
            stages = tuple(replace(stage, se_ratio=0.0) for stage in original.stages)
            changed, suffix = replace(changed, stages=stages), suffix + _NO_SQUEEZE_EXCITE
        if not suffix:
            return original
        return replace(changed, name=original.name + suffix, published=None)

    def model(self, original: Model, gates: Mapping[str, NDArray[Any]] | None = None) -> Model:
        """``original`` with the changes, marked as untrained; itself if it already has them.

        Args:
            original: The trained network, BatchNorm folded or not.
            gates: Mean squeeze-excite gates [channels] by name of the product (``....se.scale``).
                The next convolution is scaled by the mean gate of a removed squeeze-excite. By
                default all gates are 0.5, the sigmoid of 0.
        """
        variant = self.variant(original.variant)
        if variant is original.variant:
            return original
        weights = dict(original.weights)
        if not self.squeeze_excite:
            for name, gate in _mean_gates(original.graph, gates or {}).items():
                for reader in original.graph.consumers[name]:
                    assert isinstance(reader, Conv)  # noqa: S101  (`network.build` adds no other)
                    weight = weights[f"{reader.name}.weight"]
                    weights[f"{reader.name}.weight"] = weight * gate.reshape(1, -1, 1, 1)
        graph = self._graph(original)
        weights = {name: weights[name] for name in graph.parameter_shapes}
        info = replace(original.info, variant=variant.name, untrained=True)
        return Model(variant, graph, weights, info)

    def _graph(self, original: Model) -> Graph:
        kind = ACTIVATIONS[self.activation] if self.activation else None
        nodes: list[Node] = []
        removed: dict[str, str] = {}  # output of a removed squeeze-excite -> its input
        for node in original.graph:
            inside = _BLOCK in node.name
            if inside and not self.squeeze_excite:
                if isinstance(node, Mul):
                    removed[node.name] = node.inputs[0]
                continue
            node = replace(node, inputs=tuple(removed.get(name, name) for name in node.inputs))
            of_layer = node.name.startswith(("stem.", "stages.", "head.act"))
            if kind and isinstance(node, Activation) and of_layer and node.kind != "sigmoid":
                node = replace(node, kind=kind)
            nodes.append(node)
        return replace(original.graph, nodes=tuple(nodes))


def split_name(name: str) -> tuple[str, Adaptation]:
    """Name of the original variant, and the adaptation that the end of ``name`` describes.

    Args:
        name: Name of a variant in lower case, such as ``b0-hswish-no-se``.

    Returns:
        The name without the changes, and the changes; no changes for other names.
    """
    plain = name.removesuffix(_NO_SQUEEZE_EXCITE)
    squeeze_excite = plain == name
    for activation in ACTIVATIONS:
        if plain.endswith(f"-{activation}"):
            return plain.removesuffix(f"-{activation}"), Adaptation(activation, squeeze_excite)
    return plain, Adaptation(None, squeeze_excite)


def _mean_gates(graph: Graph, gates: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    """The mean gate [channels] of each squeeze-excite product by name."""
    products = [node for node in graph if isinstance(node, Mul) and _BLOCK in node.name]
    half = np.float32(0.5)
    return {
        node.name: np.asarray(
            gates.get(node.name, np.full(graph.shapes[node.name][0], half)), np.float32
        ).reshape(-1)
        for node in products
    }
