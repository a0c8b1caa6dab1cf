"""Hugging Face transformers' EfficientNetForImageClassification, B0-B7.

Facts from transformers/models/efficientnet (5.x). Padding does not depend on the input side. The
stem is padded at the bottom and right. Strided depthwise convolutions have one pixel less at the
top and left, unless ``depthwise_padding`` lists the block. config.json has the BN epsilon, class
names and input side. preprocessor_config.json has normalisation and resampling. Its resize does not
keep the aspect ratio; with ``include_top`` it divides by the deviation twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_effnet import json_text, reading
from edge_effnet.checkpoints.naming import Block, blocks_of, rename
from edge_effnet.checkpoints.source import Checkpoint, Facts, Source
from edge_effnet.errors import CheckpointError
from edge_effnet.graph import Conv, Graph, Node
from edge_effnet.preprocess import IMAGENET_MEAN, Interpolation, Preprocess
from edge_effnet.variants import BN_EPS_TENSORFLOW, Variant

_ROOT = "efficientnet"
_ENDS = {
    "stem.conv": f"{_ROOT}.embeddings.convolution",
    "stem.bn": f"{_ROOT}.embeddings.batchnorm",
    "head.conv": f"{_ROOT}.encoder.top_conv",
    "head.bn": f"{_ROOT}.encoder.top_bn",
    "classifier": "classifier",
}
_BLOCK = {
    "expand": "expansion.expand_conv",
    "expand_bn": "expansion.expand_bn",
    "depthwise": "depthwise_conv.depthwise_conv",
    "depthwise_bn": "depthwise_conv.depthwise_norm",
    "se.reduce": "squeeze_excite.reduce",
    "se.expand": "squeeze_excite.expand",
    "project": "projection.project_conv",
    "project_bn": "projection.project_bn",
}
_CONFIG_BYTES = 1 << 20
#: Pillow's number of a resize filter -> name in `Preprocess`.
_FILTERS: dict[int, Interpolation] = {0: "nearest", 2: "bilinear", 3: "bicubic"}
_STD = (0.47853944, 0.4732864, 0.47434163)  # normalisation of the released weights
_POOLINGS = {"mean": "avg", "max": "max"}


def names(graph: Graph) -> dict[str, str]:
    """Canonical parameter -> name in the checkpoint, for every parameter of ``graph``."""
    return rename(graph, _ENDS, _block)


def _block(block: Block) -> dict[str, str]:
    # The library has no fused blocks: a name that no file has prevents a match.
    prefix = f"{_ROOT}.encoder.blocks.{block.index}"
    return {layer: f"{prefix}.{_BLOCK.get(layer, layer)}" for layer in block.layers}


def facts(variant: Variant, checkpoint: Checkpoint) -> Facts:
    """Facts from the two configs beside the weights; without them, of the released weights."""
    config = _read(checkpoint.path.with_name("config.json"))
    processor = _read(checkpoint.path.with_name("preprocessor_config.json"))
    activation = config.get("hidden_act", "swish")
    if activation not in ("swish", "silu"):
        raise CheckpointError(
            f"{checkpoint.path}: its config.json has the activation {activation!r}, and "
            f"{variant.name} has swish"
        )
    eps, side = config.get("batch_norm_eps"), config.get("image_size")
    listed = config.get("depthwise_padding")
    even = frozenset(listed if isinstance(listed, list) else ())
    note = None
    if not config or not processor:
        note = (
            f"config.json or preprocessor_config.json is not beside {checkpoint.path.name}: the "
            "padding or normalisation of the released weights is assumed; put both files there"
        )
    return Facts(
        padding="same",
        bn_eps=float(eps) if isinstance(eps, float) else BN_EPS_TENSORFLOW,
        preprocess=lambda size: _preprocess(processor, size),
        resolution=side if isinstance(side, int) else None,
        labels=_labels(config.get("id2label")),
        note=note,
        pooling=_POOLINGS.get(config.get("pooling_type", "mean"), str(config.get("pooling_type"))),
        repad=(lambda graph: _repadded(graph, even)) if config else None,
    )


def _repadded(graph: Graph, even: frozenset[Any]) -> Graph:
    """``graph`` with transformers' padding; blocks ``even`` are padded equally on all sides."""
    blocks = blocks_of(graph)
    nodes: list[Node] = []
    for node in graph:
        if node.name == "stem.conv" and isinstance(node, Conv):
            node = replace(node, pads=(0, 0, 1, 1))
        elif isinstance(node, Conv) and node.depthwise and node.name.startswith("stages."):
            half = node.kernel // 2
            block = blocks[node.name.rpartition(".")[0]].index
            first = half - (node.stride == 2 and block not in even)
            node = replace(node, pads=(first, first, half, half))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _preprocess(processor: Mapping[str, Any], size: int) -> Preprocess:
    scale = processor.get("rescale_factor", 1 / 255)
    offset = 1.0 if processor.get("rescale_offset") else 0.0
    mean = processor.get("image_mean", [value / 255 for value in IMAGENET_MEAN])
    std = processor.get("image_std", list(_STD))
    try:
        factor = [float(value) / float(scale) for value in std]
        if processor.get("include_top", True):
            factor = [value * float(s) for value, s in zip(factor, std, strict=True)]
        r, g, b = ((float(value) + offset) / float(scale) for value in mean)
        r_std, g_std, b_std = factor
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"the normalisation in preprocessor_config.json cannot be read ({error})",
            hint="give mean= and std=",
        ) from error
    if not processor.get("do_normalize", True):
        r = g = b = offset / float(scale)
        r_std = g_std = b_std = 1 / float(scale)
    interpolation = _FILTERS.get(processor.get("resample", 3), "bicubic")
    return Preprocess(
        size, 1.0, interpolation, (r, g, b), (r_std, g_std, b_std), crop_mode="squash"
    )


def _labels(id2label: object) -> tuple[str, ...] | None:
    if not isinstance(id2label, dict):
        return None
    names = [id2label.get(str(index)) for index in range(len(id2label))]
    return tuple(map(str, names)) if all(isinstance(label, str) for label in names) else None


def _read(path: Path) -> dict[str, Any]:
    """The JSON object in a config file beside the weights; empty without a usable file."""
    try:
        if path.stat().st_size > _CONFIG_BYTES:
            return {}
        content = json_text.parse(reading.read_bytes(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


SOURCE = Source(
    kind="transformers",
    summary="transformers' EfficientNetForImageClassification",
    variants=frozenset(f"efficientnet-b{number}" for number in range(8)),
    names=names,
    facts=facts,
)
