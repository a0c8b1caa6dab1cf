"""One float pass over the samples: the distribution of every tensor, the targets of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activation_functions import CLIPS
from edge_effnet.calibration.activations.histogram import Histogram
from edge_effnet.calibration.activations.sampling import (
    POSITIONS,
    SampledPositions,
    sample_positions,
)
from edge_effnet.calibration.engine import Engine, in_parallel
from edge_effnet.graph import Activation, Conv, Dense, Graph
from edge_effnet.model import Model

_CHUNK = 8
_HALF_MAX = 65504.0  # the largest float16
#: Values of each tensor and sample that stand for its distribution.
_VALUES = 2048
#: Positions at which whole columns of channels are kept of tensors that layers weigh.
_COLUMNS = 2048
#: Most values of columns in all: V2-B0 has 80 million, B7 would have 432, V2-XL 1,076.
_MOST_VALUES = 256_000_000
#: A depthwise channel has at most 25 weights of its own: so many times fewer positions suffice.
_DEPTHWISE = 8


@dataclass(frozen=True)
class CalibrationStatistics:
    """What the float network does on the samples.

    ``histograms`` of every tensor that no clip makes. ``targets``: outputs of each layer before its
    activation at its sites, [channels, positions], float16 unless that is too narrow. ``columns``:
    all channels of some tensors at some positions, float16 [channels, positions].
    """

    histograms: Mapping[str, Histogram]
    targets: Mapping[str, NDArray[np.floating[Any]]]
    columns: Mapping[str, NDArray[np.float16]]
    sampled: Mapping[str, SampledPositions]


def collect_statistics(
    model: Model,
    pixels: NDArray[np.uint8],
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
    *,
    solved: int | None = None,
    positions: int = POSITIONS,
    columns: Sequence[str] = (),
) -> CalibrationStatistics:
    """Run the float ``model`` (BN folded) over uint8 samples [n, size, size, 3].

    Targets are kept of the first ``solved`` samples, by default of all, at about ``positions``
    places a layer, ``columns`` of the tensors with these names.
    """
    graph, normalise = model.graph, model.info.preprocess.normalise
    layers = [node for node in graph if isinstance(node, (Conv, Dense))]
    solved = len(pixels) if solved is None else min(len(pixels), solved)
    sampled = {
        layer.name: sample_positions(
            graph, layer, solved, positions // _DEPTHWISE if layer.depthwise else positions
        )
        for layer in layers
        if isinstance(layer, Conv)
    }
    # Clipping activations need no look: their distribution follows from their input's.
    clipped = {node.name for node in graph if isinstance(node, Activation) and node.kind in CLIPS}
    outputs = [node.name for node in graph if node.name not in clipped]
    run = engine.compile_float(graph, model.weights, outputs)
    histograms = {name: Histogram() for name in (graph.input, *outputs)}
    targets: dict[str, NDArray[np.floating[Any]]] = {
        layer.name: np.empty(_target_shape(graph, layer, sampled, solved), np.float16)
        for layer in layers
    }
    kept: dict[str, list[NDArray[np.float16]]] = {name: [] for name in columns}
    channels = sum(graph.shapes[name][0] for name in columns)
    positions_kept = max(1, min(_COLUMNS, _MOST_VALUES // max(channels, 1)))
    places = max(1, positions_kept // len(pixels))
    every = -(-len(pixels) // positions_kept)  # beyond one position a sample, of every so many
    rng = np.random.default_rng(0)
    for start in range(0, len(pixels), _CHUNK):
        values = normalise(pixels[start : start + _CHUNK])
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        found = run(batch)
        found[graph.input] = batch
        counted = [
            (histogram, found[name], _spread(found[name][0].size, _VALUES, rng))
            for name, histogram in histograms.items()
        ]
        in_parallel(lambda of: _count(*of), counted)
        taken = [
            (found[name][-start % every :: every], _spread(found[name][0, 0].size, places, rng))
            for name in columns
        ]
        for parts, some in zip(
            kept.values(), in_parallel(lambda of: _taken(*of), taken), strict=True
        ):
            parts.append(some)
        for layer in layers if start < solved else ():
            rows = _target_rows(layer, found[layer.name][: solved - start], sampled, start)
            if np.abs(rows).max() > _HALF_MAX:
                targets[layer.name] = targets[layer.name].astype(np.float32, copy=False)
            kept_rows = targets[layer.name]
            first = start * kept_rows.shape[1] // solved
            kept_rows[:, first : first + len(rows)] = rows.astype(kept_rows.dtype).T
        del found, counted, taken  # before the next ones are made
        if progress is not None:
            progress(min(start + _CHUNK, len(pixels)), len(pixels))
    together = {name: np.concatenate(parts, axis=1) for name, parts in kept.items()}
    return CalibrationStatistics(histograms, targets, together, sampled)


def _count(histogram: Histogram, tensor: NDArray[np.float32], places: NDArray[np.intp]) -> None:
    histogram.see(float(tensor.min()), float(tensor.max()))
    histogram.add(tensor.reshape(len(tensor), -1)[:, places])


def _taken(tensor: NDArray[np.float32], places: NDArray[np.intp]) -> NDArray[np.float16]:
    """All channels at some ``places`` of every sample, [channels, samples * places]."""
    maps = tensor.reshape(*tensor.shape[:2], -1)[:, :, places]
    some = np.clip(maps, -_HALF_MAX, _HALF_MAX).astype(np.float16)
    return some.transpose(1, 0, 2).reshape(tensor.shape[1], -1)


def _target_rows(
    layer: Conv | Dense,
    outputs: NDArray[np.float32],
    sampled: Mapping[str, SampledPositions],
    first: int,
) -> NDArray[np.float32]:
    """A layer's targets [positions, channels] in its outputs on samples ``first``, ..."""
    if isinstance(layer, Dense):
        return outputs
    return _rows(sampled[layer.name].targets(outputs, first))


def _target_shape(
    graph: Graph, layer: Conv | Dense, sampled: Mapping[str, SampledPositions], solved: int
) -> tuple[int, int]:
    """[channels, positions] of a layer's targets."""
    count = sampled[layer.name].count if isinstance(layer, Conv) else solved
    return graph.shapes[layer.name][0], count


def _spread(size: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """``count`` different places out of ``size``, one in each of as many equal stretches."""
    if size <= count:
        return np.arange(size)
    edges = np.arange(count + 1) * size // count
    return edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.intp)


def _rows(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, channels, side, side] -> [n * side * side, channels]."""
    return blocks.transpose(0, 2, 3, 1).reshape(-1, blocks.shape[1])
