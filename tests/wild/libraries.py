"""Networks of transformers, fastai, MONAI and timm with seeded values, and their outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from support.recorded_networks import Recorded
from support.seeded_values import images, values

SIDE, CLASSES = 64, 4
NAMES = ["crow", "eagle", "gull", "owl"]
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_BATCH = torch.from_numpy(
    ((images(SIDE) / 255 - _MEAN) / _STD).astype(np.float32).transpose(0, 3, 1, 2).copy()
)


def transformers_b0(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """EfficientNetForImageClassification as its Trainer saves it."""
    from transformers import (
        EfficientNetConfig,
        EfficientNetForImageClassification,
        EfficientNetImageProcessor,
    )

    config = EfficientNetConfig(
        image_size=SIDE, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280,
        id2label=dict(enumerate(NAMES)), label2id={name: i for i, name in enumerate(NAMES)},
    )  # fmt: skip
    model = EfficientNetForImageClassification(config)
    model.save_pretrained(folder)
    EfficientNetImageProcessor(
        size={"height": SIDE, "width": SIDE}, image_mean=_MEAN, image_std=_STD, include_top=False
    ).save_pretrained(folder)
    files = {path.name: json.loads(path.read_text()) for path in folder.glob("*config.json")}
    return model, files, {}


def timm_wrapper(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """timm's network within transformers."""
    from transformers import TimmWrapperForImageClassification
    from transformers.models.timm_wrapper import TimmWrapperConfig

    record = {"mean": _MEAN, "std": _STD, "crop_pct": 1.0, "interpolation": "bicubic"}
    model = TimmWrapperForImageClassification(
        TimmWrapperConfig(
            architecture="tf_efficientnet_b0", num_labels=CLASSES, id2label=dict(enumerate(NAMES)),
            pretrained_cfg={**record, "input_size": [3, SIDE, SIDE]},
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    return model, {"config.json": json.loads((folder / "config.json").read_text())}, {}


def fastai_torchvision(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """fastai's learner on torchvision's network: concatenated pooling and two linear layers."""
    from fastai.vision.learner import create_vision_model
    from torchvision.models import efficientnet_b0

    model = create_vision_model(efficientnet_b0, n_out=CLASSES, pretrained=False)
    return model, {}, {"resolution": SIDE}


def monai_b0(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """MONAI's EfficientNetBN."""
    from monai.networks.nets import EfficientNetBN

    model = EfficientNetBN(
        "efficientnet-b0", spatial_dims=2, in_channels=3, num_classes=CLASSES, pretrained=False
    )
    return model, {}, {"resolution": SIDE, "source": "lukemelas"}


class _Beside(torch.nn.Module):
    """timm's backbone beside a head of one's own, as notebooks define it."""

    def __init__(self, head: torch.nn.Module, classes: int = 0) -> None:
        import timm

        super().__init__()
        self.backbone = timm.create_model("efficientnet_b0", num_classes=classes)
        self.head = head

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.backbone(image))


class _Cosine(torch.nn.Module):
    """ArcFace's head in inference: 30 times the cosine of features and classes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(CLASSES, 1280))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        normalize, linear = torch.nn.functional.normalize, torch.nn.functional.linear
        return 30 * linear(normalize(features), normalize(self.weight))


def _beside(head: torch.nn.Module, layers: str, classes: int = 0) -> tuple[Any, Any, Any]:
    options = {"resolution": SIDE, "source": "timm", "head": layers}
    return _Beside(head, classes), {}, options


def arcface_head(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """A cosine head, which no state dict tells from a linear one."""
    return _beside(_Cosine(), "cosine:30")


def hidden_batchnorm_head(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """BatchNorm before a hidden layer and after it."""
    nn = torch.nn
    head = nn.Sequential(
        nn.BatchNorm1d(1280), nn.Linear(1280, 16), nn.BatchNorm1d(16), nn.ReLU(),
        nn.Linear(16, CLASSES),
    )  # fmt: skip
    return _beside(head, "batchnorm,linear,batchnorm,relu,linear")


def imagenet_then_linear(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """A linear layer on ImageNet's logits."""
    return _beside(torch.nn.Linear(1000, CLASSES), "linear,linear", 1000)


def layernorm_head(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """LayerNorm, GELU and a hidden layer."""
    nn = torch.nn
    head = nn.Sequential(nn.LayerNorm(1280), nn.Linear(1280, 16), nn.GELU(), nn.Linear(16, CLASSES))
    return _beside(head, "layernorm,linear,gelu,linear")


def max_pooling(folder: Path) -> tuple[torch.nn.Module, dict[str, Any], dict[str, Any]]:
    """timm's global_pool="max" without its config.json."""
    import timm

    model = timm.create_model("efficientnet_b0", num_classes=CLASSES, global_pool="max")
    options = {"resolution": SIDE, "source": "timm", "head": "maxpool,linear"}
    return model, {}, options


MAKERS = (
    transformers_b0, timm_wrapper, fastai_torchvision, monai_b0, arcface_head,
    hidden_batchnorm_head, imagenet_then_linear, layernorm_head, max_pooling,
)  # fmt: skip


def record(maker: Any, folder: Path) -> Recorded:
    """The record of the network that ``maker`` makes."""
    model, files, options = maker(folder)
    tensors = {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if tensor.is_floating_point()
    }
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(values(name, tuple(tensor.shape))))
        outputs = model.eval()(_BATCH)
    logits = outputs if isinstance(outputs, torch.Tensor) else outputs.logits
    return Recorded(tensors, files, SIDE, logits.double().numpy().tolist(), options)
