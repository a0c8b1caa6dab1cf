"""Live modules of timm, torchvision and efficientnet_pytorch, alone and inside a user's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from efficientnet_pytorch import EfficientNet

import edge_effnet
from parity.zoo import CLASSES, difference, images, reference, run


class Wrapped(torch.nn.Module):
    """A backbone with a head of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("efficientnet_b0", num_classes=0)
        self.fc = torch.nn.Linear(self.backbone.num_features, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(image))


@pytest.mark.parametrize(
    ("create", "variant", "source", "mean"),
    [
        (lambda: timm.create_model("efficientnet_b0", num_classes=CLASSES), "b0", "timm", 123.675),
        (
            lambda: timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES),
            "lite0",
            "timm-tf",
            127.5,
        ),
        (
            lambda: timm.create_model("tf_efficientnetv2_b0", bn_eps=1e-4, num_classes=CLASSES),
            "v2-b0",
            "timm-tf",
            123.675,
        ),
        (
            lambda: torchvision.models.efficientnet_b0(num_classes=CLASSES),
            "b0",
            "torchvision",
            123.675,
        ),
        (
            lambda: EfficientNet.from_name("efficientnet-b1", num_classes=CLASSES),
            "b1",
            "lukemelas",
            123.675,
        ),
        (Wrapped, "b0", "timm", 123.675),
    ],
)
def test_logits_are_the_modules(create: Any, variant: str, source: str, mean: float) -> None:
    torch.manual_seed(0)
    network = create()
    model = edge_effnet.load("auto", weights=network, notify=lambda text: None)
    assert (model.variant.short_name, model.classes) == (variant, CLASSES)
    assert model.info.source is not None
    assert model.info.source.kind == source
    assert model.info.preprocess.mean[0] == pytest.approx(mean)
    assert all(module.training for module in network.modules())
    batch = images(model.graph.input_shape[1], 1)
    assert difference(run(model, batch), reference(network.eval(), batch)) < 1e-4


@pytest.mark.parametrize("name", ["efficientnet_b0", "tf_efficientnet_b0"])
def test_a_grey_network_takes_rgb(name: str) -> None:
    network = timm.create_model(name, in_chans=1, num_classes=CLASSES)
    model = edge_effnet.load("auto", weights=network, mean=128, std=64, notify=lambda text: None)
    grey = images(model.graph.input_shape[1], 1)[:, :1]
    expected = reference(network.eval(), grey)
    assert difference(run(model, np.repeat(grey, 3, axis=1)), expected) < 1e-4


def test_a_modules_record_gives_the_class_names() -> None:
    names = [f"flower {index}" for index in range(CLASSES)]
    network = timm.create_model(
        "efficientnet_b0", num_classes=CLASSES, pretrained_cfg={"label_names": names}
    )
    assert edge_effnet.load("auto", weights=network).info.labels == tuple(names)


def test_a_network_of_another_kind_is_refused() -> None:
    network = timm.create_model("efficientnet_b0", num_classes=CLASSES, act_layer="relu")
    assert np.isfinite(reference(network.eval(), images(64, 1))).all()
    with pytest.raises(edge_effnet.CheckpointError, match="differ by"):
        edge_effnet.load("auto", weights=network)
