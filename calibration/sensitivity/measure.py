"""Sensitivity: the noise on the logits if a single unit is quantized and all others are float.

A unit corresponds to one integer kernel: a layer with its activation, a sum, a squeeze-excite
product or a pool. The noise of a unit is the energy that its quantized weights and output tensors
add to the logits, divided by the logits' energy.

The sum over all units is the noise of the quantized network unless its weights compensate errors of
earlier units, as they do behind the first layers of B0. Therefore the whole quantized network is
measured, too.

The network runs segment by segment. For each unit, the float segments after it run on the output
of the segment in which only that unit is quantized.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import Engine, Floats
from edge_effnet.calibration.fidelity import sqnr_db
from edge_effnet.calibration.plan import QuantizerPlacement, QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.quantizer_placement import quantized_tensors
from edge_effnet.calibration.segments import compile_segments, run_segments
from edge_effnet.calibration.sensitivity.units import Unit, segments, units
from edge_effnet.calibration.weights.gptq import LIMIT
from edge_effnet.errors import UsageError
from edge_effnet.graph import Graph, multiply_adds
from edge_effnet.model import Model, Weights

#: Largest number of samples that sensitivities are measured on.
MOST_SAMPLES = 24
_PART = 4  # samples per run of a segment: each of its many sessions holds memory
_CHUNK = 2  # samples per run that keeps the tensors of all units

_Run = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Sensitivity:
    """The noise of one unit.

    Attributes:
        name: Name of the unit.
        kind: Operator of the unit.
        tensors: Names of the unit's nodes.
        noise: Noise energy on the logits if only this unit is quantized, divided by the logits'
            energy.
        output_db: SQNR in dB of the unit's output if the whole network is quantized. Errors of
            earlier units are included.
        multiply_adds: Multiply-adds of the unit.
    """

    name: str
    kind: str
    tensors: tuple[str, ...]
    noise: float
    output_db: float
    multiply_adds: int

    @property
    def sqnr_db(self) -> float:
        """SQNR of the logits in dB when this unit alone is quantized."""
        return sqnr_db(self.noise)


def sensitivities(
    model: Model,
    plan: QuantPlan,
    engine: Engine,
    pixels: NDArray[np.uint8],
    progress: Callable[[int, int], None] | None = None,
    *,
    stored: Collection[str] | None = None,
) -> tuple[Sensitivity, ...]:
    """The sensitivity of every unit, in the graph's order.

    Args:
        model: The network that ``plan`` quantizes, after `calibration.passes.prepare`.
        plan: The quantization plan.
        engine: Compiles the segments.
        pixels: uint8 samples [n, size, size, 3], of which at most `MOST_SAMPLES` are used.
        progress: Called with segments done and segments in all.
        stored: Names of the tensors that a format stores quantized. None: all tensors with
            quantization parameters.

    Returns:
        One sensitivity per unit.
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
    all_units = units(graph)
    rounded = _round_weights(engine, model, plan, samples)
    noise = _logits_noise(engine, model, rounded, rounding, all_units, samples, progress)
    outputs = _output_noise(engine, model, plan, rounding, all_units, samples)
    return tuple(
        Sensitivity(
            name=unit.name,
            kind=unit.kind,
            tensors=tuple(node.name for node in unit.nodes),
            noise=unit_noise,
            output_db=sqnr_db(outputs[unit.output]),
            multiply_adds=sum(multiply_adds(node, graph.shapes) for node in unit.nodes),
        )
        for unit, unit_noise in zip(all_units, noise, strict=True)
    )


