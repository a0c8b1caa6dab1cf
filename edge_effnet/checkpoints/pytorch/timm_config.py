"""Facts from timm's config.json, which the hub and ``save_for_hf`` store beside the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeGuard

from edge_effnet import json_text, reading
from edge_effnet.checkpoints.source import Checkpoint, Facts, Question
from edge_effnet.errors import CheckpointError
from edge_effnet.preprocess import (
    CROP_MODES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    INTERPOLATIONS,
    CropMode,
    Interpolation,
    Preprocess,
)
from edge_effnet.variants import Variant

_CONFIG_BYTES = 1 << 20
#: Arguments of create_model that need no handling: tensors or other fields determine them.
_HARMLESS = frozenset(
    ["num_classes", "in_chans", "global_pool", "drop_rate", "drop_path_rate", "bn_momentum"]
)
_ACTIVATIONS = {"silu": "swish", "swish": "swish", "relu": "relu", "relu6": "relu6"}
_RGB = 3


def read(checkpoint: Checkpoint) -> dict[str, Any]:
    """Configuration of timm: the config.json beside the weights, or the one in a pickled module.

    In files of timm before 0.9, the fields of ``pretrained_cfg`` are at the root.
    """
    if checkpoint.config is not None:
        return dict(checkpoint.config)
    path = checkpoint.path.with_name("config.json")
    try:
        content = json_text.parse(reading.read_bytes(path, _CONFIG_BYTES))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or not isinstance(content.get("architecture"), str):
        return {}
    flat = "pretrained_cfg" not in content and {"input_size", "mean", "std"} & set(content)
    return {**content, "pretrained_cfg": content} if flat else content


def facts(root: Mapping[str, Any], usual: Facts, usual_crop: float) -> Facts:
    """``usual`` facts, with preprocessing and class names from the config.

    Args:
        root: Content of the file, with a mapping at ``pretrained_cfg``.
        usual: Facts of the network.
        usual_crop: Crop fraction if the config has none.
    """
    config: Mapping[str, Any] = root["pretrained_cfg"]
    mean = _channels(config.get("mean"), IMAGENET_MEAN, least=-math.inf)
    std = _channels(config.get("std"), IMAGENET_STD, least=0)
    crop = config.get("test_crop_pct") or config.get("crop_pct")
    share = float(crop) if _is_number(crop) and 0 < crop <= 1 else usual_crop
    filter_name = config.get("interpolation")
    interpolation: Interpolation = next((i for i in INTERPOLATIONS if i == filter_name), "bicubic")
    mode: CropMode = next((m for m in CROP_MODES if m == config.get("crop_mode")), "center")
    side, question = _side(config)
    note = None
    if isinstance(filter_name, str) and filter_name not in (*INTERPOLATIONS, "random", ""):
        note = f"config.json resizes photos by {filter_name[:20]!r}, taken here: bicubic"
    return replace(
        usual,
        preprocess=lambda size: Preprocess(size, share, interpolation, mean, std, mode, True),
        resolution=side,
        labels=_labels(root, config),
        note=note,
        question=question,
    )


def with_arguments(
    facts: Facts, root: Mapping[str, Any], variant: Variant, checkpoint: Checkpoint
) -> Facts:
    """``facts`` with the padding and epsilon of ``model_args``, the arguments of create_model.

    Raises:
        CheckpointError: An argument makes another network of it.
    """
    arguments = root.get("model_args")
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        if name in _HARMLESS or value is None:
            continue
        if name == "bn_eps" and _is_number(value) and value > 0:
            facts = replace(facts, bn_eps=float(value))
        elif name == "pad_type" and value in ("", "same"):
            facts = replace(facts, padding="same" if value else "symmetric")
        elif name != "act_layer" or _ACTIVATIONS.get(str(value)) != variant.activation:
            raise CheckpointError(
                f"{checkpoint.path}: its config.json has {name[:40]}={str(value)[:40]!r} in "
                f"model_args, which makes another network than {variant.name}",
                hint="convert it by way of .onnx: torch.onnx.export(model.eval(), torch.zeros(1, "
                "3, SIDE, SIDE), 'model.onnx', dynamo=False)",
            )
    return facts


def _side(config: Mapping[str, Any]) -> tuple[int | None, Question | None]:
    """Input side in pixels; a `Question` if the input is not square."""
    size = config.get("test_input_size") or config.get("input_size")
    if not isinstance(size, list) or not size or not all(isinstance(n, int) for n in size):
        return None, None
    if len(size) != _RGB or size[1] == size[2]:
        return size[-1], None
    return None, Question(
        ("resolution",),
        f"its config.json has an input of {size[1]} x {size[2]} pixels, and only squares are "
        "supported",
        f"give resolution={size[1]} or resolution={size[2]}, and measure the accuracy",
    )


def _labels(root: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Class names by index: a list, or a mapping from every index to its name."""
    names = root.get("label_names") or config.get("label_names") or root.get("labels")
    if isinstance(names, dict):
        numbers = [str(index) for index in range(len(names))]
        names = [names[number] for number in numbers] if set(names) == set(numbers) else None
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _channels(
    values: object, default: tuple[float, float, float], least: float
) -> tuple[float, float, float]:
    """Three numbers above ``least``, converted to pixel units; ``default`` if invalid."""
    if isinstance(values, list) and len(values) == 1:
        values = values * _RGB
    if not isinstance(values, list) or len(values) != _RGB:
        return default
    if not all(_is_number(value) and value > least for value in values):
        return default
    red, green, blue = (255.0 * value for value in values)
    return (red, green, blue)


def _is_number(value: object) -> TypeGuard[float]:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value)
