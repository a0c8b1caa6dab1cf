"""Grids -> the same grids with scales at which no sum of two tensors falls on a rounding tie.

An addition's output is round(a * sa/sc + b * sb/sc) in float arithmetic, which machines carry out
with or without fused multiply-adds: a value at the tie of a rounding goes up on one and down on the
other, and one such step moves logits by a tenth. With sa, sb, sc = whole multiples na, nb, nc of
one power of two, nc odd, a result is at least 1 / (2 nc) away from any tie, far above the error
of float32 where nc < 2**11. A mean over n (odd) pixels is round(sum * s / (n * so)): with
s / so = 2**k / m, m odd, it is 1 / (2 n m) away. Scales move by under 0.1 %, a mean's by under 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edge_effnet.calibration.plan import QuantParams
from edge_effnet.graph import Activation, Add, GlobalAveragePool, Graph

_ADD_BITS, _MEAN_BITS = 11, 7


def tie_free(graph: Graph, quant_params: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    """``quant_params`` with tie-free scales where tensors are added or averaged."""
    made = dict(quant_params)
    for group in _joined_by_additions(graph):
        names = [name for name in group if name in made]
        largest = max((made[name].scale for name in names), default=1.0)
        unit = math.ldexp(1.0, math.frexp(largest)[1] - _ADD_BITS)
        for name in names:
            made[name] = _scaled(made[name], unit)
    for node in graph:
        if isinstance(node, GlobalAveragePool) and node.name in made and node.inputs[0] in made:
            source, params = made[node.inputs[0]].scale, made[node.name]
            exponent = math.frexp(params.scale / source)[1]
            made[node.name] = _scaled(params, source * math.ldexp(1.0, exponent - _MEAN_BITS))
    return made


def _scaled(params: QuantParams, unit: float) -> QuantParams:
    """``params`` at the odd multiple of ``unit`` nearest to its scale."""
    multiple = max(1, 2 * round((params.scale / unit - 1) / 2) + 1)
    return replace(params, scale=float(np.float32(multiple * unit)))


def _joined_by_additions(graph: Graph) -> list[set[str]]:
    """Tensors that additions connect; none with an activation, whose range may be its clip."""
    joined: list[set[str]] = []
    for node in graph:
        if isinstance(node, Add):
            group = {node.name, *node.inputs}
            for other in [known for known in joined if known & group]:
                joined.remove(other)
                group |= other
            joined.append(group)
    active = {node.name for node in graph if isinstance(node, Activation)}
    return [group for group in joined if not group & active]