def _logits_noise(
    engine: Engine,
    model: Model,
    rounded: Weights,
    rounding: QuantPlan,
    all_units: Sequence[Unit],
    samples: Floats,
    progress: Callable[[int, int], None] | None,
) -> list[float]:
    """Noise energy of each unit on the logits, divided by the logits' energy."""
    parts = [
        (_part(model.graph, source, members), members)
        for source, members in segments(model.graph, all_units, rounding.fused_gates)
    ]
    # All float segments stay compiled: together they hold the network's weights once.
    exact_runs = [_compiled(engine, part, model.weights, rounding, ()) for part, _ in parts]
    logits = _consecutive(exact_runs, samples)
    signal = max(float(np.square(logits, dtype=np.float64).sum()), 1e-30)
    exact, noise = samples, []
    for number, (part, members) in enumerate(parts):
        output = exact_runs[number](exact)
        for unit in members:
            names = (f"{unit.name}.weight", f"{unit.name}.bias")
            changed = {name: rounded[name] for name in names if name in rounded}
            run = _compiled(engine, part, {**model.weights, **changed}, rounding, (unit,))
            values = bias_corrected(run(exact), output)
            error = _consecutive(exact_runs[number + 1 :], values) - logits
            noise.append(float(np.square(error, dtype=np.float64).sum()) / signal)
        exact = output
        if progress is not None:
            progress(number + 1, len(parts))
    return noise


def _part(graph: Graph, source: str, members: Sequence[Unit]) -> Graph:
    """The nodes of consecutive units as a graph whose input is the tensor ``source``."""
    nodes = tuple(node for unit in members for node in unit.nodes)
    return Graph(source, graph.shapes[source], nodes)


def _compiled(
    engine: Engine, part: Graph, weights: Weights, rounding: QuantPlan, quantized: Sequence[Unit]
) -> _Run:
    """A function from a part's input to its output; only the units ``quantized`` are quantized."""
    quant_params = {
        node.name: rounding.quant_params[node.name]
        for unit in quantized
        for node in unit.nodes
        if node.name in rounding.quant_params
    }
    plan = replace(rounding, quant_params=quant_params)
    run = engine.compile_fake_quantized(part, weights, plan, [part.output])

    def in_parts(batch: Floats) -> Floats:
        starts = range(0, len(batch), _PART)
        return np.concatenate([run(batch[start : start + _PART])[part.output] for start in starts])

    return in_parts


def _consecutive(runs: Iterable[_Run], values: Floats) -> Floats:
    """The output of the last function, each of which reads the output of the one before it."""
    for run in runs:
        values = run(values)
    return values


def bias_corrected(values: Floats, exact: Floats) -> Floats:
    """``values`` plus one constant per channel, so that channel means equal those of ``exact``."""
    axes = (0, *range(2, values.ndim))
    return np.asarray(values - (values - exact).mean(axis=axes, keepdims=True), np.float32)


def _round_weights(
    engine: Engine, model: Model, plan: QuantPlan, samples: Floats
) -> dict[str, Floats]:
    """Dequantized weights and corrected biases of every layer for float inputs, by parameter name.

    The plan's integers compensate errors of earlier layers. On float inputs this compensation is
    itself an error. Candidates are the plan's integers, and rounding to nearest with the plan's
    scales. Each layer uses the candidate with the smaller error variance on float inputs.
    """
    candidates = {name: _candidates(model, plan, name) for name in _planned(model.graph, plan)}
    errors = {
        (name, number): np.asarray(model.weights[f"{name}.weight"] - weight)
        for name, weights in candidates.items()
        for number, weight in enumerate(weights)
    }
    moments = _output_error_moments(engine, model, errors, samples)
    rounded = {}
    for name, weights in candidates.items():
        means, squares = zip(
            *(moments[name, number] for number in range(len(weights))), strict=True
        )
        variances = [
            float((square - mean**2).sum()) for mean, square in zip(means, squares, strict=True)
        ]
        best = int(np.argmin(variances))
        rounded[f"{name}.weight"] = weights[best]
        if f"{name}.bias" in model.weights:
            correction = means[best].astype(np.float32)
            rounded[f"{name}.bias"] = model.weights[f"{name}.bias"] + correction
    return rounded


def _planned(graph: Graph, plan: QuantPlan) -> list[str]:
    """Names of the layers that ``plan`` quantizes, in the graph's order."""
    return [node.name for node in graph if node.name in plan.layers]


