"""lukemelas/EfficientNet-PyTorch B0-B8 and L2, trained normally or with AdvProp.

Padding is TensorFlow's SAME, BN epsilon 1e-3 (efficientnet_pytorch/utils.py). The short side is
resized to the input side, bicubic, without margin. Inputs have ImageNet's mean and deviation, or
are 2x - 1 for weights trained with AdvProp (examples/imagenet/main.py). Blocks are numbered through
all stages. The batch normalisations of a block are _bn0 (expand), _bn1 (depthwise) and _bn2
(project).
"""

from __future__ import annotations

import re

from edge_effnet.checkpoints.advprop import Told, judges, told_by_range
from edge_effnet.checkpoints.input_range import range_in
from edge_effnet.checkpoints.naming import Block, rename
from edge_effnet.checkpoints.source import SURE, Checkpoint, Evidence, Facts, Source
from edge_effnet.graph import Graph
from edge_effnet.preprocess import HALVES, IMAGENET_MEAN, IMAGENET_STD, Preprocess
from edge_effnet.variants import BN_EPS_TENSORFLOW

_ENDS = {
    "stem.conv": "_conv_stem",
    "stem.bn": "_bn0",
    "head.conv": "_conv_head",
    "head.bn": "_bn1",
    "classifier": "_fc",
}
_BLOCK = {
    "expand": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project": "_project_conv",
    "project_bn": "_bn2",
    "se.reduce": "_se_reduce",
    "se.expand": "_se_expand",
}
_RELEASED = re.compile(r"efficientnet-b\d-[0-9a-f]{8}\.pth")
_VARIANTS = frozenset([*(f"efficientnet-b{number}" for number in range(9)), "efficientnet-l2"])


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> the checkpoint's name, for every parameter of ``graph``."""
    return rename(graph, _ENDS, _block)


def _block(block: Block) -> dict[str, str]:
    # The library has no fused blocks: a name that no file has prevents a match.
    return {layer: f"_blocks.{block.index}.{_BLOCK.get(layer, layer)}" for layer in block.layers}


def _usual(size: int) -> Preprocess:
    return Preprocess(size, 1.0, "bicubic", IMAGENET_MEAN, IMAGENET_STD)


def _advprop(size: int) -> Preprocess:
    return Preprocess(size, 1.0, "bicubic", HALVES, HALVES)


def _tell(checkpoint: Checkpoint) -> Told:
    """Whether the network was trained with AdvProp, and the evidence."""
    name = checkpoint.path.name.lower()
    if "adv-" in name or "advprop" in name:
        return True, Evidence(SURE, f"its file is called {name}")
    if _RELEASED.match(name):
        return False, Evidence(SURE, f"its file is called {name}")
    trained = range_in(checkpoint.tensors, _ENDS["stem.conv"], _ENDS["stem.bn"])
    return told_by_range(trained, "its name does not mention AdvProp")


_usual_evidence, _advprop_evidence = judges(_tell)


SOURCE = Source(
    kind="lukemelas",
    summary="lukemelas/EfficientNet-PyTorch",
    variants=_VARIANTS,
    names=names,
    facts=lambda variant, checkpoint: Facts("same", BN_EPS_TENSORFLOW, _usual),
    evidence=_usual_evidence,
)
ADVPROP = Source(
    kind="lukemelas-advprop",
    summary="lukemelas/EfficientNet-PyTorch trained with AdvProp",
    variants=_VARIANTS,
    names=names,
    facts=lambda variant, checkpoint: Facts("same", BN_EPS_TENSORFLOW, _advprop),
    evidence=_advprop_evidence,
)
