"""All EfficientNet variants as data, and the rounding rules of scaling.

A `Variant` describes a network; `edge_effnet.network.build` builds its `Graph`.

Sources of the tables:
  B0 table and compound scaling   Tan & Le 2019, arXiv 1905.11946, table 1 and section 3.3
  B0 to B8, L2                    tensorflow/tpu, official/efficientnet/efficientnet_builder.py
  Lite                            tensorflow/tpu, models/official/efficientnet/lite
  EdgeTPU                         tensorflow/tpu, models/official/efficientnet/edgetpu
  V2                              Tan & Le 2021, arXiv 2104.00298, table 4; google/automl,
                                  efficientnetv2/effnetv2_configs.py
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

Operator = Literal["mbconv", "fused", "separable", "bottleneck"]
#: leaky_relu has slope 0.01; gelu is exact (error function), not the tanh approximation.
ActivationKind = Literal[
    "relu", "relu6", "swish", "sigmoid", "tanh", "gelu", "hard_swish", "leaky_relu"
]  # fmt: skip

#: Batch-normalisation epsilon of the TensorFlow releases (``batch_norm_epsilon`` there).
BN_EPS_TENSORFLOW = 1e-3


def short_name(name: str) -> str:
    """The short form of a variant's name: ``lite0`` for ``efficientnet-lite0``."""
    return name.removeprefix("efficientnet-").removeprefix("efficientnet")


@dataclass(frozen=True)
class Stage:
    """One row of a table of stages: ``repeats`` equal blocks; the first block has the stride.

    ``channels`` are the block's output channels before width scaling. ``expansion`` multiplies the
    block's input channels. ``se_ratio`` is relative to the block's *input* channels; 0 means no
    squeeze-excite.

    Two fields describe the first stage of EfficientNet-EdgeTPU. ``expand_from`` (also scaled by the
    width) replaces the input channels in the expansion. ``skip`` False removes the residual
    connections.

    Two operators belong to baselines. "separable" is MobileNetV1's block without expansion.
    "bottleneck" is ResNet's block with ``channels / expansion`` inner channels. With
    ``early_stride`` its first 1 x 1 convolution has the stride, otherwise the convolution with
    ``kernel``.
    """

    operator: Operator
    kernel: int
    stride: int
    expansion: int
    channels: int
    repeats: int
    se_ratio: float = 0.0
    expand_from: int = 0
    skip: bool = True
    early_stride: bool = False


@dataclass(frozen=True)
class Published:
    """ImageNet top-1 in percent as published by the authors, for float32 and, if given, int8."""

    top1: float
    source: str
    top1_int8: float | None = None


@dataclass(frozen=True, repr=False)
class Variant:
    """Description of one network as plain data.

    Attributes:
        name: The full name, such as ``efficientnet-lite0``.
        stages: The stages, before scaling.
        resolution: Side of the input in pixels.
        width: Factor of the channels.
        depth: Factor of the repeats.
        dropout: Dropout rate before the classifier.
        drop_connect: Stochastic-depth rate of the last block.
        depth_divisor: Scaled channel counts are rounded to multiples of this.
        round_limit: Smallest ratio of rounded to scaled channels.
        stem_channels: Channels of the first convolution, before scaling.
        stem_kernel: Kernel size of the first convolution.
        stem_pool: Whether a strided max pooling follows the first convolution (ResNet).
        head_channels: Channels of the last convolution, before scaling; 0 for none.
        wide_head: Whether widths below 1 do not reduce the channels of the last convolution
            (MobileNetV2).
        activation: The activation of all layers.
        fixed_stem_head: Whether the first and last convolution are not scaled (Lite).
        fixed_ends: Whether the repeats of the first and last stage are not scaled (Lite).
        bn_eps: Epsilon of BatchNorm.
        published: Accuracy published by the authors; None if unpublished.
    """

    name: str
    stages: tuple[Stage, ...]
    resolution: int
    width: float = 1.0
    depth: float = 1.0
    dropout: float = 0.2
    drop_connect: float = 0.2
    depth_divisor: int = 8
    round_limit: float = 0.9
    stem_channels: int = 32
    stem_kernel: int = 3
    stem_pool: bool = False
    head_channels: int = 1280
    wide_head: bool = False
    activation: ActivationKind = "swish"
    fixed_stem_head: bool = False
    fixed_ends: bool = False
    bn_eps: float = BN_EPS_TENSORFLOW
    published: Published | None = None

    def __repr__(self) -> str:
        return f"Variant({self.name}, {self.resolution} px, {self.activation})"

    @property
    def short_name(self) -> str:
        """The short name: ``lite0`` for ``efficientnet-lite0``."""
        return short_name(self.name)

    @property
    def scaled_stem(self) -> int:
        """Channels of the stem."""
        if self.fixed_stem_head:
            return self.stem_channels
        return self._scaled(self.stem_channels)

    @property
    def scaled_head(self) -> int:
        """Channels of the head's convolution, 0 if there is none."""
        narrowed = self.wide_head and self.width < 1.0
        if self.fixed_stem_head or narrowed or not self.head_channels:
            return self.head_channels
        return self._scaled(self.head_channels)

    def scaled_stages(self) -> tuple[Stage, ...]:
        """The stages with this variant's width and depth applied."""
        last = len(self.stages) - 1
        scaled = []
        for index, stage in enumerate(self.stages):
            fixed = self.fixed_ends and index in (0, last)
            repeats = stage.repeats if fixed else round_repeats(stage.repeats, self.depth)
            scaled.append(
                replace(
                    stage,
                    channels=self._scaled(stage.channels),
                    repeats=repeats,
                    expand_from=self._scaled(stage.expand_from) if stage.expand_from else 0,
                )
            )
        return tuple(scaled)

    def _scaled(self, channels: int) -> int:
        return round_filters(channels, self.width, self.depth_divisor, self.round_limit)


