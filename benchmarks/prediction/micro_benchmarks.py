"""Micro-benchmarks: slices of the family's networks as small models with random weights.

A slice is one to three adjacent blocks of a variant at some resolution. A 1 x 1 convolution before
the slice computes its input from an image. Layers are therefore timed with the same neighbours,
memory access and fused kernels as in a whole network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.passes.input_normalization import input_quant_params
from edge_effnet.calibration.plan import SIGMOID_PARAMS, LayerPlan, QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import activation_of
from edge_effnet.card import ModelCard
from edge_effnet.checkpoints.built_in_weights import random_weights
from edge_effnet.graph import Activation, Conv, Dense, GlobalAveragePool, Graph, Node
from edge_effnet.model import Model
from edge_effnet.network import INPUT, build
from edge_effnet.preprocess import Preprocess
from edge_effnet.variants import VARIANTS, Variant

COUNT = 96
#: Largest network to take slices from. Slices of larger networks would run too long on a board.
_LARGEST = 4.5e9  # multiply-adds at the variant's own size: B4
_SIDES = (1.0, 1.0, 0.85, 0.7)  # relative to the variant's default, drawn at random
_MOST = 3  # blocks of a slice
_BOUNDS = (2e6, 2.5e8)  # multiply-adds of a slice
_CLASSES = 16


@dataclass(frozen=True)
class MicroBenchmark:
    """One slice: ``name`` is "variant@side first+count" (blocks); ``model`` has BN folded."""

    name: str
    model: Model


def choose(count: int = COUNT, seed: int = 0) -> list[MicroBenchmark]:
    """``count`` random micro-benchmarks from all families, stems, blocks and heads."""
    rng = np.random.default_rng(seed)
    variants = [v for v in VARIANTS.values() if build(v).multiply_adds <= _LARGEST]
    chosen: dict[str, tuple[Variant, Graph]] = {}
    while len(chosen) < count:
        variant = variants[len(chosen) % len(variants)]
        side = round(variant.resolution * rng.choice(_SIDES))
        graph = build(variant, resolution=side)
        units = _units(graph)
        length = int(rng.integers(1, _MOST + 1))
        # -1 becomes 0 and so doubles the share of the stem.
        first = max(0, int(rng.integers(-1, len(units) - length + 1)))
        name = f"{variant.short_name}@{side} {first}+{length}"
        cut = _cut(graph, [node for unit in units[first : first + length] for node in unit])
        if _BOUNDS[0] <= cut.multiply_adds <= _BOUNDS[1]:
            chosen.setdefault(name, (variant, cut))
    return [MicroBenchmark(name, _model(*parts)) for name, parts in chosen.items()]


def random_model(variant: Variant, side: int | None = None) -> Model:
    """A network with random weights and BN folded, for latency measurements only."""
    return _model(variant, build(variant, resolution=side))


def nominal_plan(model: Model) -> QuantPlan:
    """A plan for latency measurements only: nominal quantization parameters, no calibration."""
    graph = model.graph
    layers, quant_params = {}, {graph.input: input_quant_params(model.info.preprocess)}
    for node in graph:
        reader = activation_of(graph, node.name)
        if isinstance(node, Activation) and node.kind == "sigmoid":
            quant_params[node.name] = SIGMOID_PARAMS
        elif isinstance(node, Activation) and node.kind in CLIPS:
            quant_params[node.name] = QuantParams.of_range(0, min(6.0, CLIPS[node.kind][1]))
        elif reader is None or reader.kind not in CLIPS:
            quant_params[node.name] = QuantParams.of_range(-4, 4)
        if isinstance(node, (Conv, Dense)):
            weight = model.weights[f"{node.name}.weight"]
            rows = weight.reshape(len(weight), -1)
            scale = (np.abs(rows).max(axis=1) / 127).astype(np.float32)
            integers = np.rint(rows / scale[:, None]).astype(np.int8).reshape(weight.shape)
            layers[node.name] = LayerPlan(integers, scale, np.zeros(len(weight), np.int32))
    return QuantPlan(layers, quant_params, "nominal")


def _units(graph: Graph) -> list[list[Node]]:
    """The units of a slice: the nodes of the stem, of each block, and of the head."""
    units: dict[str, list[Node]] = {}
    for node in graph:
        parts = node.name.split(".")
        name = ".".join(parts[:4]) if parts[0] == "stages" else parts[0]
        units.setdefault("head" if name == "classifier" else name, []).append(node)
    return list(units.values())


def _cut(graph: Graph, nodes: list[Node]) -> Graph:
    """The slice ``nodes`` as a classifier: input convolution, slice, pooling and dense layer."""
    start, last = nodes[0].inputs[0], nodes[-1].name
    channels, side, _ = graph.shapes[start]
    if start != INPUT:
        front = Conv(name="front", inputs=(INPUT,), channels=channels, kernel=1, bias=True)
        nodes = [front, *_rewired(nodes, start, "front")]
    if not isinstance(nodes[-1], Dense):
        pool = GlobalAveragePool(name="back.pool", inputs=(last,))
        nodes = [*nodes, pool, Dense(name="back", inputs=("back.pool",), units=_CLASSES)]
    return Graph(INPUT, (3, side, side), tuple(nodes))


def _rewired(nodes: list[Node], old: str, new: str) -> Iterator[Node]:
    for node in nodes:
        yield replace(node, inputs=tuple(new if name == old else name for name in node.inputs))


def _model(variant: Variant, graph: Graph) -> Model:
    card = ModelCard(variant.name, Preprocess(graph.input_shape[1], 1.0), ("-",))
    return fold_batch_norm(Model(variant, graph, random_weights(graph), card))
