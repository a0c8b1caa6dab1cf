"""Accuracy of candidates from short trainings on the user's photos, resumable and in parallel."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.apps.training.torch_files import let_waiting_threads_sleep
from edge_effnet.benchmarks.sweep.executors import Executor
from edge_effnet.benchmarks.sweep.journal import Journal
from edge_effnet.progress import ignore_progress
from edge_effnet.registry import get_variant, original_of
from edge_effnet.variants import Variant

JOURNAL_NAME = "search.jsonl"


@dataclass(frozen=True)
class ShortTraining:
    """Training of one candidate: head, then ``epochs`` of fine-tuning.

    Attributes:
        variant: Name of the candidate.
        weights: Checkpoint of the original variant, from which the candidate inherits.
        data: The photos.
        epochs: Number of fine-tuning epochs; 0 trains the head only.
        seed: Seed of everything random.
        device: Device as torch names it.
        threads: Compute threads.
    """

    variant: str
    weights: str
    data: TrainingData
    epochs: int
    seed: int
    device: str
    threads: int

    def do(self) -> dict[str, Any]:
        """Best top-1 on the validation photos, a fraction, and that of the head alone."""
        let_waiting_threads_sleep()
        from edge_effnet.apps.training.derived import derive
        from edge_effnet.apps.training.fine_tuning.fine_tune import fine_tune
        from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
        from edge_effnet.apps.training.head.train_head import train_head
        from edge_effnet.checkpoints import load

        variant = get_variant(self.variant)
        original = load(original_of(variant)[0], self.weights, notify=lambda text: None)
        photos = [sample.path for sample in self.data.of("train")]
        rows: list[EpochMetrics] = []
        with tempfile.TemporaryDirectory() as folder:
            head = train_head(
                derive(original, variant, photos),
                self.data,
                cache=Path(folder),
                threads=self.threads,
                on_epoch=rows.append,
                progress=ignore_progress,
            )
            of_head = _best(rows)
            if self.epochs:
                fine_tune(
                    head.model,
                    self.data,
                    FineTuneSettings(
                        epochs=self.epochs,
                        seed=self.seed,
                        device=self.device,
                        threads=self.threads,
                    ),
                    state=Path(folder) / "state.pt",
                    start=head.start,
                    on_epoch=rows.append,
                )
        return {"top1": _best(rows), "head_top1": of_head}


def _best(rows: list[EpochMetrics]) -> float:
    """The highest top-1 on the validation photos."""
    return max(row.val_top1 for row in rows if row.val_top1 is not None)


@dataclass(frozen=True)
class ShortTrainings:
    """`AccuracyEstimate` from short trainings; finished ones are read from the journal.

    Attributes:
        template: The training of any candidate; its ``variant`` is replaced.
        executor: Runs the trainings.
        journal: Results of finished trainings, by name of the variant and `identity`.
        identity: Digest of everything else that the results depend on.
        progress: Called with ("train", done, total) after each training of a round.
        failed: Called with the name of each candidate whose training failed, and the error.
    """

    template: ShortTraining
    executor: Executor
    journal: Journal
    identity: str
    progress: Callable[[str, int, int], None]
    failed: Callable[[str, str], None]

    def __call__(self, variants: Mapping[str, Variant]) -> dict[str, float]:
        """Top-1 on the validation photos by name; failed trainings are missing."""
        tasks = {
            name: ShortTraining(
                variant=name,
                weights=self.template.weights,
                data=self.template.data,
                epochs=self.template.epochs,
                seed=self.template.seed,
                device=self.template.device,
                threads=self.executor.threads,
            )
            for name in variants
            if self._key(name) not in self.journal.done
        }
        if tasks:
            with closing(self.executor.run(tasks)) as finished:
                for count, (name, result) in enumerate(finished, 1):
                    if "failed" in result:
                        self.failed(name, result["failed"])
                    else:
                        self.journal.append(self._key(name), result)
                    self.progress("train candidates", count, len(tasks))
        results = {name: self.journal.done.get(self._key(name)) for name in variants}
        return {name: float(each["top1"]) for name, each in results.items() if each is not None}

    def _key(self, name: str) -> str:
        return f"{name} {self.identity}"


def identity(training: ShortTraining, weights_sha256: str) -> str:
    """Digest of the weights, photos, epochs and seed; trainings with other ones are repeated."""
    settings = f"{weights_sha256} {training.data.folder} {training.epochs} {training.seed}\n"
    digest = hashlib.sha256(settings.encode("utf-8", "surrogatepass"))  # a folder of any encoding
    for sample in training.data.samples:
        digest.update(f"{sample.name}\0{sample.label}\0{sample.split}\n".encode())
    return digest.hexdigest()[:16]
