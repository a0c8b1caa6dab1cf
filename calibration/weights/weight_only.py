"""Integers for networks that compute in float: every layer solved among the float network's inputs.

An int8 network's layers are fitted to inputs that carry the rounding errors of all before them.
Files with int8 weights alone have no such errors, and what makes up for them there is an error
here: on V2-B0 the logits of such a file keep 18 dB with the int8 network's integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.activations.sampling import POSITIONS
from edge_effnet.calibration.engine import Engine, Floats, on_one_blas_thread
from edge_effnet.calibration.passes.prepare import PreparedModel, prepare
from edge_effnet.calibration.plan import LayerPlan, WeightOnlyPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import Samples
from edge_effnet.calibration.weights import gptq
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Model

_CHUNK = 8
#: Most bytes of second moments at a time; a network that has more is run several times.
_MOST_BYTES = 512e6

Layer = Conv | Dense


class Moments:
    """Count, sum and second moments of one layer's inputs, float64 sums of float32 products."""

    def __init__(self) -> None:
        self.count = 0
        self.sum: NDArray[np.float64] | float = 0.0
        self.products: Floats | float = 0.0

    def add(self, rows: Floats) -> None:
        """Rows [positions, k], or [channels, positions, k] of a depthwise layer."""
        self.count += rows.shape[-2]
        self.sum = self.sum + rows.sum(axis=-2, dtype=np.float64)
        self.products = self.products + np.swapaxes(rows, -1, -2) @ rows

    @property
    def mean(self) -> Floats:
        """[..., k]."""
        return np.asarray(self.sum / self.count, np.float32)

    @property
    def covariance(self) -> Floats:
        """[..., k, k]."""
        mean = self.sum / self.count
        outer = np.asarray(mean)[..., :, None] * np.asarray(mean)[..., None, :]
        return np.asarray(self.products / self.count - outer, np.float32)


@on_one_blas_thread
def quantize_weights(
    model: Model | PreparedModel,
    samples: Samples,
    engine: Engine,
    *,
    recipe: str = "default",
    progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Weight-only quantization of ``model``: int8 weights and float32 biases.

    One float pass over the samples (several for networks of large layers), then GPTQ of every layer
    and a bias that brings the mean of its outputs back. Raises `QuantizationError` if the weights
    are not finite or a layer is grouped in another way than depthwise.
    """
    prepared = model if isinstance(model, PreparedModel) else prepare(model)
    model = prepared.model
    layers = [node for node in model.graph if isinstance(node, (Conv, Dense))]
    total = len(layers) + sum(1 for _ in _parts(model, layers)) * len(samples.pixels)
    planned: dict[str, LayerPlan] = {}
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    for part in _parts(model, layers):
        moments = _observe(model, samples.pixels, engine, part, step)
        for layer in part:
            planned[layer.name] = _solve(model, layer, moments.pop(layer.name))
            step(1)
    plan = WeightOnlyPlan(planned, recipe, samples.record)
    return QuantizedModel(model, plan, prepared.reference.info)


def _parts(model: Model, layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    """Stretches of the layers whose second moments fit into memory together."""
    part: list[Layer] = []
    size = 0.0
    for layer in layers:
        weight = model.weights[f"{layer.name}.weight"]
        columns = weight[0].size
        rows = len(weight) if isinstance(layer, Conv) and layer.depthwise else 1
        own = 4.0 * rows * columns**2
        if part and size + own > _MOST_BYTES:
            yield part
            part, size = [], 0.0
        part.append(layer)
        size += own
    yield part


def _observe(
    model: Model,
    pixels: NDArray[np.uint8],
    engine: Engine,
    layers: Sequence[Layer],
    step: Callable[[int], None],
) -> dict[str, Moments]:
    graph = model.graph
    sources = sorted({layer.inputs[0] for layer in layers} - {graph.input})
    run = engine.compile_float(graph, model.weights, sources) if sources else None
    moments = {layer.name: Moments() for layer in layers}
    places = max(1, POSITIONS // len(pixels))
    rng = np.random.default_rng(0)
    for start in range(0, len(pixels), _CHUNK):
        values = model.info.preprocess.normalise(pixels[start : start + _CHUNK])
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        found = {graph.input: batch, **(run(batch) if run else {})}
        for layer in layers:
            moments[layer.name].add(_rows(layer, found[layer.inputs[0]], places, rng))
        step(len(batch))
    return moments


def _rows(layer: Layer, inputs: Floats, places: int, rng: np.random.Generator) -> Floats:
    """What ``layer`` multiplies at ``places`` of its outputs, k in the order of its weight."""
    if isinstance(layer, Dense):
        return inputs
    if layer.groups > 1 and not layer.depthwise:
        raise QuantizationError(
            f"{layer.name}: a convolution in {layer.groups} groups has no int8 form yet; export "
            "fp32 or fp16"
        )
    top, left, bottom, right = layer.pads
    padded = np.pad(inputs, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (layer.kernel,) * 2, axis=(2, 3))
    windows = windows[:, :, :: layer.stride, :: layer.stride]
    height, width = windows.shape[2:4]
    chosen = rng.choice(height * width, min(places, height * width), replace=False)
    taken = windows[:, :, chosen // width, chosen % width]  # [n, channels, places, kernel, kernel]
    if layer.depthwise:
        return taken.transpose(1, 0, 2, 3, 4).reshape(taken.shape[1], -1, layer.kernel**2)
    return taken.transpose(0, 2, 1, 3, 4).reshape(-1, taken.shape[1] * layer.kernel**2)


def _solve(model: Model, layer: Layer, seen: Moments) -> LayerPlan:
    stored = model.weights[f"{layer.name}.weight"]
    if not np.isfinite(stored).all():
        raise QuantizationError(
            f"{layer.name} holds NaN or infinite weights: the checkpoint is damaged or its "
            "training diverged; use another one"
        )
    weight = stored.reshape(len(stored), -1)
    covariance = seen.covariance
    importance = np.maximum(np.diagonal(covariance, axis1=-2, axis2=-1), 1e-12)
    scale = gptq.choose_scale(weight, importance, 0)
    if covariance.ndim == 3:
        integers = gptq.gptq_depthwise(weight, scale, covariance)
    else:
        integers = gptq.gptq(weight, scale, covariance, 0)
    error = weight - integers.astype(np.float32) * scale[:, None]
    bias = model.weights.get(f"{layer.name}.bias", np.zeros(len(weight), np.float32))
    if layer.bias:
        bias = bias + (error * seen.mean).sum(axis=1)
    return LayerPlan(integers.reshape(stored.shape), scale, bias.astype(np.float32))
