"""Training batches: new augmented views each epoch, or cached features of a fixed set of views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.fine_tuning.augmentation import Augmenter, augmenter
from edge_effnet.apps.training.fine_tuning.devices import loader_processes, to_input
from edge_effnet.apps.training.fine_tuning.draws import Integers
from edge_effnet.apps.training.fine_tuning.photos import Photos
from edge_effnet.apps.training.fine_tuning.progressive import Regularisation
from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.apps.training.fine_tuning.teacher import Teacher
from edge_effnet.converters.frameworks.torch import Network
from edge_effnet.preprocess import Preprocess

import torch  # isort: skip  (after the modules that check for the extra)
from torch import Tensor  # isort: skip
from torch.utils.data import DataLoader, Dataset  # isort: skip

Steps = Sequence[tuple[Integers, Integers]]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Batch:
    """Input of one step in one process.

    Attributes:
        inputs: Images or feature maps, float32 [n, channels, height, width].
        labels: Class indices, int64 [n].
        teacher: The teacher's logits [n, classes]; None without a teacher.
    """

    inputs: Tensor
    labels: Tensor
    teacher: Tensor | None


class Views(Protocol):
    """A source of batches."""

    def batches(self, steps: Steps, regularisation: Regularisation) -> Iterator[Batch]:
        """The batch of each step, given the photos and the numbers of their views."""


@dataclass(frozen=True)
class FreshViews:
    """Views that are computed when they are needed.

    Attributes:
        photos: The training photos.
        labels: Their classes, int64 [photos].
        recipe: Its augmentation makes the views.
        preprocess: Preprocessing of the network.
        device: Device of the batches.
        seed: Seed of the views.
        lower: Frozen stages that are applied to the views; None for none.
        teacher: The teacher; None for none.
    """

    photos: Photos
    labels: Integers
    recipe: Recipe
    preprocess: Preprocess
    device: torch.device
    seed: int
    lower: Network | None = None
    teacher: Teacher | None = None

    def batches(self, steps: Steps, regularisation: Regularisation) -> Iterator[Batch]:
        """The batch of each step, given the photos and the numbers of their views."""
        views = _StepViews(
            self.photos,
            augmenter(
                self.recipe,
                self.preprocess,
                regularisation.image_size,
                regularisation.magnitude,
            ),
            steps,
            self.seed,
        )
        workers = loader_processes(self.device)
        loader: DataLoader[Pixels] = DataLoader(
            views,
            batch_size=None,
            num_workers=workers,
            generator=torch.Generator(),  # leaves the generator of dropout alone
        )
        for (photos, _), pixels in zip(steps, loader, strict=True):
            yield self._batch(photos, np.asarray(pixels))

    @torch.no_grad()
    def _batch(self, photos: Integers, pixels: Pixels) -> Batch:
        inputs = to_input(pixels, self.preprocess, self.device)
        return Batch(
            inputs if self.lower is None else self.lower(inputs),
            torch.from_numpy(self.labels[photos]).to(self.device),
            None if self.teacher is None else self.teacher(pixels),
        )


class _StepViews(Dataset[Pixels]):
    """The views of each step, uint8 [n, size, size, 3]; a loader process computes whole steps."""

    def __init__(self, photos: Photos, augment: Augmenter, steps: Steps, seed: int) -> None:
        self.photos, self.augment, self.steps, self.seed = photos, augment, steps, seed

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Pixels:
        if index >= len(self.steps):
            raise IndexError(index)
        return np.stack(
            [
                self.augment(self.photos[photo], (self.seed, photo, view))
                for photo, view in zip(*self.steps[index], strict=True)
            ]
        )