def round_filters(channels: int, width: float, divisor: int = 8, limit: float = 0.9) -> int:
    """``channels`` * ``width``, rounded to a multiple of ``divisor``.

    If rounding would keep less than the fraction ``limit``, the next higher multiple is used.
    MobileNet and EfficientNet have the limit 0.9 (``round_filters`` of tensorflow/tpu).
    EfficientNetV2 has no limit (google/automl, effnetv2_model.py).
    """
    if width == 1.0:
        return channels
    scaled = channels * width
    rounded = max(divisor, int(scaled + divisor / 2) // divisor * divisor)
    if rounded < limit * scaled:
        rounded += divisor
    return rounded


def round_repeats(repeats: int, depth: float) -> int:
    """``repeats`` * ``depth``, rounded up."""
    return math.ceil(repeats * depth)


# Table 1 of Tan & Le 2019, stages 2 to 8: operator, kernel, stride, expansion, channels, repeats.
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


_B_STAGES = tuple(Stage("mbconv", *row, se_ratio=0.25) for row in _B0_ROWS)


_B_PAPER = "arXiv 1905.11946, table 2"
_ADVPROP = "AdvProp, arXiv 1911.09665, section 5.2"
_NOISY_STUDENT = "Noisy Student with 300 M more photos, arXiv 1911.04252, table 2"


def _b(
    name: str,
    width: float,
    depth: float,
    resolution: int,
    dropout: float,
    top1: float,
    source: str = _B_PAPER,
) -> Variant:
    return Variant(
        f"efficientnet-{name}",
        _B_STAGES,
        resolution,
        width=width,
        depth=depth,
        dropout=dropout,
        published=Published(top1, source),
    )


# The expansion of the first stage is relative to 24 channels, although the stem has more.
_EDGETPU_STAGES = (
    Stage("fused", 3, 1, 4, 24, 1, expand_from=24, skip=False),
    Stage("fused", 3, 2, 8, 32, 2),
    Stage("fused", 3, 2, 8, 48, 4),
    Stage("mbconv", 5, 2, 8, 96, 5),
    Stage("mbconv", 5, 1, 8, 144, 4),
    Stage("mbconv", 5, 2, 8, 192, 2),
)


_EDGETPU_README = "tensorflow/tpu, models/official/efficientnet/edgetpu/README.md"


def _edgetpu(
    size: str,
    width: float,
    depth: float,
    resolution: int,
    dropout: float,
    top1: float,
    int8: float,
) -> Variant:
    return Variant(
        f"efficientnet-edgetpu-{size}",
        _EDGETPU_STAGES,
        resolution,
        width=width,
        depth=depth,
        dropout=dropout,
        activation="relu",
        published=Published(top1, _EDGETPU_README, int8),
    )


# V2, one row per stage: operator, kernel, stride, expansion, channels, repeats. MBConv: SE ratio
# 0.25.
def _v2_stages(*rows: tuple[Operator, int, int, int, int, int]) -> tuple[Stage, ...]:
    return tuple(Stage(*row, se_ratio=0.25 if row[0] == "mbconv" else 0.0) for row in rows)


_V2_B_STAGES = _v2_stages(
    ("fused", 3, 1, 1, 16, 1),
    ("fused", 3, 2, 4, 32, 2),
    ("fused", 3, 2, 4, 48, 2),
    ("mbconv", 3, 2, 4, 96, 3),
    ("mbconv", 3, 1, 6, 112, 5),
    ("mbconv", 3, 2, 6, 192, 8),
)


_V2_README = "google/automl, efficientnetv2/README.md"
_V2_PAPER = "arXiv 2104.00298, table 7"
_V2_21K = "arXiv 2104.00298, table 7, pretrained on ImageNet21k"


def _v2_b(
    number: int, width: float, depth: float, resolution: int, dropout: float, top1: float
) -> Variant:
    return Variant(
        f"efficientnetv2-b{number}",
        _V2_B_STAGES,
        resolution,
        width=width,
        depth=depth,
        dropout=dropout,
        round_limit=0.0,
        published=Published(top1, _V2_README),
    )


def _v2(
    size: str,
    stem: int,
    channels: tuple[int, ...],
    repeats: tuple[int, ...],
    resolution: int,
    dropout: float,
    top1: float,
    source: str = _V2_PAPER,
) -> Variant:
    """A V2 network with the stages of Tan & Le 2021, table 4; M, L and XL have a seventh stage."""
    shape: tuple[tuple[Operator, int, int], ...] = (
        ("fused", 1, 1),
        ("fused", 2, 4),
        ("fused", 2, 4),
        ("mbconv", 2, 4),
        ("mbconv", 1, 6),
        ("mbconv", 2, 6),
        ("mbconv", 1, 6),
    )
    rows = [
        (operator, 3, stride, expansion, out, count)
        for (operator, stride, expansion), out, count in zip(shape, channels, repeats, strict=False)
    ]
    return Variant(
        f"efficientnetv2-{size}",
        _v2_stages(*rows),
        resolution,
        dropout=dropout,
        stem_channels=stem,
        published=Published(top1, source),
    )


# Lite3 and Lite4: input sides as in the authors' code, 280 and 300. The published float accuracies
# match 300 and 380 px.
_ALL = (
    _b("b0", 1.0, 1.0, 224, 0.2, 77.1),
    _b("b1", 1.0, 1.1, 240, 0.2, 79.1),
    _b("b2", 1.1, 1.2, 260, 0.3, 80.1),
    _b("b3", 1.2, 1.4, 300, 0.3, 81.6),
    _b("b4", 1.4, 1.8, 380, 0.4, 82.9),
    _b("b5", 1.6, 2.2, 456, 0.4, 83.6),
    _b("b6", 1.8, 2.6, 528, 0.5, 84.0),
    _b("b7", 2.0, 3.1, 600, 0.5, 84.3),
    _b("b8", 2.2, 3.6, 672, 0.5, 85.5, _ADVPROP),
    _b("l2", 4.3, 5.3, 800, 0.5, 88.4, _NOISY_STUDENT),
    _lite(0, 1.0, 1.0, 224, 0.2, 75.1, 74.4),
    _lite(1, 1.0, 1.1, 240, 0.2, 76.7, 75.9),
    _lite(2, 1.1, 1.2, 260, 0.3, 77.6, 77.0),
    _lite(3, 1.2, 1.4, 280, 0.3, 79.8, 79.0),
    _lite(4, 1.4, 1.8, 300, 0.3, 81.5, 80.2),
    _edgetpu("s", 1.0, 1.0, 224, 0.2, 77.23, 77.0),
    _edgetpu("m", 1.0, 1.1, 240, 0.2, 78.69, 78.6),
    _edgetpu("l", 1.2, 1.4, 300, 0.3, 80.62, 80.2),
    _v2_b(0, 1.0, 1.0, 224, 0.2, 78.7),
    _v2_b(1, 1.0, 1.1, 240, 0.2, 79.8),
    _v2_b(2, 1.1, 1.2, 260, 0.3, 80.5),
    _v2_b(3, 1.2, 1.4, 300, 0.3, 82.1),
    _v2("s", 24, (24, 48, 64, 128, 160, 256), (2, 4, 4, 6, 9, 15), 384, 0.2, 83.9),
    _v2("m", 24, (24, 48, 80, 160, 176, 304, 512), (3, 5, 5, 7, 14, 18, 5), 480, 0.3, 85.1),
    _v2("l", 32, (32, 64, 96, 192, 224, 384, 640), (4, 7, 7, 10, 19, 25, 7), 480, 0.4, 85.7),
    _v2(
        "xl",
        32,
        (32, 64, 96, 192, 256, 512, 640),
        (4, 8, 8, 16, 24, 32, 8),
        512,
        0.4,
        87.3,
        _V2_21K,
    ),
)

VARIANTS: dict[str, Variant] = {variant.name: variant for variant in _ALL}
