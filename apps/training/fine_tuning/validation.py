"""Accuracy and loss on the validation photos, through the preprocessing that devices use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_effnet.apps.training.fine_tuning.devices import to_input
from edge_effnet.apps.training.fine_tuning.draws import Integers
from edge_effnet.apps.training.fine_tuning.photos import BUDGET
from edge_effnet.converters.frameworks.torch import Network
from edge_effnet.preprocess import Preprocess

import torch  # isort: skip  (after the modules that check for the extra)
from torch import Tensor, nn  # isort: skip
from torch.nn import functional  # isort: skip

_TOGETHER = 32  # photos that are evaluated together


@dataclass(frozen=True, order=True)
class Score:
    """Result on the validation photos; a larger score is better.

    Attributes:
        top1: Top-1 accuracy, 0..1.
        negative_loss: Minus the mean cross-entropy in nats, which decides between equal accuracies.
        photos: Number of the photos.
    """

    top1: float
    negative_loss: float
    photos: int = field(default=0, compare=False)

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats."""
        return -self.negative_loss

    def beats(self, head: Score) -> bool:
        """Whether fine-tuning improved on the head by more than chance.

        The accuracy is higher by more than its standard error, or it is not lower and the loss is
        lower. Few photos decide: on 80 photos of flowers5, one more correct prediction came with a
        loss of 0.41 instead of 0.16, and with 82.0 instead of 87.5 % on the test photos.
        """
        error = math.sqrt(head.top1 * (1 - head.top1) / self.photos) if self.photos else 0.0
        if self.top1 > head.top1 + error:
            return True
        return self.top1 >= head.top1 and self.loss < head.loss


class Validation:
    """The validation photos; their inputs are held in memory as far as a budget allows."""

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Integers,
        preprocess: Preprocess,
        device: torch.device,
        lower: Network | None = None,
    ) -> None:
        """Prepare the photos ``paths`` of classes ``labels``; ``lower`` is applied to them once."""
        self.paths, self.labels, self.preprocess = tuple(paths), labels, preprocess
        self.device, self.lower = device, lower
        self._held: dict[int, Tensor] = {}
        self._budget = BUDGET

    @torch.no_grad()
    def score(self, network: nn.Module) -> Score:
        """Accuracy and loss of ``network``, which must be in evaluation mode.

        Raises:
            ImageError: A photo cannot be read.
        """
        logits = torch.cat([network(inputs).float().cpu() for inputs in self._inputs()])
        labels = torch.from_numpy(self.labels)
        loss = functional.cross_entropy(logits.double(), labels)
        right = int((logits.argmax(1) == labels).sum())
        return Score(right / len(labels), -float(loss), len(labels))

    def _inputs(self) -> Iterator[Tensor]:
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for start in range(0, len(self.paths), _TOGETHER):
                if start not in self._held:
                    part = self.paths[start : start + _TOGETHER]
                    pixels = np.stack(list(pool.map(self.preprocess.pixels, part)))
                    inputs = to_input(pixels, self.preprocess, self.device)
                    if self.lower is not None:
                        inputs = self.lower(inputs)
                    if inputs.nbytes > self._budget:
                        yield inputs
                        continue
                    self._budget -= inputs.nbytes
                    self._held[start] = inputs
                yield self._held[start]
