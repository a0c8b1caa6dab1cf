"""Accuracy and loss on the validation photos, through the preprocessing that devices use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
_MOST_CERTAIN = 20.0  # if all predictions are correct, every larger factor has a lower loss
_BISECTIONS = 40


@dataclass(frozen=True)
class Score:
    """Result on the validation photos.

    Attributes:
        top1: Top-1 accuracy, 0..1.
        loss: Mean cross-entropy in nats.
        calibrated_loss: Mean cross-entropy of the logits divided by their best temperature. The
            head and fine-tuning are regularised differently, so that the certainty of their
            probabilities differs: the losses themselves cannot be compared.
        photos: Number of the photos.
    """

    top1: float
    loss: float
    calibrated_loss: float
    photos: int = 0

    def beats(self, head: Score) -> bool:
        """Whether fine-tuning improved on the head by more than chance.

        The accuracy is higher by more than its standard error, or the calibrated loss is lower and
        the accuracy is not lower by more than its standard error. On 80 photos the accuracy is
        known to 3 points only, and the loss is the more certain measure.
        """
        error = math.sqrt(head.top1 * (1 - head.top1) / self.photos) if self.photos else 0.0
        if self.top1 > head.top1 + error:
            return True
        return self.top1 >= head.top1 - error and self.calibrated_loss < head.calibrated_loss


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
        """Accuracy and losses of ``network``, which must be in evaluation mode.

        Raises:
            ImageError: A photo cannot be read.
        """
        logits = torch.cat([network(inputs).float().cpu() for inputs in self._inputs()])
        labels = torch.from_numpy(self.labels)
        logits = logits.double()
        loss = float(functional.cross_entropy(logits, labels))
        calibrated = float(functional.cross_entropy(certainty(logits, labels) * logits, labels))
        right = int((logits.argmax(1) == labels).sum())
        return Score(right / len(labels), loss, calibrated, len(labels))

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


def certainty(logits: Tensor, labels: Tensor) -> float:
    """Inverse of the temperature with the lowest cross-entropy (Guo et al. 2017, section 4.2).

    The cross-entropy is convex in this factor; its derivative's root is found by bisection.

    Args:
        logits: float64 [photos, classes].
        labels: Class indices, int64 [photos].

    Returns:
        A factor of the logits between 0 and `_MOST_CERTAIN`.
    """
    of_label = logits[torch.arange(len(labels)), labels]
    low, high = 0.0, _MOST_CERTAIN
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        expected = (torch.softmax(middle * logits, 1) * logits).sum(1)
        if (expected - of_label).mean() > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2
