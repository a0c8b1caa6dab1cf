"""Every variant of the family as data, and the scaling that derives one from another.

A `Variant` says what the network is; `edge_effnet.network.build` makes the `Graph` of it.
Sources of the tables:
  B0 table and compound scaling   Tan & Le 2019, arXiv 1905.11946, table 1 and section 3.3
  Lite                            tensorflow/tpu, models/official/efficientnet/lite
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Literal

from edge_effnet.errors import UsageError

Operator = Literal["mbconv", "fused"]
ActivationKind = Literal["relu", "relu6", "swish", "sigmoid"]

#: Batch-normalisation epsilon of the TensorFlow releases (their ``batch_norm_epsilon``).
BN_EPS_TENSORFLOW = 1e-3


@dataclass(frozen=True)
class Stage:
    """One row of a network's table: ``repeats`` equal blocks, the first one strided.

    ``channels`` are the block's output channels before width scaling; ``expansion`` multiplies the
    block's input channels; ``se_ratio`` is relative to the block's *input* channels (0: none).
    """

    operator: Operator
    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int
    se_ratio: float = 0.0


@dataclass(frozen=True)
class Published:
    """ImageNet top-1 in percent as its authors give it: float32, full int8 where stated."""

    top1: float
    source: str
    top1_int8: float | None = None


@dataclass(frozen=True)
class Variant:
    """One network of the family as pure data.

    ``width`` and ``depth`` scale channels and repeats; ``fixed_stem_head`` keeps the stem's and the
    head's channels, ``fixed_ends`` the repeats of the first and the last stage (both as in Lite).
    ``resolution`` is the input's side in pixels, ``dropout`` the rate before the classifier,
    ``drop_connect`` the rate of stochastic depth at the last block.
    """

    name: str
    stages: tuple[Stage, ...]
    resolution: int
    width: float = 1.0
    depth: float = 1.0
    dropout: float = 0.2
    drop_connect: float = 0.2
    depth_divisor: int = 8
    stem_channels: int = 32
    head_channels: int = 1280
    activation: ActivationKind = "swish"
    fixed_stem_head: bool = False
    fixed_ends: bool = False
    bn_eps: float = BN_EPS_TENSORFLOW
    published: Published | None = None

    @property
    def short_name(self) -> str:
        """The name a user types: ``lite0`` for ``efficientnet-lite0``."""
        return self.name.removeprefix("efficientnet-")

    @property
    def scaled_stem(self) -> int:
        """Channels of the stem."""
        if self.fixed_stem_head:
            return self.stem_channels
        return round_filters(self.stem_channels, self.width, self.depth_divisor)

    @property
    def scaled_head(self) -> int:
        """Channels of the head's convolution."""
        if self.fixed_stem_head:
            return self.head_channels
        return round_filters(self.head_channels, self.width, self.depth_divisor)

    def scaled_stages(self) -> tuple[Stage, ...]:
        """The stages with this variant's width and depth applied."""
        last = len(self.stages) - 1
        scaled = []
        for index, stage in enumerate(self.stages):
            fixed = self.fixed_ends and index in (0, last)
            scaled.append(
                Stage(
                    operator=stage.operator,
                    kernel=stage.kernel,
                    stride=stage.stride,
                    expansion=stage.expansion,
                    channels=round_filters(stage.channels, self.width, self.depth_divisor),
                    repeats=stage.repeats if fixed else round_repeats(stage.repeats, self.depth),
                    se_ratio=stage.se_ratio,
                )
            )
        return tuple(scaled)


def round_filters(channels: int, width: float, divisor: int = 8) -> int:
    """Scale ``channels`` by ``width`` to a multiple of ``divisor``, never losing over 10 %.

    The rule is MobileNet's and EfficientNet's (``round_filters`` of tensorflow/tpu).
    """
    if width == 1.0:
        return channels
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    if rounded < 0.9 * scaled:
        rounded += divisor
    return rounded


def round_repeats(repeats: int, depth: float) -> int:
    """Scale ``repeats`` by ``depth``, rounding up."""
    return math.ceil(repeats * depth)


# Table 1 of the paper, stages 2 to 8: operator, kernel, stride, expansion, channels, repeats.
_B0_ROWS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)

_LITE_STAGES = tuple(Stage("mbconv", *row) for row in _B0_ROWS)
_LITE_README = "tensorflow/tpu, models/official/efficientnet/lite/README.md"


def _lite(
    number: int,
    width: float,
    depth: float,
    resolution: int,
    dropout: float,
    top1: float,
    int8: float,
) -> Variant:
    return Variant(
        name=f"efficientnet-lite{number}",
        stages=_LITE_STAGES,
        resolution=resolution,
        width=width,
        depth=depth,
        dropout=dropout,
        activation="relu6",
        fixed_stem_head=True,
        fixed_ends=True,
        published=Published(top1, _LITE_README, int8),
    )


# Lite3 and Lite4: the published float figures match 300 and 380 px; the builder's own sizes, used
# here, are 280 and 300.
_ALL = (
    _lite(0, 1.0, 1.0, 224, 0.2, 75.1, 74.4),
    _lite(1, 1.0, 1.1, 240, 0.2, 76.7, 75.9),
    _lite(2, 1.1, 1.2, 260, 0.3, 77.6, 77.0),
    _lite(3, 1.2, 1.4, 280, 0.3, 79.8, 79.0),
    _lite(4, 1.4, 1.8, 300, 0.3, 81.5, 80.2),
)

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _ALL}


def get(name: str | Variant) -> Variant:
    """The variant called ``name``: full or short, with ``-`` or ``_``, in any case.

    Raises `UsageError` with the nearest names for an unknown one.
    """
    if isinstance(name, Variant):
        return name
    plain = name.strip().lower().replace("_", "-").removeprefix("tf-")
    for candidate in (plain, f"efficientnet-{plain}"):
        if candidate in VARIANTS:
            return VARIANTS[candidate]
    shorts = [variant.short_name for variant in VARIANTS.values()]
    near = difflib.get_close_matches(plain, [*VARIANTS, *shorts], n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "see 'edge-effnet list'"
    raise UsageError(f"unknown variant {name!r}; {hint}")
