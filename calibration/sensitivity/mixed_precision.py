"""Mixed precision: the layers that stay in float, within a budget or to limit the loss of accuracy.

A tensor stays in float only if its producer and all its readers compute in float, so neighbouring
nodes become float together. Nodes are selected by their noise on the logits
(`calibration.sensitivity.measure`), alone or per latency. The network is then quantized again with
the selected nodes in float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_effnet.calibration.sensitivity.measure import Sensitivity
from edge_effnet.calibration.sensitivity.units import Unit, units
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Graph, multiply_adds

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
#: Largest cost of a float budget, with elementwise operators and conversions, in its multiply-adds.
#: B0 at 4 %: the expected noise is the same with 2 as with 6, where the cost is 2.8 times as large.
_COST = 2.0
#: A float island removes at least this fraction of the noise. Without this limit, half of B0's
#: squeeze-excite layers, which are cheap, stay in float and remove nothing.
_LEAST_REMOVED = 0.01
#: Largest ratio of the remaining noise for which a selection regardless of cost is preferred.
_CLEARLY_LESS = 0.9


def needed_db(max_drop: float) -> float:
    """SQNR of the logits in dB at which a drop of ``max_drop`` points of top-1 is expected."""
    return -20 * float(np.log10(min(max_drop / 100 / LOST / CHANGED, 1.0)))


def float_share(graph: Graph, float_layers: frozenset[str]) -> float:
    """Fraction of ``graph``'s multiply-adds in the nodes ``float_layers``, 0..1."""
    done = sum(multiply_adds(node, graph.shapes) for node in graph if node.name in float_layers)
    return done / max(graph.multiply_adds, 1)


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

    def best_move(
        self,
        float_units: frozenset[str],
        allowed: Callable[[frozenset[str]], bool],
        per_cost: bool = True,
    ) -> frozenset[str]:
        """``float_units`` and one more tensor, with the units that produce and read this tensor.

        The tensor removes the most noise, with ``per_cost`` relative to its cost. Without an
        ``allowed`` one that removes noise, the result is empty.
        """
        remaining, spent = self.remaining_noise(float_units), self.cost(float_units)
        best, best_gain = frozenset[str](), 0.0
        for unit in self.units:
            wider = float_units | {unit.name, *self.readers[unit.name]}
            if wider == float_units or not allowed(wider):
                continue
            removed = remaining - self.remaining_noise(wider)
            gain = removed / max(self.cost(wider) - spent, 1) if per_cost else removed
            if gain > best_gain:
                best, best_gain = wider, gain
        return best

    def nodes(self, float_units: frozenset[str]) -> frozenset[str]:
        """Names of all nodes of ``float_units``."""
        return frozenset(
            node.name for unit in self.units if unit.name in float_units for node in unit.nodes
        )

    def share(self, float_units: frozenset[str]) -> float:
        """Fraction of the multiply-adds in ``float_units``, 0..1."""
        return float_share(self.graph, self.nodes(float_units))


def _choice(graph: Graph, measured: Sequence[Sensitivity]) -> _Choice:
    all_units = units(graph)
    of_node = {node.name: unit.name for unit in all_units for node in unit.nodes}
    readers = {
        unit.name: tuple({of_node[node.name] for node in graph.consumers[unit.output]})
        for unit in all_units
    }
    return _Choice(graph, all_units, {unit.name: unit.noise for unit in measured}, readers)


def layers_for_drop(
    graph: Graph, measured: Sequence[Sensitivity], max_drop: float
) -> frozenset[str]:
    """The nodes that stay in float for an expected drop of at most ``max_drop`` points of top-1.

    The expected drop is computed from the sum of the units' sensitivities. The plan's error on the
    calibration samples would be too small, because the weights are fitted to these samples. V2-B0
    has an SQNR of 21.0 dB on the calibration samples and 16.8 dB on other photos.

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
    choice = _choice(graph, measured)
    goal = 10 ** (-needed_db(max_drop) / 10)
    float_units: frozenset[str] = frozenset()
    while choice.remaining_noise(float_units) > goal:
        float_units = choice.best_move(float_units, lambda wider: True)
        if not float_units or choice.share(float_units) > MOST_FLOAT:
            raise QuantizationError(
                f"a drop of {max_drop:g} points needs more than {MOST_FLOAT:.0%} of the "
                "multiply-adds in float",
                hint="allow a larger max_drop=, try recipe='best', or export fp16",
            )
    return choice.nodes(float_units)


def layers_within_budget(
    graph: Graph, measured: Sequence[Sensitivity], budget: float
) -> frozenset[str]:
    """The nodes that stay in float to remove the most noise within a budget.

    Greedy twice, by the noise removed per cost and by the noise removed alone: cheap tensors can
    leave too little of the budget for one that makes most of the noise, as B0's first layer does.
    The second selection, which is slower, counts if it leaves clearly less noise.

    Args:
        graph: The network.
        measured: Sensitivity of each unit.
        budget: Largest share of the multiply-adds in float, in percent. The cost, with elementwise
            operators and conversions, is at most `_COST` times as large.

    Returns:
        Names of all nodes of the float units; none if no layer fits the budget.
    """
    choice = _choice(graph, measured)
    share = budget / 100
    most = _COST * share * graph.multiply_adds
    least = _LEAST_REMOVED * choice.remaining_noise(frozenset())

    def allowed(wider: frozenset[str]) -> bool:
        removed = choice.remaining_noise(float_units) - choice.remaining_noise(wider)
        return removed >= least and choice.share(wider) <= share and choice.cost(wider) <= most

    selections = []
    for per_cost in (True, False):
        float_units: frozenset[str] = frozenset()
        while wider := choice.best_move(float_units, allowed, per_cost):
            float_units = wider
        selections.append(float_units)
    cheap, wide = selections
    if choice.remaining_noise(wide) < _CLEARLY_LESS * choice.remaining_noise(cheap):
        return choice.nodes(wide)
    return choice.nodes(cheap)
