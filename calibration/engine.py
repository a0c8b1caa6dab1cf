"""What calibration computes with: functions compiled from graphs, float or integer.

Calibration knows no runtime. Whoever calls it hands it an `Engine`; the toolkit's own is
`edge_effnet.converters.execute.OnnxEngine`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.plan import Grid, QuantPlan
from edge_effnet.graph import Graph
from edge_effnet.model import Weights

Floats = NDArray[np.float32]
Indices = NDArray[np.uint8]


class Engine(Protocol):
    """Compiles graphs for batches of any size, in the channels-first layout."""

    def floats(
        self, graph: Graph, weights: Weights, outputs: Sequence[str]
    ) -> Callable[[Floats], dict[str, Floats]]:
        """A function from a float32 batch [n, ...] to the tensors named in ``outputs``."""

    def integers(self, graph: Graph, plan: QuantPlan) -> Callable[[Indices], Indices]:
        """A function from a uint8 batch on the input's grid to the output on its own grid."""

    def rounded(
        self, graph: Graph, weights: Weights, grids: Mapping[str, Grid], outputs: Sequence[str]
    ) -> Callable[[Floats], dict[str, Floats]]:
        """`floats` in which the tensors named in ``grids`` are rounded to them."""
