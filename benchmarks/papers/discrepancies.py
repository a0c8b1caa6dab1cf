"""Causes of differences between published and computed values: counting rules, input sides.

torchvision and the papers' authors count the multiply-adds of convolutions and dense layers
(tests/support/library_counts.json). A larger published value may include other operations. A
smaller published value cannot be of the same network at the same input side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from edge_effnet.benchmarks.papers.comparison import Cell, parse
from edge_effnet.graph import BatchNorm, Graph
from edge_effnet.network import build
from edge_effnet.variants import Variant

_SIDE_STEP = 4
_NARROWEST = 0.85  # smallest input side considered, relative to the network's default side


def with_batch_norm(graph: Graph) -> int:
    """Multiply-adds including one per element of each batch normalisation."""
    shapes = graph.shapes
    norms = (node for node in graph if isinstance(node, BatchNorm))
    return graph.multiply_adds + sum(math.prod(shapes[node.name]) for node in norms)


def with_statistics(graph: Graph) -> int:
    """Parameters including the running mean and variance of batch normalisation."""
    return sum(math.prod(shape) for shape in graph.parameter_shapes.values())


def flops_cell(variant: Variant, published: str, note: str = "") -> Cell:
    """Multiply-adds of ``variant`` beside the published value, with the cause of a difference."""
    cell = Cell(build(variant).multiply_adds, published)
    return cell if cell.agrees else replace(cell, note=note or _why_flops(variant, published))


def params_cell(variant: Variant, published: str) -> Cell:
    """Parameters of ``variant`` beside the published value, with the cause of a difference."""
    graph = build(variant)
    cell = Cell(graph.params, published)
    if cell.agrees:
        return cell
    more = Cell(with_statistics(graph), published)
    statistics = f"with batch normalisation's running statistics it is {more.shown}M"
    if more.agrees:
        return replace(cell, note=f"{statistics}: the figure seems to count them")
    return replace(cell, note=f"not reproduced: every library counts as here; {statistics}")


def _why_flops(variant: Variant, published: str) -> str:
    complete = Cell(with_batch_norm(build(variant)), published)
    if complete.agrees:
        return f"{complete.shown}B if batch normalisation counts as a multiply-add an element"
    for counted, remark in ((_plain, ""), (with_batch_norm, ", batch normalisation counted")):
        for side in _smaller(variant):
            cell = Cell(counted(build(variant, resolution=side)), published)
            if cell.agrees:
                return (
                    f"{side} pixels instead of {variant.resolution} would give "
                    f"{cell.shown}B{remark}"
                )
    cell = Cell(build(variant).multiply_adds, published)
    return (
        f"not reproduced: {cell.shown}B, {complete.shown}B with batch normalisation"
        f"{_neighbours(variant, published)}; torchvision counts as here"
    )


def _plain(graph: Graph) -> int:
    return graph.multiply_adds


def _smaller(variant: Variant) -> Iterator[int]:
    first = (variant.resolution - 1) // _SIDE_STEP * _SIDE_STEP
    return iter(range(first, int(_NARROWEST * variant.resolution), -_SIDE_STEP))


def _neighbours(variant: Variant, published: str) -> str:
    """Text: the largest input side below the published multiply-adds and the next one above.

    Empty if no side reaches below the published value, or if a side gives exactly this value.
    """
    value, unit, _ = parse(published)
    upper_side = variant.resolution
    upper = build(variant).multiply_adds / unit
    for side in _smaller(variant):
        lower = build(variant, resolution=side).multiply_adds / unit
        if lower < value < upper:
            return f"; {lower:.2f}B at {side} pixels, {upper:.2f}B at {upper_side}, nothing between"
        upper_side, upper = side, lower
    return ""