def _output_error_moments(
    engine: Engine, model: Model, errors: Mapping[tuple[str, int], Floats], samples: Floats
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Mean and mean square [2, out] of the output error that each weight error causes.

    The layers' inputs are those of the float network. ``errors`` holds weight errors by (name of
    the layer, number of the candidate), and so does the result.
    """
    graph = model.graph
    sources = {name: graph.by_name[name].inputs[0] for name, _ in errors}
    tensors = sorted({*sources.values()} - {graph.input})
    network = compile_segments(graph, model.weights, engine, tensors, _CHUNK) if tensors else []
    runs = {}
    for (name, number), error in errors.items():
        layer = Graph(sources[name], graph.shapes[sources[name]], (graph.by_name[name],))
        bias = np.zeros(graph.shapes[name][0], np.float32)
        weights = {f"{name}.weight": error, f"{name}.bias": bias}
        runs[name, number] = engine.compile_float(layer, weights, [name])
    sums: dict[tuple[str, int], list[NDArray[np.float64]]] = {key: [] for key in runs}
    for start in range(0, len(samples), _CHUNK):
        batch = samples[start : start + _CHUNK]
        for _, inputs in chain([(0, {graph.input: batch})], run_segments(network, batch, engine)):
            for (name, number), run in runs.items():
                if sources[name] not in inputs:
                    continue
                output = run(inputs[sources[name]])[name]
                rows = output.reshape(*output.shape[:2], -1).astype(np.float64)
                part = np.stack(
                    [rows.mean(axis=2).sum(axis=0), np.square(rows).mean(axis=2).sum(axis=0)]
                )
                sums[name, number].append(part)
            del inputs  # frees memory before the next step
    return {key: np.sum(parts, axis=0) / len(samples) for key, parts in sums.items()}


def _candidates(model: Model, plan: QuantPlan, name: str) -> tuple[Floats, Floats]:
    """Dequantized weights of a layer: the plan's integers, and rounding to nearest."""
    weight, layer = model.weights[f"{name}.weight"], plan.layers[name]
    scale = layer.scale.reshape(-1, *(1,) * (weight.ndim - 1))
    nearest = np.clip(np.rint(weight / scale), -LIMIT, LIMIT) * scale
    return layer.float_weight(), np.asarray(nearest, np.float32)


def _output_noise(
    engine: Engine,
    model: Model,
    plan: QuantPlan,
    rounding: QuantPlan,
    all_units: Sequence[Unit],
    samples: Floats,
) -> dict[str, float]:
    """Noise energy / signal energy of each unit's output, by tensor name, if all is quantized."""
    names = [unit.output for unit in all_units]
    weights = {**model.weights, **plan.weights}
    for name, layer in plan.layers.items():
        weights[f"{name}.weight"] = layer.float_weight()
        source = model.graph.by_name[name].inputs[0]
        weights[f"{name}.bias"] = layer.float_bias(plan.quant_params[source].scale)
    noise, signal = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    exact, quantized, params = samples, samples, rounding.quant_params
    float_plan = QuantPlan({}, {}, "", fused_gates=rounding.fused_gates)
    for source, members in segments(model.graph, all_units, rounding.fused_gates):
        graph = _part(model.graph, source, members)
        outputs = [unit.output for unit in members]
        float_run = engine.compile_fake_quantized(graph, model.weights, float_plan, outputs)
        inside = {n.name: params[n.name] for n in graph if n.name in params}
        rounded = replace(rounding, quant_params=inside)
        run = engine.compile_fake_quantized(graph, weights, rounded, outputs)
        lasts: list[tuple[Floats, Floats]] = []
        for start in range(0, len(samples), _CHUNK):
            tensors = float_run(exact[start : start + _CHUNK])
            others = run(quantized[start : start + _CHUNK])
            for name, tensor in tensors.items():
                noise[name] += float(np.square(others[name] - tensor).sum(dtype=np.float64))
                signal[name] += float(np.square(tensor).sum(dtype=np.float64))
            lasts.append((tensors[graph.output], others[graph.output]))
        exact, quantized = (np.concatenate(parts) for parts in zip(*lasts, strict=True))
    return {name: noise[name] / max(signal[name], 1e-30) for name in names}


def layer_sensitivities(
    quantized: QuantizedModel,
    engine: Engine,
    pixels: NDArray[np.uint8],
    placement: QuantizerPlacement,
    report: Callable[[str, int, int], None],
) -> tuple[Sensitivity, ...]:
    """`sensitivities` of an int8 network with the quantizer placement of one format.

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
        lambda done, total: report("measure sensitivities", done, total),
        stored=quantized_tensors(model.graph, plan, placement),
    )
