"""What quantizing each part of a network costs: its noise on the logits, all else in float.

A unit is what one integer kernel computes: a layer with the activation after it, a sum, a gate's
product, a pool. Its cost is the energy that its rounded weights and the grids of the tensors it
makes add to the logits, relative to the logits' own. These energies add up: on Lite0 to 25.4 dB and
on V2-B0 to 19.8 dB, where the TFLite files keep 25.6 and 19.5 dB on other photos. So each is also a
share of what the whole plan costs.

The network is run once, piece by piece, and each unit adds a copy of the samples in which it alone
was quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import Engine, Floats
from edge_effnet.calibration.plan import Placement, QuantParams, QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import activation_of, quantized_tensors
from edge_effnet.calibration.weights.gptq import LIMIT
from edge_effnet.errors import UsageError
from edge_effnet.graph import Conv, Graph, Node, multiply_adds
from edge_effnet.model import Model, Weights

#: Samples that costs are measured on.
MOST_SAMPLES = 24
_PART = 4  # samples that a piece runs on at a time: a piece has many sessions, each with memory
_CHUNK = 2  # samples whose tensors are all kept at a time

_Run = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Unit:
    """``nodes`` in order: a node, and the activation that runs in the same kernel."""

    nodes: tuple[Node, ...]

    @property
    def name(self) -> str:
        """The first node's, as in the plan's ``layers``."""
        return self.nodes[0].name

    @property
    def made(self) -> str:
        """The tensor that others read."""
        return self.nodes[-1].name

    @property
    def kind(self) -> str:
        """Operator in lower case: conv, depthwise, dense, add, mul, activation, or a pool."""
        first = self.nodes[0]
        if isinstance(first, Conv) and first.depthwise:
            return "depthwise"
        return type(first).__name__.lower()


@dataclass(frozen=True)
class Sensitivity:
    """``noise`` is what quantizing the unit ``name`` alone adds to the logits, over their energy.

    ``tensors`` are those of the unit, ``output_db`` is the SQNR of what it makes when the whole
    network is quantized: the error of all before it included.
    """

    name: str
    kind: str
    tensors: tuple[str, ...]
    noise: float
    output_db: float
    multiply_adds: int

    @property
    def sqnr_db(self) -> float:
        """Signal-to-noise ratio of the logits when this unit alone is quantized."""
        return decibel(self.noise)


def decibel(noise: float) -> float:
    """Signal-to-noise ratio for noise relative to the signal; 300 stands for none at all."""
    return -10 * float(np.log10(max(noise, 1e-30)))


def units(graph: Graph) -> tuple[Unit, ...]:
    """The units of ``graph`` (BN folded), in order; every node is in one."""
    found: list[Unit] = []
    taken: set[str] = set()
    for node in graph:
        if node.name in taken:
            continue
        after = activation_of(graph, node.name)
        found.append(Unit((node,) if after is None else (node, after)))
        taken.update(part.name for part in found[-1].nodes)
    return tuple(found)


def sensitivities(
    model: Model,
    plan: QuantPlan,
    engine: Engine,
    pixels: NDArray[np.uint8],
    progress: Callable[[int, int], None] | None = None,
    *,
    stored: Collection[str] | None = None,
) -> tuple[Sensitivity, ...]:
    """The cost of every unit, in the graph's order.

    ``model`` is the one that ``plan`` was made of (`reuse_dead_channels`,
    `share_input_normalization`), ``pixels`` uint8 [n, size, size, 3], of which at most
    `MOST_SAMPLES` are looked at. ``stored`` are the tensors that a format keeps on their grids; by
    default all that have one.
    """
    graph = model.graph
    quant_params = {
        name: params
        for name, params in plan.quant_params.items()
        if name in graph.by_name and (stored is None or name in stored)
    }
    rounding = replace(plan, quant_params=quant_params)
    pixels = pixels[:: max(1, len(pixels) // MOST_SAMPLES)][:MOST_SAMPLES]
    values = model.info.preprocess.normalise(pixels).transpose(0, 3, 1, 2)
    samples = np.ascontiguousarray(values, np.float32)
    every = units(graph)
    rounded = _round_weights(engine, model, plan, samples)
    pieces = list(_pieces(graph, every, plan.fused_gates))
    exact = samples
    noisy: list[Floats] = []  # of each unit so far, what the samples have become
    for number, part in enumerate(pieces):
        # Its sessions end with it: memory.
        piece = _compile(engine, model, rounded, rounding, *part)
        for place, values in enumerate(noisy):
            noisy[place] = piece.exact(values)
        made = [run(exact) for run in piece.alone]
        exact = piece.exact(exact)
        noisy += [_levelled(each, exact) for each in made]
        if progress is not None:
            progress(number + 1, len(pieces))
    noise = [float(np.square(each - exact, dtype=np.float64).sum()) for each in noisy]
    signal = float(np.square(exact, dtype=np.float64).sum())
    outputs = _output_noise(engine, model, plan, rounding, every, samples)
    return tuple(
        Sensitivity(
            name=unit.name,
            kind=unit.kind,
            tensors=tuple(node.name for node in unit.nodes),
            noise=float(noise[index] / max(signal, 1e-30)),
            output_db=decibel(outputs[unit.made]),
            multiply_adds=sum(multiply_adds(node, graph.shapes) for node in unit.nodes),
        )
        for index, unit in enumerate(every)
    )


def _levelled(values: Floats, exact: Floats) -> Floats:
    """``values`` with the mean of every channel at that of ``exact``, where biases bring it."""
    over = (0, *range(2, values.ndim))
    return np.asarray(values - (values - exact).mean(axis=over, keepdims=True), np.float32)


def _pieces(
    graph: Graph, every: Sequence[Unit], fused_gates: Collection[str]
) -> Iterator[tuple[str, tuple[Unit, ...]]]:
    """The shortest runs of units between tensors that are all the rest of the network reads.

    Each comes with the name of the tensor that it begins with. ``fused_gates`` nodes also read what
    the swish reads that they multiply.
    """
    last_reader: dict[str, int] = {}
    for index, unit in enumerate(every):
        for node in unit.nodes:
            inputs = [*node.inputs]
            if node.name in fused_gates:
                inputs += graph.by_name[node.inputs[0]].inputs
            last_reader.update(dict.fromkeys(inputs, index))
    begun, source, needed = 0, graph.input, last_reader[graph.input]
    for index, unit in enumerate(every):
        needed = max([needed, *(last_reader[node.name] for node in unit.nodes[:-1])])
        if needed <= index:
            yield source, tuple(every[begun : index + 1])
            begun, source = index + 1, unit.made
        needed = max(needed, last_reader.get(unit.made, index))


@dataclass(frozen=True)
class _Piece:
    """Functions from the tensor before a piece to the one after it.

    ``exact`` in float, ``alone`` with one unit quantized each.
    """

    exact: _Run
    alone: tuple[_Run, ...]


def _compile(
    engine: Engine,
    model: Model,
    rounded: Weights,
    rounding: QuantPlan,
    source: str,
    piece: tuple[Unit, ...],
) -> _Piece:
    nodes = tuple(node for unit in piece for node in unit.nodes)
    graph = Graph(source, model.graph.shapes[source], nodes)

    def compiled(weights: Weights, own: Mapping[str, QuantParams]) -> _Run:
        run = engine.compile_fake_quantized(
            graph, weights, replace(rounding, quant_params=own), [graph.output]
        )

        def in_parts(batch: Floats) -> Floats:
            parts = [batch[start : start + _PART] for start in range(0, len(batch), _PART)]
            return np.concatenate([run(part)[graph.output] for part in parts])

        return in_parts

    alone = []
    for unit in piece:
        quant_params = rounding.quant_params
        own = {
            node.name: quant_params[node.name] for node in unit.nodes if node.name in quant_params
        }
        names = (f"{unit.name}.weight", f"{unit.name}.bias")
        changed = {name: rounded[name] for name in names if name in rounded}
        alone.append(compiled({**model.weights, **changed}, own))
    return _Piece(compiled(model.weights, {}), tuple(alone))


def _round_weights(
    engine: Engine, model: Model, plan: QuantPlan, samples: Floats
) -> dict[str, Floats]:
    """Every layer's weight rounded by itself, and its bias with the mean brought back.

    The plan's integers were fitted to inputs that carry the errors of all before them, and among
    float inputs that fit is itself an error. So a layer has whichever of two errs less there: the
    plan's integers, or the float weights at the nearest levels of the plan's scale.
    """
    graph = model.graph
    layers = [node for node in graph if node.name in plan.layers]
    sources = sorted({layer.inputs[0] for layer in layers} - {graph.input})
    collect_statistics = engine.compile_float(graph, model.weights, sources) if sources else None
    choices = {layer.name: _candidates(model, plan, layer.name) for layer in layers}
    runs = {}
    for layer in layers:
        alone = Graph(layer.inputs[0], graph.shapes[layer.inputs[0]], (layer,))
        bias = np.zeros(graph.shapes[layer.name][0], np.float32)
        for number, weight in enumerate(choices[layer.name]):
            lost = {
                f"{layer.name}.weight": model.weights[f"{layer.name}.weight"] - weight,
                f"{layer.name}.bias": bias,
            }
            runs[layer.name, number] = engine.compile_float(alone, lost, [layer.name])
    sums: dict[tuple[str, int], list[NDArray[np.float64]]] = {key: [] for key in runs}
    for start in range(0, len(samples), _CHUNK):
        batch = samples[start : start + _CHUNK]
        found = {graph.input: batch, **(collect_statistics(batch) if collect_statistics else {})}
        for (name, number), run in runs.items():
            lost_output = run(found[graph.by_name[name].inputs[0]])[name]
            rows = lost_output.reshape(*lost_output.shape[:2], -1).astype(np.float64)
            part = np.stack(
                [rows.mean(axis=2).sum(axis=0), np.square(rows).mean(axis=2).sum(axis=0)]
            )
            sums[name, number].append(part)
    changed = {}
    for layer in layers:
        name, numbers = layer.name, range(len(choices[layer.name]))
        moments = [np.sum(sums[name, number], axis=0) / len(samples) for number in numbers]
        spread = [float((square - mean**2).sum()) for mean, square in moments]
        best = int(np.argmin(spread))
        changed[f"{name}.weight"] = choices[name][best]
        if f"{name}.bias" in model.weights:
            shift = moments[best][0].astype(np.float32)
            changed[f"{name}.bias"] = model.weights[f"{name}.bias"] + shift
    return changed


def _candidates(model: Model, plan: QuantPlan, name: str) -> tuple[Floats, Floats]:
    weight, layer = model.weights[f"{name}.weight"], plan.layers[name]
    scale = layer.scale.reshape(-1, *(1,) * (weight.ndim - 1))
    nearest = np.clip(np.rint(weight / scale), -LIMIT, LIMIT) * scale
    return layer.float_weight(), np.asarray(nearest, np.float32)


def _output_noise(
    engine: Engine,
    model: Model,
    plan: QuantPlan,
    rounding: QuantPlan,
    every: Sequence[Unit],
    samples: Floats,
) -> dict[str, float]:
    """What each unit makes when everything is quantized: noise over the signal's energy."""
    names = [unit.made for unit in every]
    weights = dict(model.weights)
    for name, layer in plan.layers.items():
        weights[f"{name}.weight"] = layer.float_weight()
        source = model.graph.by_name[name].inputs[0]
        weights[f"{name}.bias"] = layer.float_bias(plan.quant_params[source].scale)
    exact = engine.compile_float(model.graph, model.weights, names)
    quantized = engine.compile_fake_quantized(model.graph, weights, rounding, names)
    noise, signal = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for start in range(0, len(samples), _CHUNK):
        batch = samples[start : start + _CHUNK]
        got = quantized(batch)
        for name, tensor in exact(batch).items():
            noise[name] += float(np.square(got[name] - tensor).sum(dtype=np.float64))
            signal[name] += float(np.square(tensor).sum(dtype=np.float64))
    return {name: noise[name] / max(signal[name], 1e-30) for name in names}


def layer_sensitivities(
    quantized: QuantizedModel,
    engine: Engine,
    pixels: NDArray[np.uint8],
    placement: Placement,
    report: Callable[[str, int, int], None],
) -> tuple[Sensitivity, ...]:
    """`sensitivities` of an int8 network in the files of one format.

    Raises:
        UsageError: The plan quantizes weights only.
    """
    model, plan = quantized.model, quantized.plan
    if not isinstance(plan, QuantPlan):
        raise UsageError("a weight-only plan has no int8 layers to analyze")
    return sensitivities(
        model,
        plan.for_format(placement),
        engine,
        pixels,
        lambda done, total: report("weigh layers", done, total),
        stored=quantized_tensors(model.graph, plan, placement),
    )
