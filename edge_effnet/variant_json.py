"""Conversion of a variant to JSON and back, for files of networks that no release names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, get_args

from edge_effnet.variants import ActivationKind, Operator, Published, Stage, Variant

_MOST_STAGES, _MOST_BLOCKS = 32, 1000  # bounds of the time that a damaged file can cost


def variant_to_json(variant: Variant) -> dict[str, Any]:
    """The variant as plain data."""
    return asdict(variant)


def variant_from_json(content: Mapping[str, Any]) -> Variant:
    """The variant from the result of `variant_to_json`.

    Raises:
        ValueError, LookupError, TypeError: The data is not a valid variant.
    """
    stages = tuple(Stage(**stage) for stage in content["stages"])
    published = content["published"] and Published(**content["published"])
    variant = Variant(**{**content, "stages": stages, "published": published})
    operators = {stage.operator for stage in stages}
    if not operators <= set(get_args(Operator)) or len(stages) > _MOST_STAGES:
        raise ValueError("stages that no network has")
    if variant.activation not in get_args(ActivationKind) or not isinstance(variant.name, str):
        raise ValueError("an activation or name that no network has")
    if not 0 < sum(stage.repeats for stage in variant.scaled_stages()) <= _MOST_BLOCKS:
        raise ValueError("a number of blocks that no network has")
    return variant
