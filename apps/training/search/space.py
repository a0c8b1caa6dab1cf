"""Search space: shapes of one variant, with random samples and mutations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Literal, get_args

from edge_effnet.errors import UsageError
from edge_effnet.network import SMALLEST_SIDE
from edge_effnet.registry import original_of
from edge_effnet.reshaping import Reshaping
from edge_effnet.variants import Variant

Dimension = Literal["depth", "width", "resolution", "kernel", "expansion"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
#: Dimensions of compound scaling (Tan & Le 2019), searched unless the user asks for others.
COMPOUND: tuple[Dimension, ...] = ("depth", "width", "resolution")

#: Factors of repeats and channels. B0 to B7 have depths up to 3.1 and widths up to 2.0.
_DEPTHS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.2, 2.6, 3.1)
_WIDTHS = (0.35, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 1.8, 2.0)
_SIDE_STEP = 16  # pixels; strided convolutions halve the side four to five times
_SIDES = 0.5, 2.0  # smallest and largest side relative to the variant's
_KERNELS = (3, 5, 7)  # of MnasNet (3, 5) and ProxylessNAS (7)
_EXPANSIONS = (2, 3, 4, 5, 6)  # MnasNet has 3 and 6, EfficientNetV2 4 and 6
_NEAR = 2  # a mutation moves a number by at most this many positions


@dataclass(frozen=True)
class Space:
    """All shapes of a variant in the searched dimensions.

    Attributes:
        base: The variant, released or adapted; its own shape is part of the space.
        dimensions: The dimensions that differ between candidates.

    Raises:
        UsageError: A dimension is unknown, none is given, or ``base`` is reshaped already.
    """

    base: Variant
    dimensions: tuple[Dimension, ...] = COMPOUND

    def __post_init__(self) -> None:
        unknown = [name for name in self.dimensions if name not in DIMENSIONS]
        if unknown or not self.dimensions:
            raise UsageError(
                f"unknown dimension {unknown[0]!r}; known: {', '.join(DIMENSIONS)}"
                if unknown
                else f"nothing to search; give one or more of {', '.join(DIMENSIONS)}"
            )
        original, reshaped, _ = original_of(self.base)
        if reshaped != original:
            raise UsageError(
                f"{self.base.name} is a shape of {original.short_name}: search from that variant"
            )

    def variant(self, shape: Reshaping) -> Variant:
        """The variant of a shape; raises `UsageError` for a shape of another family."""
        original, _, adaptation = original_of(self.base)
        return adaptation.variant(shape.variant(original))

    @property
    def base_shape(self) -> Reshaping:
        """The shape of the variant itself."""
        stages = self.base.stages
        return Reshaping(
            1.0,
            1.0,
            self.base.resolution,
            tuple(s.kernel for s in stages) if "kernel" in self.dimensions else None,
            tuple(s.expansion for s in stages) if "expansion" in self.dimensions else None,
        )

    def sample(self, random: Random) -> Reshaping:
        """A random shape."""
        shape = self.base_shape
        for dimension in self.dimensions:
            shape = self._changed(shape, dimension, random, near=False)
        return shape

    def mutate(self, shape: Reshaping, random: Random) -> Reshaping:
        """``shape`` with one or two dimensions changed to values nearby."""
        count = 1 if len(self.dimensions) == 1 else random.randint(1, 2)
        for dimension in random.sample(self.dimensions, count):
            shape = self._changed(shape, dimension, random, near=True)
        return shape

    def _changed(
        self, shape: Reshaping, dimension: Dimension, random: Random, near: bool
    ) -> Reshaping:
        """``shape`` with another value in one dimension, at one stage for kernels and expansions.

        With ``near`` the value is at most `_NEAR` positions away, otherwise any; all stages then
        change.
        """
        if dimension == "depth":
            return replace(shape, depth=_drawn(_DEPTHS, shape.depth, random, near))
        if dimension == "width":
            return replace(shape, width=_drawn(_WIDTHS, shape.width, random, near))
        if dimension == "resolution":
            return replace(shape, side=int(_drawn(self._sides(), shape.side, random, near)))
        if dimension == "kernel":
            return replace(shape, kernels=_per_stage(_KERNELS, shape.kernels, random, near))
        return replace(shape, expansions=_per_stage(_EXPANSIONS, shape.expansions, random, near))

    def _sides(self) -> tuple[int, ...]:
        low, high = (factor * self.base.resolution for factor in _SIDES)
        first = -(-max(SMALLEST_SIDE, int(low)) // _SIDE_STEP) * _SIDE_STEP
        return tuple(range(first, int(high) + 1, _SIDE_STEP))


def _per_stage(
    options: Sequence[int], values: tuple[int, ...] | None, random: Random, near: bool
) -> tuple[int, ...]:
    """``values`` with another one at one stage (``near``) or at all; 1 is kept."""
    drawn = list(values or ())
    free = [index for index, value in enumerate(drawn) if value != 1]
    for index in [random.choice(free)] if near else free:
        drawn[index] = int(_drawn(options, drawn[index], random, near))
    return tuple(drawn)


def _drawn(options: Sequence[float], value: float, random: Random, near: bool) -> float:
    """A random option other than ``value``, among the nearest ones or among all."""
    others = [option for option in options if option != value]
    if near:
        others = sorted(others, key=lambda option: (abs(option - value), option))[: 2 * _NEAR]
    return random.choice(others)
