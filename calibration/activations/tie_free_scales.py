"""Tie-free scales: quantization parameters with which no requantization falls on .5.

An addition computes round(a * sa/sc + b * sb/sc) in float arithmetic, with or without fused
multiply-adds depending on the machine. A value at .5 then rounds up on one machine and down on the
other, and one such step moves logits by a tenth.

The scales sa, sb, sc become whole multiples na, nb, nc of one power of two, with nc odd. Every
result is then at least 1 / (2 nc) away from .5, far above float32's error for nc < 2**11. A mean
over n (odd) pixels computes round(sum * s / (n * so)). With s / so = 2**k / m and m odd, it is
1 / (2 n m) away. Scales change by under 0.1 %, those of means by under 1 %.
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
    """``quant_params`` with tie-free scales for the tensors of additions and the outputs of means.

    Args:
        graph: The network.
        quant_params: Quantization parameters by tensor name.

    Returns:
        All of them by tensor name; zero points do not change.
    """
    adjusted = dict(quant_params)
    for group in _joined_by_additions(graph):
        names = [name for name in group if name in adjusted]
        largest = max((adjusted[name].scale for name in names), default=1.0)
        unit = math.ldexp(1.0, math.frexp(largest)[1] - _ADD_BITS)
        for name in names:
            adjusted[name] = _scaled(adjusted[name], unit)
    for node in graph:
        if (
            isinstance(node, GlobalAveragePool)
            and node.name in adjusted
            and node.inputs[0] in adjusted
        ):
            source, params = adjusted[node.inputs[0]].scale, adjusted[node.name]
            exponent = math.frexp(params.scale / source)[1]
            adjusted[node.name] = _scaled(params, source * math.ldexp(1.0, exponent - _MEAN_BITS))
    return adjusted


def _scaled(params: QuantParams, unit: float) -> QuantParams:
    """``params`` with the odd multiple of ``unit`` that is nearest to its scale."""
    multiple = max(1, 2 * round((params.scale / unit - 1) / 2) + 1)
    return replace(params, scale=float(np.float32(multiple * unit)))


def _joined_by_additions(graph: Graph) -> list[set[str]]:
    """Groups of tensors that additions connect.

    Groups with an activation are left out: its range may be its clip.
    """
    joined: list[set[str]] = []
    for node in graph:
        if isinstance(node, Add):
            group = {node.name, *node.inputs}
            for other in [known for known in joined if known & group]:
                joined.remove(other)
                group |= other
            joined.append(group)
    activations = {node.name for node in graph if isinstance(node, Activation)}
    return [group for group in joined if not group & activations]
