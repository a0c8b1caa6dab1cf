"""Choice of clipping ranges by quantization noise on the logits.

`calibration.activations.quantizers` chooses ranges that minimise the error after the next
convolution, and assumes that errors at different positions are independent. For a few tensors this
error does not predict the noise on the logits:

- B0's first layer has channels with fine detail on a large constant. Their error depends on the
  distance of the constant from the nearest quantization level.
- Clipped values lie side by side, so their errors add up in the next convolution. Before
  squeeze-excite, a clipped value also changes all gates.

Each swish output and squeeze-excite product is therefore quantized with all other tensors in float,
and the noise on the logits is measured. If it is above a threshold, several scaled ranges are
tried, and the range with the least noise is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activations.quantizers import constrained
from edge_effnet.calibration.engine import Engine, Floats, return_free_memory
from edge_effnet.calibration.plan import QuantParams, QuantPlan
from edge_effnet.calibration.sensitivity.measure import bias_corrected
from edge_effnet.calibration.sensitivity.units import Unit, segments, units
from edge_effnet.graph import Activation, Graph, Mul
from edge_effnet.model import Model

#: Noise energy / signal energy of the logits (30 dB) above which a tensor's range is searched.
_NOISY = 1e-3
#: Largest number of units whose ranges are searched; it bounds the time.
_MOST_UNITS = 8
#: Smallest fraction of the noise that a new range removes.
_WORTHWHILE = 0.05
#: Factors of the ranges. Noise changes steeply with the factor where large constants matter.
_FACTORS = tuple(float(factor) for factor in np.geomspace(0.55, 1.8, 12))
#: Samples that noise is measured on: as many as have this many multiply-adds in the float network,
#: from 6 to 16. B0 has 16; with 6, the SQNR of its logits is 0.3 dB lower.
_MULTIPLY_ADDS, _FEWEST, _MOST = 12e9, 6, 16
#: The first samples show which tensors have far less noise than `_NOISY`.
_FIRST_SAMPLES, _FAR = 2, 0.3
#: Bytes of the largest float32 tensor of the samples that are computed at a time.
_PART_BYTES = 32 * 2**20


def refine_ranges(
    model: Model,
    quant_params: Mapping[str, QuantParams],
    engine: Engine,
    pixels: NDArray[np.uint8],
    fused_gates: Collection[str],
    progress: Callable[[int, int], None],
) -> dict[str, QuantParams]:
    """Choose the ranges of noisy swish outputs and squeeze-excite products by the logits.

    Args:
        model: Network with BN folded and the same input mean and deviation for all channels.
        quant_params: Quantization parameters by tensor name.
        engine: Compiles parts of the network.
        pixels: Calibration samples, uint8 [n, size, size, 3].
        fused_gates: Names of the products with fused sigmoid gating.
        progress: Called with steps done and steps in all.

    Returns:
        Tie-free quantization parameters of the same tensors.
    """
    graph = model.graph
    candidates = [unit for unit in units(graph) if _is_candidate(graph, unit)]
    if not candidates:
        return dict(quant_params)
    gates = frozenset(fused_gates)
    parts = [
        (
            Graph(source, graph.shapes[source], tuple(n for unit in members for n in unit.nodes)),
            members,
        )
        for source, members in segments(graph, units(graph), gates)
    ]
    exact_runs = [_compiled(model, engine, segment, {}, gates) for segment, _ in parts]
    count = int(np.clip(_MULTIPLY_ADDS // max(graph.multiply_adds, 1), _FEWEST, _MOST))
    values = model.info.preprocess.normalise(_spread(pixels, count)).transpose(0, 3, 1, 2)
    batch = np.ascontiguousarray(values, np.float32)

    def runs(wanted: Collection[Unit], steps_done: int) -> Iterator[tuple[Unit, _Run]]:
        """Yield each unit of ``wanted``, in network order, with the `_Run` of its segment."""
        exact = batch
        for number, (segment, members) in enumerate(parts, start=1):
            run = _Run(model, engine, segment, exact, exact_runs[number - 1 :], gates)
            yield from ((unit, run) for unit in members if unit in wanted)
            exact = run.output
            return_free_memory(engine)
            progress(steps_done + number, 2 * len(parts))

    noise = {}
    for unit, run in runs(candidates, 0):
        present = _present(unit, quant_params)
        noise[unit] = run.noise(present, _FIRST_SAMPLES)
        if noise[unit] >= _FAR * _NOISY:
            noise[unit] = run.noise(present)
    noisiest = sorted(candidates, key=lambda unit: -noise[unit])[:_MOST_UNITS]
    noisy = [unit for unit in noisiest if noise[unit] >= _NOISY]
    refined = dict(quant_params)
    if noisy:
        for unit, run in runs(noisy, len(parts)):
            refined |= _refined(graph, unit, quant_params, run)
    return constrained(graph, refined)


def _present(unit: Unit, quant_params: Mapping[str, QuantParams]) -> dict[str, QuantParams]:
    """The current quantization parameters of the unit's tensors, by tensor name."""
    return {node.name: quant_params[node.name] for node in unit.nodes if node.name in quant_params}


