"""torchvision's EfficientNet B0-B7 and V2-S/M/L.

Facts from torchvision 0.29 (torchvision/models/efficientnet.py). Padding is symmetric. BN epsilon
is 1e-5 for B0 to B4, and 1e-3 for B5 to B7 and V2. Input side, resize and interpolation are those
of ``*_Weights.DEFAULT``. All except V2-L use ImageNet's mean and deviation.
"""

from __future__ import annotations

from edge_effnet.checkpoints.naming import Block, rename
from edge_effnet.checkpoints.source import Checkpoint, Facts, Source
from edge_effnet.graph import Graph
from edge_effnet.preprocess import (
    HALVES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Interpolation,
    Preprocess,
)
from edge_effnet.variants import Variant

#: Variant -> (input side, resized short side, interpolation, BN epsilon).
_WEIGHTS: dict[str, tuple[int, int, Interpolation, float]] = {
    "efficientnet-b0": (224, 256, "bicubic", 1e-5),
    "efficientnet-b1": (240, 255, "bilinear", 1e-5),
    "efficientnet-b2": (288, 288, "bicubic", 1e-5),
    "efficientnet-b3": (300, 320, "bicubic", 1e-5),
    "efficientnet-b4": (380, 384, "bicubic", 1e-5),
    "efficientnet-b5": (456, 456, "bicubic", 1e-3),
    "efficientnet-b6": (528, 528, "bicubic", 1e-3),
    "efficientnet-b7": (600, 600, "bicubic", 1e-3),
    "efficientnetv2-s": (384, 384, "bilinear", 1e-3),
    "efficientnetv2-m": (480, 480, "bilinear", 1e-3),
    "efficientnetv2-l": (480, 480, "bicubic", 1e-3),
}


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> name in the checkpoint, which numbers layers by position."""
    stages = 1 + max(int(n.split(".")[1]) for n in graph.by_name if n.startswith("stages."))
    head = f"features.{stages + 1}"
    ends = {
        "stem.conv": "features.0.0",
        "stem.bn": "features.0.1",
        "head.conv": f"{head}.0",
        "head.bn": f"{head}.1",
        "classifier": "classifier.1",
    }
    return rename(graph, ends, _block)


def _block(block: Block) -> dict[str, str]:
    prefix = f"features.{block.stage + 1}.{block.place}.block"
    units = list(dict.fromkeys(layer.removesuffix("_bn").split(".")[0] for layer in block.layers))
    names = {}
    for layer in block.layers:
        unit = units.index(layer.removesuffix("_bn").split(".")[0])
        part = {"se.reduce": "fc1", "se.expand": "fc2"}.get(layer, int(layer.endswith("_bn")))
        names[layer] = f"{prefix}.{unit}.{part}"
    return names


def facts(variant: Variant, checkpoint: Checkpoint) -> Facts:
    """Facts of the variant's default weights."""
    side, resized, interpolation, eps = _WEIGHTS[variant.name]
    if variant.name == "efficientnet-b1" and "rwightman" in checkpoint.path.name:
        resized, interpolation = 256, "bicubic"  # IMAGENET1K_V1
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if variant.name == "efficientnetv2-l":
        mean = std = HALVES

    def preprocess(size: int) -> Preprocess:
        return Preprocess(size, side / resized, interpolation, mean, std)

    return Facts("symmetric", eps, preprocess, resolution=side)


SOURCE = Source(
    kind="torchvision",
    summary="torchvision's network",
    variants=frozenset(_WEIGHTS),
    names=names,
    facts=facts,
)
