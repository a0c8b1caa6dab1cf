"""Distillation: a larger network whose predictions the trained network learns beside the labels."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edge_effnet.apps.training.fine_tuning.devices import to_input
from edge_effnet.apps.training.run import Run, is_run
from edge_effnet.benchmarks.accuracy.class_names import listed
from edge_effnet.converters.frameworks.torch import build
from edge_effnet.errors import UsageError
from edge_effnet.model import Model

import torch  # isort: skip  (after the modules that check for the extra)
from torch import Tensor  # isort: skip
from torch.nn import functional  # isort: skip

#: Temperature of both softmaxes (Hinton et al. 2015, arXiv 1503.02531, section 2).
TEMPERATURE = 2.0


class Teacher:
    """Logits of a larger network for views of photos, in the order of the student's classes."""

    def __init__(self, model: Model, class_names: tuple[str, ...], device: torch.device) -> None:
        """Prepare ``model`` as teacher; raises `UsageError` if its classes are other ones."""
        labels = model.info.labels
        if sorted(labels) != sorted(class_names) or model.classes != len(class_names):
            missing = [name for name in class_names if name not in labels]
            raise UsageError(
                f"the teacher {model.info.variant} has other classes than the photos: it has "
                f"{listed(labels)}" + (f", and lacks {listed(missing)}" if missing else ""),
                hint="train it on these photos first, then give its checkpoint with teacher=",
            )
        self.order = torch.tensor([labels.index(name) for name in class_names], device=device)
        # A view is already a crop, so the teacher reads all of it.
        self.preprocess = replace(model.info.preprocess, crop=1.0, crop_mode="center")
        self.device = device
        self.network = build(model).to(device)

    @torch.no_grad()
    def __call__(self, views: NDArray[np.uint8]) -> Tensor:
        """Logits [n, classes] for views of photos, uint8 RGB [n, size, size, 3]."""
        pixels = np.stack([self.preprocess.exact_pixels(view) for view in views])
        logits: Tensor = self.network(to_input(pixels, self.preprocess, self.device))
        return logits[:, self.order]


def load_teacher(
    path: str | os.PathLike[str], class_names: tuple[str, ...] | None, device: torch.device
) -> Teacher:
    """The teacher in the checkpoint or run ``path``; without ``class_names``, for its own classes.

    Raises:
        UsageError: Its classes are not ``class_names``.
        CheckpointError: It cannot be read.
    """
    from edge_effnet.checkpoints import load

    model = Run.open(path).model() if is_run(path) else load(weights=path)
    return Teacher(model, model.info.labels if class_names is None else class_names, device)


def distillation_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence from the teacher's probabilities at `TEMPERATURE`, times its square."""
    student_log = functional.log_softmax(logits / TEMPERATURE, 1)
    teacher_log = functional.log_softmax(teacher / TEMPERATURE, 1)
    divergence = functional.kl_div(student_log, teacher_log, reduction="batchmean", log_target=True)
    return divergence * TEMPERATURE**2
