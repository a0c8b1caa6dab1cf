"""Tie-free scales: quantization parameters with which no requantization falls on .5.

An addition of the integers a and b computes round(a * sa/sc + b * sb/sc) in float arithmetic. The
scales sa and sb are those of the inputs, sc that of the output. Some machines use fused
multiply-adds, others do not. A sum at .5 may round up on one machine and down on another, and one
such difference changes logits by a tenth.

The scales sa, sb, sc are therefore whole multiples na, nb, nc of one power of two, with nc odd.
Every sum is then at least 1 / (2 nc) away from .5. This is far above float32's error for
nc < 2**11.

A mean over n pixels (n odd) computes round(sum * s / (n * so)) with input scale s and output scale
so. With s / so = 2**k / m for odd m, the mean is at least 1 / (2 n m) away from .5. Scales change
by under 0.1 %, those of means by under 1 %.
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
        Quantization parameters of all tensors by name, with unchanged zero points.
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
    """``params`` with its scale rounded to the nearest odd multiple of ``unit``."""
    multiple = max(1, 2 * round((params.scale / unit - 1) / 2) + 1)
    return replace(params, scale=float(np.float32(multiple * unit)))


def _joined_by_additions(graph: Graph) -> list[set[str]]:
    """Groups of tensors that are connected by additions.

    Groups with the output of an activation are left out, because clipping may fix its scale.
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
