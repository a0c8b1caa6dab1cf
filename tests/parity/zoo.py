"""The libraries' own networks with seeded random weights, and what this project makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import timm
import torch
import torchvision
from efficientnet_pytorch import EfficientNet
from numpy.typing import NDArray

from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.converters.formats import onnx
from edge_effnet.model import Model

CLASSES = 11  # no default of any library: the classifier's size is read, not assumed

torch.set_num_threads(2)


@dataclass(frozen=True)
class Case:
    """A library's network: what it is called there, and what it must be found to be here."""

    library: str
    name: str
    variant: str
    source: str
    side: int

    def __str__(self) -> str:
        return f"{self.library}-{self.name}"


def create(case: Case) -> Any:
    """The library's module in evaluation mode, with seeded weights and batch statistics.

    The statistics are those of the pictures it is going to see, and no variance is below its
    layer's mean: the signal neither dies nor explodes on its way through a hundred layers, so that
    what two float32 programs differ by stays what rounding makes it.
    """
    torch.manual_seed(len(case.name))
    if case.library == "timm":
        network = timm.create_model(case.name, pretrained=False, num_classes=CLASSES)
    elif case.library == "torchvision":
        network = getattr(torchvision.models, case.name)(weights=None, num_classes=CLASSES)
    else:
        network = EfficientNet.from_name(case.name, num_classes=CLASSES, image_size=case.side)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(0, 0.3)
            norm.momentum = 1.0
            norm.train()
        network.eval()
        for norm in norms:
            norm.train()
        network(torch.from_numpy(np.concatenate([images(case.side, seed) for seed in (1, 2, 7)])))
        network.eval()
        for norm in norms:
            norm.running_var.clamp_(min=float(norm.running_var.mean()))
        for layer in network.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.normal_(0, 0.05)
                layer.bias.normal_(0, 0.5)
    return network


def images(side: int, seed: int, count: int = 1) -> NDArray[np.float32]:
    """Normalised pictures [count, 3, side, side]: waves of random direction, and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    pictures = np.empty((count, 3, side, side), np.float32)
    for picture in pictures:
        for channel in picture:
            across, down, phase = rng.uniform(-20, 20, 3)
            channel[:] = np.sin(across * x + down * y + phase) + 0.3 * rng.normal(size=x.shape)
    return pictures


def reference(network: Any, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The library's logits [n, classes]."""
    with torch.no_grad():
        return np.asarray(network(torch.from_numpy(batch)))


def ours(case: Case, path: Path, **options: Any) -> Model:
    """The checkpoint as this project reads it, told nothing but the file."""
    return load("auto", path, resolution=case.side, notify=lambda text: None, **options)


def run(model: Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of our ONNX file on ONNX Runtime."""
    data = onnx.write(fold_batch_norm(model), None, model.info.card())
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (name,) = (tensor.name for tensor in session.get_inputs())
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in batch])


def difference(given: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, as a share of the largest logit."""
    return float(np.abs(given - expected).max() / np.abs(expected).max())
