"""Lookup of networks by name: EfficientNet variants, and the baselines of the papers."""

from __future__ import annotations

import difflib
from contextlib import suppress
from fnmatch import fnmatchcase

from edge_effnet.adaptation import Adaptation, split_name
from edge_effnet.baselines import BASELINES
from edge_effnet.errors import UsageError
from edge_effnet.reshaping import Reshaping, split_shape
from edge_effnet.variants import VARIANTS, Variant


def get_variant(name: str | Variant) -> Variant:
    """The variant or baseline called ``name``.

    Args:
        name: Full or short name, with ``-`` or ``_``, in any case. It may end with the changes of
            `reshaping` and `adaptation`: ``lite0-d0.8-w1-r192``, ``b0-relu6-no-se``. A `Variant`
            is returned unchanged.

    Returns:
        The network as data.

    Raises:
        UsageError: No network has this name; the message lists the nearest names.

    Example:
        >>> get_variant("lite0").name
        'efficientnet-lite0'
    """
    if isinstance(name, Variant):
        return name
    plain = name.strip().lower().replace("_", "-").removeprefix("tf-")
    base, shape, adaptation = _split(plain)
    if base is not None:
        return adaptation.variant(base if shape is None else shape.variant(base))
    shorts = [variant.short_name for variant in VARIANTS.values()]
    near = difflib.get_close_matches(plain, [*VARIANTS, *shorts, *BASELINES], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "list_variants() lists them"
    raise UsageError(f"unknown variant {name!r}", hint=hint)


def original_of(variant: Variant) -> tuple[Variant, Variant, Adaptation]:
    """The released variant that ``variant`` derives from, and how.

    Returns:
        The released variant; the same with the shape of ``variant``; the adaptation of the latter
        that gives ``variant``. A variant that derives from none is its own original.
    """
    with suppress(UsageError):  # other names may only look like those of shapes
        base, shape, adaptation = _split(variant.name)
        if base is not None:
            reshaped = base if shape is None else shape.variant(base)
            if adaptation.variant(reshaped) == variant:
                return base, reshaped, adaptation
    return variant, variant, Adaptation()


def _split(name: str) -> tuple[Variant | None, Reshaping | None, Adaptation]:
    """The released variant, shape and adaptation that ``name`` (in lower case) consists of."""
    unadapted, adaptation = split_name(name)
    base, shape = split_shape(unadapted)
    for candidate in (base, f"efficientnet-{base}", f"efficientnet{base}"):
        if candidate in VARIANTS:
            return VARIANTS[candidate], shape, adaptation
    for known, baseline in BASELINES.items():
        if base.replace("-", "") == known.replace("-", ""):
            return baseline, shape, adaptation
    return None, None, adaptation


def list_variants(pattern: str = "*") -> list[str]:
    """Full names of all EfficientNet variants, from small to large within each family.

    Args:
        pattern: Shell pattern for full or short names; case-insensitive.

    Returns:
        The names; empty if no name matches.

    Example:
        >>> list_variants("lite*")[:2]
        ['efficientnet-lite0', 'efficientnet-lite1']
    """
    wanted = pattern.strip().lower()
    return [
        name
        for name, variant in VARIANTS.items()
        if fnmatchcase(name, wanted) or fnmatchcase(variant.short_name, wanted)
    ]


def parse_variant(text: str) -> tuple[Variant, int | None]:
    """Network and input side in pixels, from text of the form ``VARIANT[@SIDE]``.

    Args:
        text: A name, or a name and a side, as ``lite0@192``.

    Returns:
        The variant, and the side; None for the variant's default side.

    Raises:
        UsageError: The side is not a number, or no network has this name.
    """
    name, at, side = text.partition("@")
    if at and not (side.isascii() and side.isdecimal()):
        raise UsageError(f"{text!r} is no VARIANT[@SIDE], as lite0@192")
    return get_variant(name), int(side) if at else None
