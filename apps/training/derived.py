"""Start of the training of adapted and reshaped networks, whose layers differ from the original's.

Removed squeeze-excite is replaced by its mean gates, and BatchNorm statistics are estimated again,
both on photos of the training split. Then the network is trained like any other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.head.train_head import train_head
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.canonical import save
from edge_effnet.converters.frameworks.torch import build, to_weights
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.errors import UsageError
from edge_effnet.graph import BatchNorm, Mul
from edge_effnet.inheritance import inherit
from edge_effnet.model import Model
from edge_effnet.notices import Notify
from edge_effnet.progress import Progress, ignore_progress
from edge_effnet.registry import original_of
from edge_effnet.variants import Variant

import torch  # isort: skip  (after the module that checks for the extra)

#: Photos that statistics are estimated on. 128 photos give BatchNorm of 7 x 7 maps 6,272 values per
#: channel.
PHOTOS, _BATCH = 128, 32


def start(run: Run, base: Model, data: TrainingData, notify: Notify, progress: Progress) -> Model:
    """The base network of a run whose variant is adapted or reshaped, ready for its head.

    The original gets a head for the classes first, and is written to the run as the teacher.

    Args:
        run: The run.
        base: The untrained network.
        data: The photos.
        notify: Called with notes on the checkpoint.
        progress: Called with (step, done, total).

    Returns:
        The result of `derive`; ``base`` itself if its variant derives from no released one.
    """
    settings = run.settings
    original = original_of(base.variant)[0]
    if original == base.variant:
        return base
    trained = load(original, settings.weights, resolution=settings.resolution, notify=notify)
    teacher = train_head(
        trained,
        data,
        cache=run.folder / "features",
        balanced=settings.balanced,
        threads=settings.threads,
        on_epoch=lambda row: None,
        progress=progress,
    )
    save(teacher.model, run.teacher_file)
    photos = [sample.path for sample in data.of("train")]
    side = base.graph.input_shape[1]
    return derive(trained, base.variant, photos, side=side, progress=progress)


def derive(
    original: Model,
    variant: Variant,
    photos: Sequence[Path],
    *,
    side: int | None = None,
    progress: Progress = ignore_progress,
) -> Model:
    """The network ``variant`` with weights of ``original``, ready to be trained.

    Args:
        original: The trained network, BatchNorm not folded.
        variant: An adapted or reshaped variant of the original's.
        photos: Training photos; up to `PHOTOS` of them are used, evenly spread.
        side: Side of the input of a reshaped variant in pixels; None for the variant's.
        progress: Called with (stage, done, total).

    Raises:
        UsageError: ``variant`` does not derive from the variant of ``original``.
        ImageError: A photo cannot be read.
    """
    released, reshaped, adaptation = original_of(variant)
    if released != original.variant:
        raise UsageError(
            f"{variant.name} does not derive from {original.variant.name}; give weights of "
            f"{released.name}"
        )
    chosen = [photos[i] for i in range(0, len(photos), max(1, len(photos) // PHOTOS))][:PHOTOS]
    model = original if reshaped == released else inherit(original, reshaped, side)
    gates = None
    if not adaptation.squeeze_excite:
        gates = mean_gates(model, chosen)
        progress("mean squeeze-excite gates", 1, 1)
    model = adaptation.model(model, gates)
    if variant.activation != released.activation or _differ(model, original):
        model = recalibrate(model, chosen)
        progress("BatchNorm statistics", 1, 1)
    return model


def _differ(model: Model, original: Model) -> bool:
    """Whether the networks have other layers; another input side alone changes none."""
    return model.graph.parameter_shapes != original.graph.parameter_shapes


def mean_gates(
    model: Model, photos: Sequence[Path], *, threads: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Mean of each squeeze-excite gate [channels] over photos, by the name of its product.

    Raises:
        ImageError: A photo cannot be read.
    """
    gates = {node.name: node.inputs[1] for node in model.graph if isinstance(node, Mul)}
    if not gates:
        return {}
    run = OnnxEngine(threads).compile_float(model.graph, model.weights, list(gates.values()))
    totals: dict[str, NDArray[np.float64]] = {}
    for batch in _batches(model, photos):
        values = run(batch)
        for product, gate in gates.items():
            total = values[gate].astype(np.float64).sum(axis=(0, 2, 3))
            totals[product] = totals.get(product, 0) + total
    return {name: (total / len(photos)).astype(np.float32) for name, total in totals.items()}


def recalibrate(model: Model, photos: Sequence[Path]) -> Model:
    """``model`` with BatchNorm's means and variances estimated on photos.

    The statistics of a batch normalise its own maps, so each layer is estimated on what the layers
    before it then compute. Networks whose BatchNorm is folded or the identity are returned
    unchanged, because new statistics would change their function.

    Raises:
        ImageError: A photo cannot be read.
    """
    if not _has_statistics(model):
        return model
    network = build(model).train()
    network.dropout, network.drop_rates = 0.0, {}
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # the mean over all batches
    with torch.no_grad():
        for batch in _batches(model, photos):
            network(torch.from_numpy(batch))
    return replace(model, weights=to_weights(network))


def _has_statistics(model: Model) -> bool:
    """Whether a BatchNorm has other statistics than the mean 0."""
    norms = [node.name for node in model.graph if isinstance(node, BatchNorm)]
    return any(bool(np.any(model.weights[f"{name}.running_mean"])) for name in norms)


def _batches(model: Model, photos: Sequence[Path]) -> Iterator[NDArray[np.float32]]:
    """Normalised float32 batches [n, 3, side, side] of photos."""
    preprocess = model.info.preprocess
    for start in range(0, len(photos), _BATCH):
        chosen = photos[start : start + _BATCH]
        pixels = np.stack([preprocess.exact_pixels(path) for path in chosen])
        yield np.ascontiguousarray(preprocess.normalise(pixels).transpose(0, 3, 1, 2), np.float32)
