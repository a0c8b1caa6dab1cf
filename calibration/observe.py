"""One float pass over the samples: the range of every tensor, the targets of every layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_effnet.calibration.engine import Engine
from edge_effnet.calibration.sites import Sites, choose_sites
from edge_effnet.graph import Activation, Conv, Dense
from edge_effnet.model import Model

_CHUNK = 8
_HALF_MAX = 65504.0  # the largest float16
#: Values of each tensor and sample that stand for its distribution.
_VALUES = 2048
#: Samples that layers are solved on; ranges are taken over all. Bounds memory and time.
MOST_TARGET_SAMPLES = 128


@dataclass(frozen=True)
class Observation:
    """What the float network does on the samples.

    ``ranges``: (min, max) of every tensor. ``values``: a seeded sample of the values of the tensors
    that no clip bounds, float32 [many]. ``targets``: outputs of each layer before its activation
    at its sites, [positions, channels], float16 unless that is too narrow. ``logits``: float32
    [samples, classes].
    """

    ranges: Mapping[str, tuple[float, float]]
    values: Mapping[str, NDArray[np.float32]]
    targets: Mapping[str, NDArray[np.floating[Any]]]
    sites: Mapping[str, Sites]
    logits: NDArray[np.float32]


def observe(
    model: Model,
    pixels: NDArray[np.uint8],
    engine: Engine,
    progress: Callable[[int, int], None] | None = None,
) -> Observation:
    """Run the float ``model`` (BN folded) over uint8 samples [n, size, size, 3]."""
    graph, normalise = model.graph, model.card.preprocess.normalise
    layers = [node for node in graph if isinstance(node, (Conv, Dense))]
    solved = min(len(pixels), MOST_TARGET_SAMPLES)
    sites = {
        layer.name: choose_sites(graph, layer, solved)
        for layer in layers
        if isinstance(layer, Conv)
    }
    # Clipping activations need no look: their range follows from their input's.
    clipped = {
        node.name: node.inputs[0]
        for node in graph
        if isinstance(node, Activation) and node.kind in ("relu", "relu6")
    }
    outputs = [node.name for node in graph if node.name not in clipped]
    run = engine.floats(graph, model.weights, outputs)
    ranges: dict[str, tuple[float, float]] = {}
    targets: dict[str, list[NDArray[np.floating[Any]]]] = {layer.name: [] for layer in layers}
    spread: dict[str, list[NDArray[np.float32]]] = {name: [] for name in outputs}
    rng = np.random.default_rng(0)
    logits = []
    for start in range(0, len(pixels), _CHUNK):
        values = normalise(pixels[start : start + _CHUNK])
        batch = np.ascontiguousarray(values.transpose(0, 3, 1, 2))
        found = run(batch)
        logits.append(found[graph.output])
        for name, tensor in {graph.input: batch, **found}.items():
            low, high = ranges.get(name, (np.inf, -np.inf))
            ranges[name] = (min(low, float(tensor.min())), max(high, float(tensor.max())))
        for name in outputs:
            rows = found[name].reshape(len(batch), -1)
            if start < MOST_TARGET_SAMPLES:
                picked = rng.integers(0, rows.shape[1], min(_VALUES, rows.shape[1]))
                spread[name].append(rows[:, picked].ravel())
        for layer in layers:
            tensor = found[layer.name][: max(0, solved - start)]
            if isinstance(layer, Conv) and len(tensor):
                tensor = _rows(sites[layer.name].targets(tensor, start))
            fits = not tensor.size or np.abs(tensor).max() <= _HALF_MAX
            targets[layer.name].append(tensor.astype(np.float16) if fits else tensor)
        if progress is not None:
            progress(min(start + _CHUNK, len(pixels)), len(pixels))
    for name, source in clipped.items():
        low, high = ranges[source]
        ceiling = 6.0 if _kind(model, name) == "relu6" else np.inf
        ranges[name] = (max(low, 0.0), min(max(high, 0.0), ceiling))
    stacked = {
        name: np.concatenate([part for part in parts if len(part)])
        for name, parts in targets.items()
    }
    sampled = {name: np.concatenate(parts) for name, parts in spread.items()}
    return Observation(ranges, sampled, stacked, sites, np.concatenate(logits))


def _rows(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n, channels, side, side] -> [n * side * side, channels]."""
    return blocks.transpose(0, 2, 3, 1).reshape(-1, blocks.shape[1])


def _kind(model: Model, name: str) -> str:
    node = model.graph.by_name[name]
    return node.kind if isinstance(node, Activation) else ""
