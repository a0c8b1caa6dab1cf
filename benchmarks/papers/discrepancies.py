"""Why a published figure is not the computed one: other ways of counting, and other sides, tried.

Multiply-adds of convolutions and dense layers are what torchvision and the papers' authors print
for their releases (tests/support/library_counts.json). Figures above them may count more; those
below them cannot be of the same network at the same side.
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
_NARROWEST = 0.85  # of the network's own side: fewer pixels would be another network's


def with_batch_norm(graph: Graph) -> int:
    """Multiply-adds if batch normalisation counts too, one for each element."""
    shapes = graph.shapes
    norms = (node for node in graph if isinstance(node, BatchNorm))
    return graph.multiply_adds + sum(math.prod(shapes[node.name]) for node in norms)


def with_statistics(graph: Graph) -> int:
    """Parameters if the running mean and variance of batch normalisation count too."""
    return sum(math.prod(shape) for shape in graph.parameter_shapes.values())


def flops_cell(variant: Variant, published: str, note: str = "") -> Cell:
    """The multiply-adds of ``variant`` beside a published figure, and why they differ if so."""
    cell = Cell(build(variant).multiply_adds, published)
    return cell if cell.agrees else replace(cell, note=note or _why_flops(variant, published))


def params_cell(variant: Variant, published: str) -> Cell:
    """The parameters of ``variant`` beside a published figure, and why they differ if so."""
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
    whole = Cell(with_batch_norm(build(variant)), published)
    if whole.agrees:
        return f"{whole.shown}B if batch normalisation counts as a multiply-add an element"
    for counted, words in ((_plain, ""), (with_batch_norm, ", batch normalisation counted")):
        for side in _smaller(variant):
            cell = Cell(counted(build(variant, resolution=side)), published)
            if cell.agrees:
                return (
                    f"{side} pixels instead of {variant.resolution} would give {cell.shown}B{words}"
                )
    cell = Cell(build(variant).multiply_adds, published)
    return (
        f"not reproduced: {cell.shown}B, {whole.shown}B with batch normalisation"
        f"{_neighbours(variant, published)}; torchvision counts as here"
    )


def _plain(graph: Graph) -> int:
    return graph.multiply_adds


def _smaller(variant: Variant) -> Iterator[int]:
    first = (variant.resolution - 1) // _SIDE_STEP * _SIDE_STEP
    return iter(range(first, int(_NARROWEST * variant.resolution), -_SIDE_STEP))


def _neighbours(variant: Variant, published: str) -> str:
    """The two smaller sides between whose costs the figure lies, in words."""
    value, unit, _ = parse(published)
    above = variant.resolution
    over = build(variant).multiply_adds / unit
    for side in _smaller(variant):
        cost = build(variant, resolution=side).multiply_adds / unit
        if cost < value < over:
            return f"; {cost:.2f}B at {side} pixels, {over:.2f}B at {above}, nothing between"
        above, over = side, cost
    return ""
