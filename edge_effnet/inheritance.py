"""Weights of a reshaped network, inherited from a trained network of the same family.

Layers of equal shape keep their weights. Narrower layers keep the first channels, smaller kernels
the centre, shallower stages the first blocks. Additional channels, kernel rims and blocks leave the
outputs unchanged: nothing reads the new channels (their weights are 0 in the next layer), rims are
0, and the last BatchNorm or convolution of an additional block is 0, which makes it the identity
(Net2Net, Chen et al. 2015, arXiv 1511.05641). Outputs of narrower networks differ, so they must be
trained before use.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.graph import Activation, BatchNorm, Graph, Shape
from edge_effnet.heads import head_nodes, trunk, with_head_nodes
from edge_effnet.model import Model
from edge_effnet.network import build, fused_stride_of, padding_of
from edge_effnet.variants import Variant

Floats = NDArray[np.float32]
_BLOCK = re.compile(r"stages\.(\d+)\.blocks\.(\d+)\.(.*)")


def inherit(model: Model, variant: Variant, side: int | None = None) -> Model:
    """The network ``variant`` with the weights of ``model``, marked as untrained.

    Args:
        model: The trained network, BatchNorm not folded, of a variant with the same stages.
        variant: The reshaped variant. The head keeps its classes and layers.
        side: Side of the input in pixels; None for the variant's.
    """
    eps = next(node.eps for node in model.graph if isinstance(node, BatchNorm))
    graph = build(
        variant,
        classes=model.classes,
        resolution=side,
        padding=padding_of(model.graph),
        bn_eps=eps,
        fused_stride=fused_stride_of(model.graph),
    )
    graph = with_head_nodes(trunk(graph), head_nodes(model.graph))
    new = _new_blocks(model.graph, graph)
    weights = {}
    for name, shape in graph.parameter_shapes.items():
        source = _source_name(name, model.graph)
        weights[name] = _resized(model.weights[source], shape, name)
        if name in new:
            weights[name] = np.zeros_like(weights[name])
    preprocess = replace(model.info.preprocess, size=graph.input_shape[1])
    info = replace(model.info, variant=variant.name, preprocess=preprocess, untrained=True)
    return Model(variant, graph, weights, info)


def _source_name(name: str, graph: Graph) -> str:
    """Name of the original's parameter: of an additional block, the last block of the stage."""
    match = _BLOCK.fullmatch(name)
    if match is None:
        return name
    stage, block, rest = int(match[1]), int(match[2]), match[3]
    while block > 0 and f"stages.{stage}.blocks.{block}.{rest}" not in graph.parameter_shapes:
        block -= 1
    return f"stages.{stage}.blocks.{block}.{rest}"


def _new_blocks(original: Graph, graph: Graph) -> set[str]:
    """Parameters that make the additional blocks the identity if they are 0.

    All activations of blocks are 0 at 0.
    """
    names = set()
    for node in graph:
        match = _BLOCK.fullmatch(node.name)
        if match is None or match[3] != "add":
            continue
        branch = graph.by_name[node.inputs[0]]
        last = branch.inputs[0] if isinstance(branch, Activation) else branch.name
        for name in (f"{last}.weight", f"{last}.bias"):
            if name in graph.parameter_shapes and name not in original.parameter_shapes:
                names.add(name)
    return names


def _resized(values: Floats, shape: Shape, name: str) -> Floats:
    """``values`` cropped or padded to ``shape``.

    Kernels are cropped and padded around their centre. New output channels have small random
    weights, and nothing reads them: new input channels have the weight 0.
    """
    if values.shape == shape:
        return values
    rank = len(shape)
    result = np.zeros(shape, np.float32)
    common = [min(ours, theirs) for ours, theirs in zip(shape, values.shape, strict=True)]
    into, of = [slice(0, n) for n in common], [slice(0, n) for n in common]
    for axis in range(2, rank):  # the kernel
        into[axis] = _centred(shape[axis], common[axis])
        of[axis] = _centred(values.shape[axis], common[axis])
    if shape[0] > common[0]:
        fresh = (slice(common[0], None), *into[1:])
        result[fresh] = _initial(name, result[fresh].shape)
    result[tuple(into)] = values[tuple(of)]
    return result


def _centred(size: int, length: int) -> slice:
    start = (size - length) // 2
    return slice(start, start + length)


def _initial(name: str, shape: Shape) -> Floats:
    """Initial values of additional output channels, which depend on the parameter's name only."""
    if len(shape) == 1:
        unit = name.endswith((".weight", ".running_var"))  # of BatchNorm
        return np.full(shape, 1.0 if unit else 0.0, np.float32)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    deviation = math.sqrt(2.0 / max(1, math.prod(shape[1:])))
    values = np.random.default_rng(seed).normal(0.0, deviation, shape)
    return np.asarray(values, np.float32)
