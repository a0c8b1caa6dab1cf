"""Heads of one's own on timm's and torchvision's networks: state dicts, and modules saved whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

from edge_effnet.checkpoints import load
from edge_effnet.errors import CheckpointError
from parity import zoo

SIDE, F = 96, 1280
TOLERANCE = 1e-4


class Net(nn.Module):
    """A backbone, a neck and a head."""

    def __init__(self, neck: nn.Module, head: nn.Module, classes: int = 0) -> None:
        super().__init__()
        self.backbone = timm.create_model("efficientnet_b0", num_classes=classes)
        self.neck, self.head = neck, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.neck(self.backbone(x)))


class LeftIn(Net):
    """Features are taken before the library's classifier, which stays in the file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features = self.backbone.forward_features(x)
        return self.head(self.neck(self.backbone.forward_head(features, pre_logits=True)))


class Cosine(nn.Module):
    """ArcFace at inference."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, F) * 0.05)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        normalize = nn.functional.normalize
        return 30 * nn.functional.linear(normalize(x), normalize(self.weight))


def stack(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(F, 32), *between, nn.Linear(32, 4))


def torchvision_with(head: nn.Module) -> nn.Module:
    network = torchvision.models.efficientnet_b0()
    network.classifier = head
    return network


#: Name -> the module, and the head in words where a state dict does not tell it.
STATE_DICTS: dict[str, tuple[Any, str | None]] = {
    "linear": (lambda: Net(nn.Identity(), nn.Linear(F, 4)), None),
    "batchnorm neck": (lambda: Net(nn.BatchNorm1d(F), nn.Linear(F, 4)), None),
    "layernorm neck": (lambda: Net(nn.LayerNorm(F), nn.Linear(F, 4)), None),
    "left in": (lambda: LeftIn(nn.Identity(), nn.Linear(F, 4), 1000), None),
    "on 1000 outputs": (lambda: Net(nn.Identity(), nn.Linear(1000, 4), 1000), "linear, linear"),
    "cosine": (lambda: Net(nn.Identity(), Cosine()), "cosine:30"),
    "concatenated": (
        lambda: timm.create_model("efficientnet_b0", num_classes=4, global_pool="catavgmax"),
        None,
    ),
    "maximum": (
        lambda: timm.create_model("efficientnet_b0", num_classes=4, global_pool="max"),
        "maxpool, linear",
    ),
    "sequential": (
        lambda: nn.Sequential(timm.create_model("efficientnet_b0", num_classes=0), nn.Linear(F, 4)),
        None,
    ),
    "batchnorm stack": (
        lambda: Net(nn.BatchNorm1d(F), stack(nn.BatchNorm1d(32), nn.SiLU(), nn.Dropout())),
        "batchnorm, linear, batchnorm, silu, linear",
    ),
}
FUNCTIONS = (nn.ReLU(), nn.ReLU6(), nn.GELU(), nn.Tanh(), nn.Hardswish(), nn.LeakyReLU())
WHOLE: dict[str, Any] = {
    "LayerNorm": lambda: torchvision_with(stack(nn.LayerNorm(32, eps=0.1), nn.SiLU())),
    "tf_": lambda: timm.create_model("tf_efficientnet_b0", num_classes=4),
    **{
        type(function).__name__: lambda function=function: torchvision_with(stack(function))
        for function in FUNCTIONS
    },
}


def seeded(make: Any) -> tuple[nn.Module, np.ndarray, np.ndarray]:
    """The module with seeded weights and the statistics of some pictures, pictures, and outputs."""
    torch.manual_seed(0)
    network = make()
    batch = np.concatenate([zoo.images(SIDE, seed) for seed in (1, 2, 3, 4)])
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0, 0.1)
        if isinstance(module, (nn.BatchNorm1d, nn.LayerNorm)):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(batch))
    network.eval()
    for module in network.modules():  # no variance so small that rounding is enlarged
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.clamp_(min=float(module.running_var.mean()))
    return network, batch[:1], zoo.reference(network, batch[:1])


@pytest.mark.parametrize("name", STATE_DICTS)
def test_a_state_dict_gives_the_modules_outputs(name: str, tmp_path: Path) -> None:
    make, head = STATE_DICTS[name]
    network, batch, expected = seeded(make)
    path = tmp_path / "net.pth"
    torch.save({"arch": "efficientnet_b0", "state_dict": network.state_dict()}, path)
    if head is not None and name != "maximum":  # a state dict is the same for all simple poolings
        with pytest.raises(CheckpointError, match="head='"):
            load("auto", path)
    model = load("auto", path, resolution=SIDE, head=head, notify=lambda text: None)
    assert zoo.difference(zoo.run(model, batch), expected) < TOLERANCE


@pytest.mark.parametrize("name", WHOLE)
def test_a_module_saved_whole_gives_its_outputs(name: str, tmp_path: Path) -> None:
    network, batch, expected = seeded(WHOLE[name])
    path = tmp_path / "whole.pt"
    torch.save(network, path)
    model = load("auto", path, resolution=SIDE, notify=lambda text: None)
    assert zoo.difference(zoo.run(model, batch), expected) < TOLERANCE
