"""Reshaped variants: other depth, width, input side, kernels or expansions.

The name describes the shape. ``efficientnet-lite0-d0.8-w1.1-r192`` is Lite0 with 0.8 times the
repeats, 1.1 times the channels and 192 pixels. ``-k3535353`` is the kernel of each stage,
``-e1446666`` the expansion of each stage. `edge-effnet search` finds such networks. Their training
begins with weights of the original (`edge_effnet.inheritance`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from edge_effnet.errors import UsageError
from edge_effnet.network import LARGEST_SIDE, SMALLEST_SIDE
from edge_effnet.variants import Variant

_NAME = re.compile(
    r"(?P<base>.+?)-d(?P<depth>\d+(\.\d+)?)-w(?P<width>\d+(\.\d+)?)-r(?P<side>\d+)"
    r"(-k(?P<kernels>\d+))?(-e(?P<expansions>\d+))?"
)
_LARGEST_FACTOR = 10.0  # the largest released factor is L2's: 5.3
_DIGITS = 9  # largest kernel and expansion, which names have one digit for


@dataclass(frozen=True)
class Reshaping:
    """Changes of a variant's shape.

    Attributes:
        depth: Factor of the repeats, with up to six digits.
        width: Factor of the channels, with up to six digits.
        side: Side of the input in pixels.
        kernels: Kernel size of each stage, odd; None keeps those of the variant.
        expansions: Expansion of each stage; None keeps those of the variant. Stages without an
            expansion convolution (expansion 1) keep it so.

    Raises:
        UsageError: A factor, side, kernel or expansion is not possible.
    """

    depth: float
    width: float
    side: int
    kernels: tuple[int, ...] | None = None
    expansions: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, factor in (("depth", self.depth), ("width", self.width)):
            if not 0 < factor <= _LARGEST_FACTOR or float(f"{factor:g}") != factor:
                raise UsageError(
                    f"a {name} of {factor} is no factor above 0 and up to {_LARGEST_FACTOR:g} with "
                    "up to six digits"
                )
        if not SMALLEST_SIDE <= self.side <= LARGEST_SIDE:
            raise UsageError(
                f"a side of {self.side} is outside {SMALLEST_SIDE}..{LARGEST_SIDE} pixels"
            )
        if any(kernel % 2 == 0 or kernel > _DIGITS for kernel in self.kernels or ()):
            raise UsageError(f"kernels are odd and up to {_DIGITS}, not {self.kernels}")
        if any(not 1 <= expansion <= _DIGITS for expansion in self.expansions or ()):
            raise UsageError(f"expansions are from 1 to {_DIGITS}, not {self.expansions}")

    def name(self, original: str) -> str:
        """Name of the variant that `variant` returns, from the name of the original."""
        name = f"{original}-d{self.depth:g}-w{self.width:g}-r{self.side}"
        for letter, values in (("k", self.kernels), ("e", self.expansions)):
            name += f"-{letter}{''.join(map(str, values))}" if values else ""
        return name

    def variant(self, original: Variant) -> Variant:
        """``original`` with this shape; its name can be read by `get_variant`.

        Raises:
            UsageError: The number of kernels or expansions is not the number of stages, or a stage
                without expansion would get one.
        """
        stages = original.stages
        kernels = self.kernels or tuple(stage.kernel for stage in stages)
        expansions = self.expansions or tuple(stage.expansion for stage in stages)
        if len(kernels) != len(stages) or len(expansions) != len(stages):
            raise UsageError(
                f"{original.name} has {len(stages)} stages: {self.name(original.name)} needs as "
                "many kernels and expansions"
            )
        for number, (stage, expansion) in enumerate(zip(stages, expansions, strict=True), 1):
            if (stage.expansion == 1) != (expansion == 1):
                raise UsageError(
                    f"stage {number} of {original.name} has expansion {stage.expansion}, which "
                    f"cannot become {expansion}: only one of them has an expansion convolution"
                )
        return replace(
            original,
            name=self.name(original.name),
            stages=tuple(
                replace(stage, kernel=kernel, expansion=expansion)
                for stage, kernel, expansion in zip(stages, kernels, expansions, strict=True)
            ),
            depth=round(original.depth * self.depth, 6),
            width=round(original.width * self.width, 6),
            resolution=self.side,
            published=None,
        )


def split_shape(name: str) -> tuple[str, Reshaping | None]:
    """Name of the original variant, and the shape that the end of ``name`` describes.

    Args:
        name: Name of a variant in lower case, without the changes of an adaptation.

    Returns:
        The name without the shape, and the shape; None for other names.

    Raises:
        UsageError: The shape is not possible.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return name, None
    kernels, expansions = (
        tuple(map(int, match[key])) if match[key] else None for key in ("kernels", "expansions")
    )
    shape = Reshaping(
        float(match["depth"]), float(match["width"]), int(match["side"]), kernels, expansions
    )
    return match["base"], shape