def _refined(
    graph: Graph, unit: Unit, quant_params: Mapping[str, QuantParams], run: _Run
) -> dict[str, QuantParams]:
    """Quantization parameters of the unit's tensors, with the ranges that have the least noise.

    The output's range is searched first, with the activation's input in float as in OpenVINO files.
    """
    chosen: dict[str, QuantParams] = {}
    for name, present in reversed(_present(unit, quant_params).items()):
        chosen[name] = present
        noise = run.noise(chosen)
        if noise < _NOISY:
            continue
        least = (1 - _WORTHWHILE) * noise
        for factor in _FACTORS:
            candidate = {**chosen, name: _scaled(graph, name, present, factor)}
            noise = run.noise(candidate)
            if noise < least:
                chosen, least = candidate, noise
    return chosen


def _is_candidate(graph: Graph, unit: Unit) -> bool:
    """Whether the unit's output is a map after a smooth activation, or a product with a gate."""
    shape, last = graph.shapes[unit.output], unit.nodes[-1]
    smooth = isinstance(last, Activation) and last.kind in ("swish", "hard_swish")
    return (smooth or isinstance(last, Mul)) and len(shape) == 3 and shape[1:] != (1, 1)


def _scaled(graph: Graph, name: str, params: QuantParams, factor: float) -> QuantParams:
    """Quantization parameters for the range of ``params`` multiplied by ``factor``.

    Only the input of an activation has a lower limit that depends on the data; the activation's
    own minimum is fixed.
    """
    activated = isinstance(graph.by_name[name], (Activation, Mul))
    low = params.low if activated else params.low * factor
    return QuantParams.of_range(low, params.high * factor)


def _spread(pixels: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """``count`` of the samples, spread evenly over all."""
    if count >= len(pixels):
        return pixels
    return pixels[np.arange(count) * len(pixels) // count]


def _compiled(
    model: Model,
    engine: Engine,
    graph: Graph,
    quant_params: Mapping[str, QuantParams],
    fused_gates: frozenset[str],
) -> Callable[[Floats], Floats]:
    """A function from the input of a part of the network to its output.

    Only the tensors of ``quant_params`` are quantized.
    """
    plan = QuantPlan({}, quant_params, "", fused_gates=fused_gates)
    run = engine.compile_fake_quantized(graph, model.weights, plan, [graph.output])
    return lambda batch: run(batch)[graph.output]


class _Run:
    """Measures how much noise the quantized tensors of one segment cause on the logits.

    The segment reads the float tensor ``exact``. ``exact_runs`` compute it and the segments after
    it in float.
    """

    def __init__(
        self,
        model: Model,
        engine: Engine,
        segment: Graph,
        exact: Floats,
        exact_runs: Sequence[Callable[[Floats], Floats]],
        fused_gates: frozenset[str],
    ) -> None:
        self.model, self.engine, self.segment, self.exact = model, engine, segment, exact
        self.fused_gates, self.rest = fused_gates, exact_runs[1:]
        shapes = [math.prod(shape) for shape in model.graph.shapes.values()]
        self.step = max(1, _PART_BYTES // (4 * max(shapes)))
        self.output = self._in_parts(exact_runs[:1], exact)
        self._logits: NDArray[np.float64] | None = None

    def noise(self, quant_params: Mapping[str, QuantParams], count: int | None = None) -> float:
        """Noise energy / signal energy of the logits if only these tensors are quantized.

        The mean error of each channel of the segment's output is removed, because bias correction
        removes it later.

        Args:
            quant_params: Parameters of the quantized tensors, by tensor name.
            count: Number of samples to measure on; None for all.
        """
        quantized = _compiled(self.model, self.engine, self.segment, quant_params, self.fused_gates)
        values = self._in_parts([quantized], self.exact[:count])
        corrected = bias_corrected(values, self.output[:count])
        if self._logits is None:
            self._logits = self._in_parts(self.rest, self.output).astype(np.float64)
        logits = self._logits[:count]
        noise = np.square(self._in_parts(self.rest, corrected) - logits).sum()
        return float(noise / max(float(np.square(logits).sum()), 1e-30))

    def _in_parts(self, runs: Sequence[Callable[[Floats], Floats]], batch: Floats) -> Floats:
        """Run ``batch`` through consecutive segments, ``self.step`` samples at a time."""
        outputs = []
        for start in range(0, len(batch), self.step):
            values = batch[start : start + self.step]
            for run in runs:
                values = run(values)
            outputs.append(values)
        return np.concatenate(outputs)
