"""Calibration statistics: histograms and float layer outputs from one pass over the samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from edge_effnet.calibration.engine import Engine, Floats, in_parallel
from edge_effnet.graph import Activation, Conv, Dense, Graph
from edge_effnet.model import Model

_CHUNK = 8
_HALF_MAX = 65504.0  # the largest float16
#: Number of values that a histogram counts per tensor and sample.
_VALUES = 2048
#: Number of positions at which the values of all channels are kept.
_CHANNEL_POSITIONS = 2048
#: Largest number of channel values over all tensors. V2-B0 has 80 million. Without this limit B7
#: would have 432 million and V2-XL 1,076 million.
_MOST_VALUES = 256_000_000
#: Divisor of the number of positions of depthwise layers, whose channels have at most 25 weights.
_DEPTHWISE = 8

Tensors = Mapping[str, Floats]  # [n, ...] by name


@dataclass(frozen=True)
class CalibrationStatistics:
    """Distributions and float outputs of a network over the calibration set.

    Attributes:
        histograms: Histograms by tensor name, of all tensors except outputs of clipping
            activations.
        targets: Float outputs by layer name, before the activation, at the layer's sampled
            positions: [channels, positions]; float16, or float32 if a value exceeds float16.
        channel_values: Values by tensor name, of all channels at the same positions: float16
            [channels, positions].
        sampled: The sampled positions of each convolution.
    """

    histograms: Mapping[str, Histogram]
    targets: Mapping[str, NDArray[np.floating[Any]]]
    channel_values: Mapping[str, NDArray[np.float16]]
    sampled: Mapping[str, SampledPositions]


def collect_statistics(
    model: Model,
    pixels: NDArray[np.uint8],
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
    *,
    target_samples: int | None = None,
    positions: int = POSITIONS,
    channel_tensors: Sequence[str] = (),
) -> CalibrationStatistics:
    """Run the float network over the samples and gather its calibration statistics.

    Args:
        model: Network with BN folded.
        pixels: uint8 samples [n, size, size, 3].
        engine: Compiles the float network.
        progress: Called with samples done and samples in all.
        target_samples: Number of samples, from the first on, whose targets are kept; default: all.
        positions: Approximate number of positions to sample per layer over all samples.
        channel_tensors: Names of the tensors in ``channel_values``.

    Returns:
        The statistics, which do not depend on the number of cores.
    """
    graph = model.graph
    # Clipping activations are left out: the input's distribution determines the output's.
    clipped = {node.name for node in graph if isinstance(node, Activation) and node.kind in CLIPS}
    outputs = [node.name for node in graph if node.name not in clipped]
    run = engine.compile_float(graph, model.weights, outputs)
    rng = np.random.default_rng(0)
    histograms = _Histograms((graph.input, *outputs), rng)
    channels = _ChannelValues(graph, channel_tensors, len(pixels), rng)
    targets = _Targets(graph, min(len(pixels), target_samples or len(pixels)), positions)
    for start in range(0, len(pixels), _CHUNK):
        values = model.info.preprocess.normalise(pixels[start : start + _CHUNK])
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        tensors = {**run(batch), graph.input: batch}
        histograms.add(tensors)
        channels.add(tensors, start)
        targets.add(tensors, start)
        del tensors  # frees memory before the next batch
        if progress is not None:
            progress(min(start + _CHUNK, len(pixels)), len(pixels))
    return CalibrationStatistics(
        histograms.by_name, targets.by_layer, channels.by_name(), targets.sampled
    )


class _Histograms:
    """Histogram of each tensor in ``names``."""

    def __init__(self, names: Iterable[str], rng: np.random.Generator) -> None:
        self.by_name = {name: Histogram() for name in names}
        self.rng = rng

    def add(self, tensors: Tensors) -> None:
        """Count `_VALUES` values of each sample; the extremes cover all values."""
        counts = [
            (histogram, tensors[name], _stratified(tensors[name][0].size, _VALUES, self.rng))
            for name, histogram in self.by_name.items()
        ]
        in_parallel(lambda args: _count(*args), counts)


class _ChannelValues:
    """Values of all channels of the tensors ``names`` at about `_CHANNEL_POSITIONS` positions."""

    def __init__(
        self, graph: Graph, names: Sequence[str], samples: int, rng: np.random.Generator
    ) -> None:
        channels = sum(graph.shapes[name][0] for name in names)
        positions = max(1, min(_CHANNEL_POSITIONS, _MOST_VALUES // max(channels, 1)))
        self.per_sample = max(1, positions // samples)
        self.stride = -(
            -samples // positions
        )  # with fewer positions than samples, samples are skipped
        self.rng = rng
        self.parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in names}

    def add(self, tensors: Tensors, start: int) -> None:
        """Keep values of the batch whose first sample is number ``start``."""
        choices = [
            (
                tensors[name][-start % self.stride :: self.stride],
                _stratified(tensors[name][0, 0].size, self.per_sample, self.rng),
            )
            for name in self.parts
        ]
        values = in_parallel(lambda args: _values_at(*args), choices)
        for parts, part in zip(self.parts.values(), values, strict=True):
            parts.append(part)

    def by_name(self) -> dict[str, NDArray[np.float16]]:
        """The kept values by tensor name, each [channels, positions]."""
        return {name: np.concatenate(parts, axis=1) for name, parts in self.parts.items()}


class _Targets:
    """Float outputs of every layer at its sampled positions, for the first ``samples`` samples."""

    def __init__(self, graph: Graph, samples: int, positions: int) -> None:
        self.layers = [node for node in graph if isinstance(node, (Conv, Dense))]
        self.samples = samples
        self.sampled = {
            layer.name: sample_positions(
                graph, layer, samples, positions // _DEPTHWISE if layer.depthwise else positions
            )
            for layer in self.layers
            if isinstance(layer, Conv)
        }
        self.by_layer: dict[str, NDArray[np.floating[Any]]] = {}
        for layer in self.layers:
            count = self.sampled[layer.name].count if isinstance(layer, Conv) else samples
            self.by_layer[layer.name] = np.empty((graph.shapes[layer.name][0], count), np.float16)

    def add(self, tensors: Tensors, start: int) -> None:
        """Keep the targets of the batch whose first sample is number ``start``."""
        if start >= self.samples:
            return
        for layer in self.layers:
            rows = self._rows(layer, tensors[layer.name][: self.samples - start], start)
            targets = self.by_layer[layer.name]
            if np.abs(rows).max() > _HALF_MAX:
                targets = targets.astype(np.float32, copy=False)
                self.by_layer[layer.name] = targets
            first = start * targets.shape[1] // self.samples
            targets[:, first : first + len(rows)] = rows.astype(targets.dtype).T

    def _rows(self, layer: Conv | Dense, outputs: Floats, first: int) -> Floats:
        """A layer's outputs at its sampled positions as rows: [positions, channels].

        ``outputs`` are those of the samples ``first``, ``first + 1``, ...
        """
        if isinstance(layer, Dense):
            return outputs
        blocks = self.sampled[layer.name].targets(outputs, first)
        return blocks.transpose(0, 2, 3, 1).reshape(-1, blocks.shape[1])


def _count(histogram: Histogram, tensor: Floats, positions: NDArray[np.intp]) -> None:
    histogram.extend_range(float(tensor.min()), float(tensor.max()))
    histogram.add(tensor.reshape(len(tensor), -1)[:, positions])


def _values_at(tensor: Floats, positions: NDArray[np.intp]) -> NDArray[np.float16]:
    """Values of all channels at ``positions`` of each sample: [channels, samples * positions]."""
    maps = tensor.reshape(*tensor.shape[:2], -1)[:, :, positions]
    values = np.clip(maps, -_HALF_MAX, _HALF_MAX).astype(np.float16)
    return values.transpose(1, 0, 2).reshape(tensor.shape[1], -1)


def _stratified(size: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """``count`` different indices below ``size``: one from each of ``count`` equal intervals."""
    if size <= count:
        return np.arange(size)
    edges = np.arange(count + 1) * size // count
    return edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.intp)
