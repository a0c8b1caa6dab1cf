"""Calibration statistics: histograms and float layer outputs from one pass over the samples."""

from __future__ import annotations

import math
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
from edge_effnet.calibration.segments import compile_segments, run_segments
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Activation, Conv, Dense, Graph
from edge_effnet.model import Model

_CHUNK = 8  # samples in a batch
_HALF_MAX = 65504.0  # the largest float16
#: Number of values that a histogram counts per tensor and sample.
_VALUES = 2048
#: Number of positions at which the values of all channels are kept.
_CHANNEL_POSITIONS = 2048
#: Largest number of channel values over all tensors. V2-B0 has 80 million. Without this limit B7
#: would have 432 million and V2-XL 1,076 million.
_MOST_VALUES = 256_000_000
#: Number of target values over all layers above which some layers get fewer positions; see
#: `_sampled_positions`. B5 has 475 million; without this limit B7 would have 850 million and V2-L
#: 1,410 million.
_MOST_TARGETS = 500_000_000
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

    Raises:
        QuantizationError: A tensor holds NaN or infinite values.
    """
    graph = model.graph
    # Clipping activations are left out: the input's distribution determines the output's.
    clipped = {node.name for node in graph if isinstance(node, Activation) and node.kind in CLIPS}
    outputs = [node.name for node in graph if node.name not in clipped - {*channel_tensors}]
    segments = compile_segments(graph, model.weights, engine, outputs, _CHUNK)
    rng = np.random.default_rng(0)
    histograms = _Histograms(graph, (graph.input, *outputs), rng)
    channels = _ChannelValues(graph, channel_tensors, len(pixels), rng)
    targets = _Targets(graph, min(len(pixels), target_samples or len(pixels)), positions)
    for start in range(0, len(pixels), _CHUNK):
        values = model.info.preprocess.normalise(pixels[start : start + _CHUNK])
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        histograms.choose_positions()
        channels.choose_positions()
        histograms.add({graph.input: batch})
        channels.add({graph.input: batch}, start)
        for first, tensors in run_segments(segments, batch, engine):
            histograms.add(tensors)
            channels.add(tensors, start + first)
            targets.add(tensors, start + first)
            del tensors  # frees memory before the next part
        if progress is not None:
            progress(min(start + _CHUNK, len(pixels)), len(pixels))
    return CalibrationStatistics(
        histograms.by_name, targets.by_layer, channels.by_name(), targets.sampled
    )


class _Histograms:
    """Histogram of each tensor in ``names``: `_VALUES` values of each sample are counted."""

    def __init__(self, graph: Graph, names: Iterable[str], rng: np.random.Generator) -> None:
        self.by_name = {name: Histogram() for name in names}
        self.sizes = {name: math.prod(graph.shapes[name]) for name in self.by_name}
        self.rng = rng
        self.positions: dict[str, NDArray[np.intp]] = {}

    def choose_positions(self) -> None:
        """Choose the positions of the values to count in the next batch."""
        self.positions = {
            name: _stratified(size, _VALUES, self.rng) for name, size in self.sizes.items()
        }

    def add(self, tensors: Tensors) -> None:
        """Count values of the ``tensors`` that have a histogram; extremes cover all values."""
        counts = [
            (name, self.by_name[name], tensor, self.positions[name])
            for name, tensor in tensors.items()
            if name in self.by_name
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
        # With fewer positions than samples, samples are skipped.
        self.stride = -(-samples // positions)
        self.sizes = {name: math.prod(graph.shapes[name][1:]) for name in names}
        self.rng = rng
        self.positions: dict[str, NDArray[np.intp]] = {}
        self.parts: dict[str, list[NDArray[np.float16]]] = {name: [] for name in names}

    def choose_positions(self) -> None:
        """Choose the positions of the values to keep of the next batch."""
        self.positions = {
            name: _stratified(size, self.per_sample, self.rng) for name, size in self.sizes.items()
        }

    def add(self, tensors: Tensors, start: int) -> None:
        """Keep values of the ``tensors`` of the samples ``start``, ``start + 1``, ..."""
        names = [name for name in tensors if name in self.parts]
        choices = [
            (tensors[name][-start % self.stride :: self.stride], self.positions[name])
            for name in names
        ]
        values = in_parallel(lambda args: _values_at(*args), choices)
        for name, part in zip(names, values, strict=True):
            self.parts[name].append(part)

    def by_name(self) -> dict[str, NDArray[np.float16]]:
        """The kept values by tensor name, each [channels, positions]."""
        return {name: np.concatenate(self.parts.pop(name), axis=1) for name in [*self.parts]}


class _Targets:
    """Float outputs of every layer at its sampled positions, for the first ``samples`` samples."""

    def __init__(self, graph: Graph, samples: int, positions: int) -> None:
        self.layers = [node for node in graph if isinstance(node, (Conv, Dense))]
        self.samples = samples
        self.sampled = _sampled_positions(graph, samples, positions)
        self.by_layer: dict[str, NDArray[np.floating[Any]]] = {}
        for layer in self.layers:
            count = self.sampled[layer.name].count if isinstance(layer, Conv) else samples
            self.by_layer[layer.name] = np.empty((graph.shapes[layer.name][0], count), np.float16)

    def add(self, tensors: Tensors, start: int) -> None:
        """Keep the targets among ``tensors`` of the samples ``start``, ``start + 1``, ..."""
        if start >= self.samples:
            return
        for layer in self.layers:
            if layer.name not in tensors:
                continue
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


def _count(name: str, histogram: Histogram, tensor: Floats, positions: NDArray[np.intp]) -> None:
    low, high = float(tensor.min()), float(tensor.max())
    if not np.isfinite([low, high]).all():
        raise QuantizationError(
            f"the tensor {name} holds NaN or infinite values on the calibration samples: the "
            "checkpoint is damaged or its training diverged; use another one"
        )
    histogram.extend_range(low, high)
    histogram.add(tensor.reshape(len(tensor), -1)[:, positions])


def _sampled_positions(graph: Graph, samples: int, positions: int) -> dict[str, SampledPositions]:
    """Choose the output positions at which each convolution's targets are sampled.

    A convolution has about ``positions`` of them, a depthwise one an eighth. If all targets
    together would exceed `_MOST_TARGETS` values, convolutions with more output channels than
    weights per output channel get fewer, but at least two positions per weight.
    """
    layers = [node for node in graph if isinstance(node, Conv)]
    wanted = {x.name: positions // _DEPTHWISE if x.depthwise else positions for x in layers}
    sampled = {x.name: sample_positions(graph, x, samples, wanted[x.name]) for x in layers}
    values = {x.name: x.channels * sampled[x.name].count for x in layers}
    inputs = {x.name: math.prod(graph.parameter_shapes[f"{x.name}.weight"][1:]) for x in layers}
    wide = [x for x in layers if x.channels > inputs[x.name] and not x.depthwise]
    of_wide = sum(values[x.name] for x in wide)
    excess = sum(values.values()) - _MOST_TARGETS
    if excess > 0 and of_wide:
        share = max(0.0, 1 - excess / of_wide)
        for x in wide:
            fewer = max(int(share * wanted[x.name]), 2 * inputs[x.name])
            sampled[x.name] = sample_positions(graph, x, samples, min(fewer, wanted[x.name]))
    return sampled


def _values_at(tensor: Floats, positions: NDArray[np.intp]) -> NDArray[np.float16]:
    """Values of all channels at ``positions`` of each sample: [channels, samples * positions]."""
    pixels = math.prod(tensor.shape[2:])  # -1 fails if there are no samples
    maps = tensor.reshape(*tensor.shape[:2], pixels)[:, :, positions]
    values = np.clip(maps, -_HALF_MAX, _HALF_MAX).astype(np.float16)
    return values.transpose(1, 0, 2).reshape(tensor.shape[1], -1)


def _stratified(size: int, count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """``count`` different indices below ``size``: one from each of ``count`` equal intervals."""
    if size <= count:
        return np.arange(size)
    edges = np.arange(count + 1) * size // count
    return edges[:-1] + (rng.random(count) * np.diff(edges)).astype(np.intp)
