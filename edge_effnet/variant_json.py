"""Conversion of a variant to JSON and back, for files of networks that no release names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edge_effnet.decoding import decode
from edge_effnet.variants import Variant

_MOST_STAGES, _MOST_BLOCKS = 32, 1000  # bounds of the time that a damaged file can cost


def variant_to_json(variant: Variant) -> dict[str, Any]:
    """The variant as plain data."""
    return asdict(variant)


def variant_from_json(content: Mapping[str, Any]) -> Variant:
    """The variant from the result of `variant_to_json`.

    Raises:
        ValueError, LookupError, TypeError: The data is not a valid variant.
    """
    variant: Variant = decode(Variant, content, "the variant", "save the network again")
    if not 0 < len(variant.stages) <= _MOST_STAGES:
        raise ValueError("a number of stages that no network has")
    if not 0 < sum(stage.repeats for stage in variant.scaled_stages()) <= _MOST_BLOCKS:
        raise ValueError("a number of blocks that no network has")
    return variant
