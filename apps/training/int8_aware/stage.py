"""The int8-aware stage of a training: calibrate on the training photos, then train the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edge_effnet.apps.training.int8_aware.photos import Photos
from edge_effnet.apps.training.int8_aware.refine import refine
from edge_effnet.apps.training.int8_aware.refinement import Refinement, RefineSettings
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.apps.training.samples import Split, TrainingData
from edge_effnet.apps.training.settings import Settings
from edge_effnet.converters.quantize import calibrate
from edge_effnet.model import Model
from edge_effnet.notices import Notify, warn
from edge_effnet.progress import ProgressOption


def train_int8(
    model: Model,
    data: TrainingData,
    settings: Settings,
    *,
    state: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda row: None,
    progress: ProgressOption = None,
    notify: Notify = warn,
) -> Refinement:
    """Calibrate a trained network and train its plan for the int8-aware epochs.

    Args:
        model: The network after the head or after fine-tuning.
        data: The photos. The split ``train`` calibrates and trains; ``val`` chooses the epoch.
        settings: The user's choices: seed, threads, device.
        state: File of the state; see `refine`.
        on_epoch: Called after each epoch; when resuming, first for the earlier epochs.
        progress: Called with (step, done, total); None shows bars; False shows none.
        notify: Called with warnings about the photos.

    Returns:
        The result; its ``quantized`` is calibrated or, if better, trained.

    Raises:
        QuantizationError: The network cannot be quantized.
        ImageError: A photo cannot be read.
        OutputError: The state cannot be written.
    """
    train, held_out = (_photos(data, split) for split in ("train", "val"))
    quantized = calibrate(
        model, train.paths, threads=settings.threads, progress=progress, notify=notify
    )
    options = replace(
        RefineSettings(), seed=settings.seed, threads=settings.threads, device=settings.device
    )
    return refine(
        quantized,
        model,
        train,
        held_out,
        options,
        state=state,
        on_epoch=on_epoch,
        progress=progress,
    )


def _photos(data: TrainingData, split: Split) -> Photos:
    samples = data.of(split)
    return Photos(
        tuple(sample.path for sample in samples), tuple(sample.label for sample in samples)
    )
