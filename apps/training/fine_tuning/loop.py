"""The training loop: epochs, validation, early stop, resumption."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_effnet.apps.training.fine_tuning import state as states
from edge_effnet.apps.training.fine_tuning.augmentation import seeded
from edge_effnet.apps.training.fine_tuning.devices import Processes, mixed_precision
from edge_effnet.apps.training.fine_tuning.draws import Integers, draw, step_size
from edge_effnet.apps.training.fine_tuning.layers import at_size, train_mode
from edge_effnet.apps.training.fine_tuning.optimizer import (
    learning_rate,
    make_average,
    make_optimizer,
    make_scheduler,
)
from edge_effnet.apps.training.fine_tuning.progressive import Progression, Regularisation
from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from edge_effnet.apps.training.fine_tuning.teacher import distillation_loss
from edge_effnet.apps.training.fine_tuning.validation import Score, Validation
from edge_effnet.apps.training.fine_tuning.views import Batch, Views
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.converters.frameworks.torch import Network
from edge_effnet.progress import Progress, describe

import torch  # isort: skip  (after the modules that check for the extra)
from timm.data import Mixup  # isort: skip
from torch import Tensor, nn  # isort: skip
from torch.nn import functional  # isort: skip

STEP = "fine-tuning"
Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Outcome:
    """Result of the loop.

    Attributes:
        weights: The best weights; None if no epoch was better than the head.
        stopped: Why training stopped before its last epoch; empty if it did not.
    """

    weights: Weights | None
    stopped: str


@dataclass(frozen=True)
class Progressed:
    """What the loop has found out so far; a part of the state file.

    Attributes:
        head: Score of the network before fine-tuning.
        history: Metrics of the finished epochs.
        best: Score of the best epoch; None if no epoch was better than the head.
        weights: Weights of the best epoch.
        best_epoch: Number of the best epoch, from 1; 0 if no epoch was better than the head.
        waiting_since: Epoch from which `Recipe.patience` counts.
        lowest_loss: Lowest calibrated validation loss of all epochs.
    """

    head: Score
    history: tuple[EpochMetrics, ...] = ()
    best: Score | None = None
    weights: Weights | None = None
    best_epoch: int = 0
    waiting_since: int = 0
    lowest_loss: float = float("inf")

    def after(self, row: EpochMetrics, score: Score, weights: Weights) -> Progressed:
        """The progress after one more epoch.

        An epoch must beat the head (`Score.beats`). Of these epochs, the one with the lowest
        calibrated loss is best: on few photos it is more certain than the accuracy.
        """
        changed = replace(self, history=(*self.history, row))
        lowest = float("inf") if self.best is None else self.best.calibrated_loss
        if score.beats(self.head) and score.calibrated_loss < lowest:
            changed = replace(changed, best=score, weights=_copy(weights), best_epoch=row.epoch)
            changed = replace(changed, waiting_since=row.epoch)
        if score.calibrated_loss < self.lowest_loss:
            lowest = score.calibrated_loss
            changed = replace(changed, lowest_loss=lowest, waiting_since=row.epoch)
        return changed


class Diverged(Exception):
    """The loss is not a finite number."""


class Loop:
    """Fine-tuning of one network in one process."""

    def __init__(
        self,
        network: Network,
        settings: FineTuneSettings,
        recipe: Recipe,
        progression: Progression,
        labels: Integers,
        team: Processes,
    ) -> None:
        """Prepare the optimizer, the schedule and the average of ``network``."""
        self.network, self.settings, self.team = network, settings, team
        self.recipe, self.epochs = recipe, settings.total_epochs
        self.progression, self.labels = progression, labels
        self.size = step_size(len(labels), self.recipe, team.count)
        self.steps = len(labels) // self.size
        self.optimizer = make_optimizer(network, self.recipe)
        self.scheduler = make_scheduler(self.optimizer, self.recipe, self.steps, self.epochs)
        self.average = make_average(network, self.recipe)
        self.device = next(network.parameters()).device
        self.precision = mixed_precision(self.device)
        scaled = self.precision is torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self.module: nn.Module = network
        if team.count > 1:
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.module = nn.parallel.DistributedDataParallel(network, device_ids=ids)
        self.graph = network.graph

    def run(
        self,
        views: Views,
        validation: Validation,
        *,
        head: nn.Module,
        state: Path,
        identity: Mapping[str, str],
        on_epoch: Callable[[EpochMetrics], None],
        progress: Progress,
    ) -> Outcome:
        """Train until the last epoch, or until validation stops improving, or the loss diverges.

        Args:
            views: Training batches.
            validation: Validation photos.
            head: The trained layers of the network that the epochs are compared with.
            state: The file to resume from; written after each epoch.
            identity: Identity of the training, for the file.
            on_epoch: Called after each epoch; when resuming, first for all earlier epochs.
            progress: Called after each step.
        """
        saved = states.load(state, identity) if self.team.first else None
        saved = self.team.object_from_first(saved)
        if saved is None:
            progressed = Progressed(self._score(head, validation))
        else:
            progressed = self._restored(saved)
        for row in progressed.history:
            on_epoch(row)
        stopped = self._end(progressed)
        while not stopped and len(progressed.history) < self.epochs:
            epoch, start = len(progressed.history), time.monotonic()
            regularisation = self.progression.epoch(epoch, self.epochs)
            try:
                loss = self._epoch(epoch, regularisation, views, progress)
                score = self._score(self.average.module, validation)
            except Diverged:
                stopped = f"the loss of epoch {epoch + 1} is not a finite number"
                break
            row = self._row(epoch, loss, score, regularisation, start)
            progressed = progressed.after(row, score, self.average.module.state_dict())
            if self.team.first:
                states.save(state, self._saved(progressed, identity))
            on_epoch(row)
            describe(STEP, f"loss {loss:.2f}, validation {score.top1:.1%}")
            stopped = self._end(progressed)
        return Outcome(progressed.weights, stopped)

    def retrain(
        self,
        views: Views,
        *,
        state: Path,
        identity: Mapping[str, str],
        progress: Progress,
    ) -> Weights:
        """Train all epochs without validation.

        Args:
            views: Training batches.
            state: The file to resume from; written after each epoch.
            identity: Identity of the training, for the file.
            progress: Called after each step.

        Returns:
            The average of the weights after the last epoch.

        Raises:
            Diverged: The loss is not a finite number.
        """
        saved = states.load(state, identity) if self.team.first else None
        saved = self.team.object_from_first(saved)
        progressed = Progressed(Score(0.0, 0.0, 0.0)) if saved is None else self._restored(saved)
        while len(progressed.history) < self.epochs:
            epoch, start = len(progressed.history), time.monotonic()
            regularisation = self.progression.epoch(epoch, self.epochs)
            loss = self._epoch(epoch, regularisation, views, progress)
            row = self._row(epoch, loss, None, regularisation, start)
            progressed = replace(progressed, history=(*progressed.history, row))
            if self.team.first:
                states.save(state, self._saved(progressed, identity))
        return _copy(self.average.module.state_dict())

    def _row(
        self,
        epoch: int,
        loss: float,
        score: Score | None,
        regularisation: Regularisation,
        start: float,
    ) -> EpochMetrics:
        """Metrics of ``epoch``, from 0, which began at ``start`` on the monotonic clock."""
        return EpochMetrics(
            stage="fine_tuning",
            epoch=epoch + 1,
            train_loss=loss,
            val_loss=None if score is None else score.loss,
            val_top1=None if score is None else score.top1,
            learning_rate=learning_rate(self.optimizer),
            image_size=regularisation.image_size,
            seconds=time.monotonic() - start,
        )

    def _end(self, progressed: Progressed) -> str:
        """Why training stops before its last epoch; empty if it goes on."""
        patience, epochs = self.recipe.patience, len(progressed.history)
        if patience is None or epochs - progressed.waiting_since < patience:
            return ""
        if epochs >= self.epochs:
            return ""
        return f"the validation photos gave no better result in {patience} epochs"

    def _score(self, network: nn.Module, validation: Validation) -> Score:
        """Score of ``network``, computed by process 0. Raises `Diverged`."""
        values = torch.zeros(3, dtype=torch.float64)
        if self.team.first:
            score = validation.score(network.eval())
            values = torch.tensor(
                [score.top1, score.loss, score.calibrated_loss], dtype=torch.float64
            )
        values = self.team.from_first(values.to(self.device)).cpu()
        if not torch.isfinite(values).all():
            raise Diverged
        top1, loss, calibrated_loss = values.tolist()
        return Score(top1, loss, calibrated_loss, len(validation.labels))

    def _epoch(
        self, epoch: int, regularisation: Regularisation, views: Views, progress: Progress
    ) -> float:
        """Train one epoch; returns its mean loss. Raises `Diverged`."""
        steps = draw(
            self.labels,
            seed=self.settings.seed,
            epoch=epoch,
            size=self.size,
            views=self.recipe.views if self.recipe.frozen_stages else 0,
            balanced=self.settings.balanced,
        )
        rank, count = self.team.rank, self.team.count
        shares = [(photos[rank::count], numbers[rank::count]) for photos, numbers in steps]
        self.network.dropout = regularisation.dropout
        if self.recipe.progressive:
            self.network.resize(at_size(self.graph, regularisation.image_size))
        train_mode(self.network, batch_statistics=self.recipe.batch_statistics)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        with _randomness((self.settings.seed, epoch, rank)):
            mixup = self._mixup(regularisation)
            for index, batch in enumerate(views.batches(shares, regularisation)):
                number = epoch * self.steps + index
                self.scheduler.step_update(number)
                loss = self.team.mean(self._step(batch, mixup))
                if not torch.isfinite(loss):
                    raise Diverged
                total += loss
                self.average.update(self.network, step=number + 2)
                progress(STEP, number + 1, self.steps * self.epochs)
        self.network.resize(self.graph)
        return float(total / self.steps)

    def _step(self, batch: Batch, mixup: Mixup) -> Tensor:
        """One optimizer step; returns the loss."""
        device = self.device.type
        inputs, targets = mixup(batch.inputs, batch.labels)
        with torch.autocast(device, self.precision, enabled=self.precision is not None):
            logits = self.module(inputs)
        loss = functional.cross_entropy(logits.float(), targets.float())
        if batch.teacher is not None:
            share = self.recipe.distillation
            loss = (1 - share) * loss + share * distillation_loss(logits.float(), batch.teacher)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        if self.recipe.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _mixup(self, regularisation: Regularisation) -> Mixup:
        """Mixup, CutMix and label smoothing of one epoch."""
        mixup, cutmix = regularisation.mixup, self.recipe.cutmix
        return Mixup(
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            prob=1.0 if mixup or cutmix else 0.0,
            label_smoothing=self.recipe.label_smoothing,
            num_classes=self.graph.shapes[self.graph.output][0],
        )

    def _saved(self, progressed: Progressed, identity: Mapping[str, str]) -> states.State:
        """The state after an epoch, of types that torch loads safely."""
        best = progressed.best
        return {
            "identity": dict(identity),
            "epochs": self.epochs,
            "network": self.network.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "head": asdict(progressed.head),
            "history": [asdict(row) for row in progressed.history],
            "best": None if best is None else asdict(best),
            "weights": progressed.weights,
            "best_epoch": progressed.best_epoch,
            "waiting_since": progressed.waiting_since,
            "lowest_loss": progressed.lowest_loss,
        }

    def _restored(self, saved: Mapping[str, Any]) -> Progressed:
        """Restore the state that `_saved` returned."""
        self.network.load_state_dict(saved["network"])
        self.average.module.load_state_dict(saved["average"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        history = tuple(EpochMetrics(**row) for row in saved["history"])
        extended = saved["epochs"] < self.epochs  # patience counts anew
        return Progressed(
            head=Score(**saved["head"]),
            history=history,
            best=None if saved["best"] is None else Score(**saved["best"]),
            weights=saved["weights"],
            best_epoch=saved["best_epoch"],
            waiting_since=len(history) if extended else saved["waiting_since"],
            lowest_loss=saved["lowest_loss"],
        )


@contextmanager
def _randomness(seed: Sequence[int]) -> Iterator[None]:
    """Seed all generators of this process, and restore them at the end."""
    number = int(np.random.SeedSequence(seed).generate_state(1)[0])
    with torch.random.fork_rng(), seeded(seed):
        torch.manual_seed(number)
        yield


def _copy(weights: Mapping[str, Tensor]) -> Weights:
    return {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
