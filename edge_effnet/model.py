"""`Model`: immutable value of a variant, its graph, its weights and its info."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.card import ModelInfo
from edge_effnet.graph import Graph
from edge_effnet.variants import Variant

Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, repr=False)
class Model:
    """A network with its weights, ready to be converted.

    Attributes:
        variant: The network as data.
        graph: Its layers.
        weights: float32 arrays by the names in ``graph.parameter_shapes``. Convolutions are OIHW,
            dense layers [out, in].
        info: Labels, preprocessing and origin.
    """

    variant: Variant
    graph: Graph
    weights: Weights
    info: ModelInfo

    def __repr__(self) -> str:
        side = self.graph.input_shape[-1]
        return (
            f"Model({self.variant.name}, {side} px, {self.classes:,} classes, "
            f"{self.graph.params / 1e6:.2f} M parameters)"
        )

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.graph.shapes[self.graph.output][0]
