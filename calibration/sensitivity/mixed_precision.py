"""Mixed precision: the layers that must stay in float to limit the loss of top-1 accuracy.

A tensor stays in float only if its producer and all its readers compute in float, so neighbouring
nodes become float together. Nodes are selected by their noise on the logits
(`calibration.sensitivity.measure`) per multiply-add. The network is then quantized again with the
selected nodes in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import Engine
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.sensitivity.measure import (
    Sensitivity,
    Unit,
    sensitivities,
    units,
)
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Graph, multiply_adds
from edge_effnet.model import Model

#: Fraction of top-1 predictions that change per unit of relative logit noise (noise amplitude /
#: signal amplitude). Measured with TFLite and ONNX files of V2-B0 on 650 photos outside the
#: calibration set: 0.29 to 0.39 at a predicted SQNR of 18.3 to 19.8 dB, 0.27 to 0.44 at 23.5 to
#: 24.1 dB, 0.22 to 0.44 at 25.1 dB.
CHANGED = 0.34
#: Points of top-1 accuracy lost per point of changed predictions; some changed predictions become
#: correct. Measured on nine int8 files of V2-B0: 0 to 0.23, on average 0.12. Lite0 to Lite2: less.
LOST = 0.15
#: Largest fraction of the multiply-adds in float. With more, int8 saves too little.
MOST_FLOAT = 0.5
#: Time per tensor element in float, in multiply-adds of a convolution. ``_ELEMENT``: an activation,
#: product or sum. ``_CONVERSION``: a conversion between int8 and float. Of 7 pairs tested (4 to 32,
#: 16 to 64), this pair gives the fastest V2-B0 in TFLite: 1.30 times int8's latency, up to 1.37
#: times with other pairs. In ONNX Runtime this pair is within 2 % of the fastest (one thread, 45
#: shuffled rounds).
_ELEMENT, _CONVERSION = 8, 16


def needed_db(max_drop: float) -> float:
    """SQNR of the logits in dB at which a drop of ``max_drop`` points of top-1 is expected."""
    return -20 * float(np.log10(min(max_drop / 100 / LOST / CHANGED, 1.0)))


def float_share(graph: Graph, float_layers: frozenset[str]) -> float:
    """Fraction of ``graph``'s multiply-adds in the nodes ``float_layers``, 0..1."""
    done = sum(multiply_adds(node, graph.shapes) for node in graph if node.name in float_layers)
    return done / max(graph.multiply_adds, 1)


def mixed_precision_plan(
    model: Model,
    plan: QuantPlan,
    engine: Engine,
    pixels: NDArray[np.uint8],
    max_drop: float,
    quantize: Callable[[frozenset[str]], QuantPlan],
    progress: Callable[[int, int], None] | None = None,
) -> QuantPlan:
    """A plan that is expected to lose no more than ``max_drop`` points of top-1.

    The expected drop is computed from the sum of the units' sensitivities. The plan's error on the
    calibration samples would be too small, because the weights are fitted to these samples. V2-B0
    has an SQNR of 21.0 dB on the calibration samples and 16.8 dB on other photos.

    Args:
        model: The network that ``plan`` quantizes.
        plan: The plan with all layers in int8.
        engine: Compiles segments of the network.
        pixels: uint8 samples [n, size, size, 3].
        max_drop: Largest expected drop in points.
        quantize: Quantizes the network again, with the named nodes in float.
        progress: Called with segments done and segments in all.

    Returns:
        ``plan`` if its expected drop is small enough, else a mixed-precision plan.

    Raises:
        QuantizationError: Over `MOST_FLOAT` of the multiply-adds would be in float.
    """
    measured = sensitivities(model, plan, engine, pixels, progress)
    float_layers = choose_float_layers(model.graph, measured, max_drop)
    return quantize(float_layers) if float_layers else plan


@dataclass(frozen=True)
class _Choice:
    """The units of a graph, the noise of each, and the units that read its output."""

    graph: Graph
    units: tuple[Unit, ...]
    noise: Mapping[str, float]
    readers: Mapping[str, tuple[str, ...]]

    def remaining_noise(self, float_layers: frozenset[str]) -> float:
        """Noise of the units whose outputs stay quantized if ``float_layers`` are in float."""
        return sum(
            self.noise[name]
            for name in self.noise
            if name not in float_layers or not set(self.readers[name]) <= float_layers
        )

    def cost(self, float_layers: frozenset[str]) -> int:
        """Cost of the float units ``float_layers``, in multiply-adds of a convolution."""
        shapes, total = self.graph.shapes, 0
        for unit in self.units:
            in_float = unit.name in float_layers
            if in_float:
                total += sum(
                    multiply_adds(node, shapes) or _ELEMENT * math.prod(shapes[node.name])
                    for node in unit.nodes
                )
            if any((name in float_layers) != in_float for name in self.readers[unit.name]):
                total += _CONVERSION * math.prod(shapes[unit.output])
        return total


def choose_float_layers(
    graph: Graph, measured: Sequence[Sensitivity], max_drop: float
) -> frozenset[str]:
    """The nodes that stay in float for an expected drop of at most ``max_drop`` points of top-1.

    Greedy: each step moves one tensor to float, with the units that produce and read this tensor.
    The chosen tensor removes the most noise per multiply-add in float.

    Args:
        graph: The network.
        measured: Sensitivity of each unit.
        max_drop: Largest expected drop in points.

    Returns:
        Names of all nodes of the float units; none if int8 suffices.

    Raises:
        QuantizationError: Over `MOST_FLOAT` of the multiply-adds would be in float.
    """
    all_units = units(graph)
    of_node = {node.name: unit.name for unit in all_units for node in unit.nodes}
    readers = {
        unit.name: tuple({of_node[node.name] for node in graph.consumers[unit.output]})
        for unit in all_units
    }
    choice = _Choice(graph, all_units, {unit.name: unit.noise for unit in measured}, readers)
    moves = {unit.name: frozenset({unit.name, *readers[unit.name]}) for unit in all_units}
    goal = 10 ** (-needed_db(max_drop) / 10)
    float_layers: frozenset[str] = frozenset()
    while (remaining := choice.remaining_noise(float_layers)) > goal:
        spent = choice.cost(float_layers)
        best, best_gain = frozenset[str](), 0.0
        for move in moves.values():
            if move <= float_layers:
                continue
            wider = float_layers | move
            gain = (remaining - choice.remaining_noise(wider)) / max(choice.cost(wider) - spent, 1)
            if gain > best_gain:
                best, best_gain = wider, gain
        float_layers = best
        nodes = frozenset(
            n.name for unit in all_units if unit.name in float_layers for n in unit.nodes
        )
        if not best or float_share(graph, nodes) > MOST_FLOAT:
            raise QuantizationError(
                f"a drop of {max_drop:g} points needs more than {MOST_FLOAT:.0%} of the "
                "multiply-adds in float",
                hint="allow a larger max_drop=, try recipe='best', or export fp16",
            )
    return frozenset(
        node.name for unit in all_units if unit.name in float_layers for node in unit.nodes
    )
