"""Int8-aware training: the last epochs, in which a plan's integers and scales are trained."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_effnet.apps.training.int8_aware import loss as losses
from edge_effnet.apps.training.int8_aware.network import FakeQuantizedNetwork
from edge_effnet.apps.training.int8_aware.photos import Batch, Photos, batches, read_pixels
from edge_effnet.apps.training.int8_aware.refinement import Fidelity, Refinement, RefineSettings
from edge_effnet.apps.training.int8_aware.state import Best, digest_of, load, save
from edge_effnet.apps.training.int8_aware.verification import verify_files
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.calibration.calibrate import correct_openvino_biases
from edge_effnet.calibration.fidelity import sqnr_db
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.plan import QuantizerPlacement, QuantPlan
from edge_effnet.calibration.quantized_model import QuantizedModel
from edge_effnet.calibration.samples.photos import read_samples
from edge_effnet.converters.frameworks.torch import build
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.errors import QuantizationError
from edge_effnet.formats import FORMATS
from edge_effnet.model import Model
from edge_effnet.progress import ProgressOption, describe, reporting

Tensor = torch.Tensor
STEP = "int8-aware training"
_CHUNK = 8  # photos per forward pass without gradients


def refine(
    quantized: QuantizedModel,
    reference: Model,
    train: Photos,
    held_out: Photos,
    settings: RefineSettings | None = None,
    *,
    state: Path | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda row: None,
    progress: ProgressOption = None,
) -> Refinement:
    """Train the integers and scales of a plan on photos, with or without labels.

    The weights, biases and activation scales are trained through the fake-quantized network with
    TFLite's quantizer placement. OpenVINO's biases are corrected afterwards.

    Args:
        quantized: The calibrated network.
        reference: The float network that ``quantized`` was calibrated from.
        train: Photos to train on.
        held_out: Other photos, on which the best epoch is chosen.
        settings: Options; None for the defaults.
        state: File for the state after each epoch. If it exists and belongs to the same arguments,
            training resumes from it.
        on_epoch: Called after each epoch; when resuming, first for the earlier epochs.
        progress: Called with (step, done, total); None shows bars; False shows none.

    Returns:
        The trained network if it is better on the held-out photos in every format
        (`Fidelity.improves_on`) and its files pass the fidelity check; otherwise the object
        ``quantized``.

    Raises:
        UsageError: The plan quantizes weights only.
        ImageError: A photo cannot be read.
        OutputError: The state cannot be written.

    Example:
        >>> result = refine(quantized, model, train, held_out)  # doctest: +SKIP
        >>> result.quantized.save("refined.safetensors")  # doctest: +SKIP
    """
    settings = settings or RefineSettings()
    with reporting(progress) as report, _threads(settings.threads):
        training = _Training.of(quantized, reference, train, held_out, settings)
        before = training.fidelity(quantized)
        best = training.run(before["tflite"].loss, state, on_epoch, report)
        if best is None:
            return Refinement(quantized, before, before, 0, "no epoch lowered the loss")
        training.network.load_state_dict(best.parameters)
        plan = training.network.quant_plan()
        samples = read_samples(train.paths, reference.info.preprocess)
        engine = OnnxEngine(settings.threads)
        plan = correct_openvino_biases(quantized, plan, samples, engine, report)
        trained = replace(quantized, plan=plan)
        after = training.fidelity(trained)
        worse = [name for name in before if not after[name].improves_on(before[name])]
        if worse:
            reason = f"no clear gain in {FORMATS[worse[0]].title}"
            return Refinement(quantized, before, after, 0, reason)
        try:
            verify_files(trained, reference, samples, engine, settings.threads, report)
        except QuantizationError as error:
            return Refinement(quantized, before, after, 0, str(error))
        return Refinement(trained, before, after, best.epoch)


@dataclass(frozen=True)
class _Training:
    """The fake-quantized network, the float network and the photos of one training."""

    network: FakeQuantizedNetwork
    reference: Model
    teacher: losses.WithFeatures
    student: losses.WithFeatures
    train: Photos
    held_out: Batch
    held_out_reference: NDArray[np.float32]
    settings: RefineSettings
    key: str

    @classmethod
    def of(
        cls,
        quantized: QuantizedModel,
        reference: Model,
        train: Photos,
        held_out: Photos,
        settings: RefineSettings,
    ) -> _Training:
        device = torch.device(settings.device)
        network = FakeQuantizedNetwork(quantized).to(device)
        folded = fold_batch_norm(reference)
        module = build(folded).to(device).requires_grad_(False)
        batch = read_pixels(held_out, reference.info.preprocess, settings.threads)
        return cls(
            network,
            reference,
            losses.WithFeatures(module, folded.graph),
            losses.WithFeatures(network, network.graph),
            train,
            batch,
            _logits(lambda pixels: module(_normalised(reference, pixels).to(device)), batch.pixels),
            settings,
            digest_of(network.plan, train, held_out, settings),
        )

    def fidelity(self, quantized: QuantizedModel) -> dict[QuantizerPlacement, Fidelity]:
        """Fidelity on the held-out photos for each placement that has biases of its own."""
        placements: tuple[QuantizerPlacement, ...] = ("tflite",)
        if isinstance(quantized.plan, QuantPlan):
            placements += tuple(name for name in quantized.plan.biases if name not in placements)
        return {
            placement: self._compare(FakeQuantizedNetwork(quantized, placement))
            for placement in placements
        }

    def run(
        self,
        least: float,
        state: Path | None,
        on_epoch: Callable[[EpochMetrics], None],
        report: Any,
    ) -> Best | None:
        """Train, and return the best epoch; None if no epoch has a loss below ``least``."""
        settings = self.settings
        optimizer = self._optimizer()
        best: Best | None = None
        rows: list[EpochMetrics] = []
        saved = load(state, self.key)
        if saved is not None:
            self.network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
            best = None if saved["best"] is None else Best(**saved["best"])
            rows = [EpochMetrics(**row) for row in saved["rows"]]
        for row in rows:
            on_epoch(row)
        for epoch in range(len(rows) + 1, settings.epochs + 1):
            start = time.monotonic()
            train_loss, rate = self._epoch(epoch, optimizer, report)
            if not math.isfinite(train_loss):
                break  # diverged: the best epoch so far stands
            fidelity = self._compare(self.network)
            if fidelity.loss < (least if best is None else best.loss):
                parameters = {k: v.clone() for k, v in self.network.state_dict().items()}
                best = Best(epoch, fidelity.loss, parameters)
            seconds, side = time.monotonic() - start, self.reference.graph.input_shape[-1]
            row = EpochMetrics(
                "int8_aware",
                epoch,
                train_loss,
                fidelity.loss,
                fidelity.top1,
                rate,
                side,
                seconds,
            )
            rows.append(row)
            describe(STEP, _summary(row))
            save(state, self.key, rows, self.network, optimizer, best)
            on_epoch(row)
        return best

    def _optimizer(self) -> Any:
        settings = self.settings
        groups = (
            (self.network.weights(), settings.weight_rate),
            (self.network.biases(), settings.bias_rate),
            ([self.network.log_scales], settings.scale_rate),
        )
        return torch.optim.Adam(
            [{"params": values, "lr": rate, "first": rate} for values, rate in groups]
        )

    def _epoch(self, epoch: int, optimizer: Any, report: Any) -> tuple[float, float]:
        """Train for one epoch; returns the mean loss and the last learning rate of the weights."""
        settings = self.settings
        total = -(-len(self.train.paths) // settings.batch)
        preprocess, seed = self.reference.info.preprocess, (settings.seed, epoch)
        parts = batches(self.train, preprocess, settings.batch, seed, settings.threads)
        sums, photos = 0.0, 0
        for index, batch in enumerate(parts):
            done = (epoch - 1 + index / total) / settings.epochs
            for group in optimizer.param_groups:  # cosine decay to 0
                group["lr"] = group["first"] * 0.5 * (1 + math.cos(math.pi * done))
            value = self._loss(batch)
            sums, photos = sums + value.item() * len(batch.pixels), photos + len(batch.pixels)
            if not math.isfinite(sums):
                return sums, 0.0
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            report(STEP, (epoch - 1) * total + index + 1, settings.epochs * total)
        return sums / photos, optimizer.param_groups[0]["lr"]

    def _loss(self, batch: Batch) -> Tensor:
        device = torch.device(self.settings.device)
        with torch.no_grad():
            goal = self.teacher(_normalised(self.reference, batch.pixels).to(device))
        return losses.loss(
            self.student(_pixels(batch.pixels).to(device)),
            goal,
            None if batch.labels is None else torch.from_numpy(batch.labels).to(device),
            label_weight=self.settings.label_weight,
            softmax=self._softmax,
        )

    @property
    def _softmax(self) -> bool:
        return self.reference.info.output_activation == "softmax" and self.reference.classes > 1

    def _compare(self, network: FakeQuantizedNetwork) -> Fidelity:
        """Fidelity of a network on the held-out photos."""
        batch, reference = self.held_out, self.held_out_reference
        device = torch.device(self.settings.device)
        run = network.to(device)
        logits = _logits(lambda pixels: run(_pixels(pixels).to(device)), batch.pixels)
        values = torch.from_numpy(logits)
        photo_losses = losses.photo_losses(
            values,
            torch.from_numpy(reference),
            None,  # the float network may have learned these labels
            label_weight=0.0,
            softmax=self._softmax,
        )
        noise = float(np.square((logits - reference).astype(np.float64)).sum())
        signal = float(np.square(reference.astype(np.float64)).sum())
        same = float((logits.argmax(axis=1) == reference.argmax(axis=1)).mean())
        top1 = None
        if batch.labels is not None:
            top1 = float((logits.argmax(axis=1) == batch.labels).mean())
        return Fidelity(photo_losses.numpy(), sqnr_db(noise, signal), same, top1)


def _logits(
    run: Callable[[NDArray[np.uint8]], Tensor], pixels: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Logits [n, classes] of all ``pixels``, without gradients."""
    with torch.no_grad():
        parts = [
            run(pixels[start : start + _CHUNK]).cpu().numpy()
            for start in range(0, len(pixels), _CHUNK)
        ]
    return np.concatenate(parts)


def _pixels(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 pixels [n, height, width, 3] as a tensor [n, 3, height, width]."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))


def _normalised(model: Model, pixels: NDArray[np.uint8]) -> Tensor:
    values = model.info.preprocess.normalise(pixels).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(values))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Run PyTorch on ``count`` threads, 0 for one per core; the setting is restored afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _summary(row: EpochMetrics) -> str:
    """Training loss and validation accuracy of an epoch, for its progress bar."""
    text = f"loss {row.train_loss:.2f}"
    return text if row.val_top1 is None else f"{text}, validation {row.val_top1:.1%}"
