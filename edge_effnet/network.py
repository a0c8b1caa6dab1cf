"""Variant -> Graph: stem, stages of MBConv and Fused-MBConv with squeeze-excite, head.

Names of nodes (and so of weights and tensors):
  stem.{conv,bn,act}
  stages.S.blocks.B.{expand,depthwise,project}[_bn,_act]    MBConv; no expand at expansion 1
  stages.S.blocks.B.{expand,project}[_bn,_act]              Fused-MBConv
  stages.S.blocks.B.fused[_bn,_act]                         Fused-MBConv at expansion 1
  stages.S.blocks.B.se.{pool,reduce,reduce_act,expand,gate,scale}, stages.S.blocks.B.add
  stages.S.blocks.B.{depthwise,pointwise}[_bn,_act]         MobileNetV1
  stages.S.blocks.B.{reduce,spatial,expand,shortcut}[_bn,_act], then add, act; stem.pool   ResNet
  head.{conv,bn,act,pool}, classifier
"""

from __future__ import annotations

from typing import Literal

from edge_effnet.errors import UsageError
from edge_effnet.graph import (
    Activation,
    Add,
    BatchNorm,
    Conv,
    Dense,
    GlobalAveragePool,
    Graph,
    MaxPool,
    Mul,
    Node,
    Pads,
    Shape,
    output_shape,
    same_pads,
)
from edge_effnet.variants import ActivationKind, Stage, Variant

Padding = Literal["same", "symmetric"]
#: Convolution that carries the stride in strided Fused-MBConvs: expansion or projection.
FusedStride = Literal["expand", "project"]

INPUT = "image"
SMALLEST_SIDE, LARGEST_SIDE = 32, 2048


def build(
    variant: Variant,
    *,
    classes: int = 1000,
    resolution: int | None = None,
    padding: Padding = "same",
    bn_eps: float | None = None,
    fused_stride: FusedStride = "expand",
) -> Graph:
    """The graph of ``variant`` for square RGB inputs of ``resolution`` pixels.

    ``padding``: "same" is TensorFlow's padding (odd pixel at the bottom and right), "symmetric" is
    PyTorch's. ``fused_stride``: "project" puts the stride of Fused-MBConvs into the projection, as
    in the TensorFlow release of EfficientNet-EdgeTPU. This needs more multiply-adds. Raises
    `UsageError` for a resolution outside 32..2048 or fewer than 1 class.
    """
    side = variant.resolution if resolution is None else resolution
    if not SMALLEST_SIDE <= side <= LARGEST_SIDE:
        raise UsageError(
            f"a resolution of {side} is outside {SMALLEST_SIDE}..{LARGEST_SIDE} pixels; "
            f"{variant.name} was made for {variant.resolution}"
        )
    if classes < 1:
        raise UsageError(f"a classifier needs at least 1 class, not {classes}")
    eps = variant.bn_eps if bn_eps is None else bn_eps
    builder = _Builder((3, side, side), padding, eps, variant.activation, fused_stride)
    stem, kernel = variant.scaled_stem, variant.stem_kernel
    x = builder.conv_bn(INPUT, "stem.conv", "stem.bn", "stem.act", stem, kernel, stride=2)
    if variant.stem_pool:
        x = builder.max_pool(x, "stem.pool", kernel=3, stride=2)
    for s, stage in enumerate(variant.scaled_stages()):
        block = _BASELINE_BLOCKS.get(stage.operator, _block)
        for b in range(stage.repeats):
            x = block(builder, x, f"stages.{s}.blocks.{b}", stage, b == 0)
    if variant.scaled_head:
        x = builder.conv_bn(x, "head.conv", "head.bn", "head.act", variant.scaled_head, 1)
    x = builder.add(GlobalAveragePool(name="head.pool", inputs=(x,)))
    builder.add(Dense(name="classifier", inputs=(x,), units=classes))
    return Graph(INPUT, (3, side, side), tuple(builder.nodes))


def padding_of(graph: Graph) -> Padding:
    """``symmetric`` if every convolution has pads (kernel - 1) // 2 on all sides, else ``same``."""
    convolutions = [node for node in graph if isinstance(node, Conv)]
    same = any(node.pads != ((node.kernel - 1) // 2,) * 4 for node in convolutions)
    return "same" if same else "symmetric"


def fused_stride_of(graph: Graph) -> FusedStride:
    """Which convolution carries the stride in strided Fused-MBConvs: expansion or projection."""
    projections = [n for n in graph if isinstance(n, Conv) and n.name.endswith(".project")]
    return "project" if any(node.stride > 1 for node in projections) else "expand"


def _block(builder: _Builder, x: str, name: str, stage: Stage, first: bool) -> str:
    """Add an MBConv or Fused-MBConv block; returns the name of its output tensor."""
    shortcut, channels = x, builder.shapes[x][0]
    stride = stage.stride if first else 1
    expanded = (stage.expand_from if first and stage.expand_from else channels) * stage.expansion
    if stage.operator == "fused":
        layer = "expand" if stage.expansion != 1 else "fused"
        width = expanded if stage.expansion != 1 else stage.channels
        early = stage.expansion == 1 or builder.fused_stride == "expand"
        early_stride, late = (stride, 1) if early else (1, stride)
        x = builder.block_conv(x, f"{name}.{layer}", width, stage.kernel, stride=early_stride)
    else:
        late = 1
        if stage.expansion != 1:
            x = builder.block_conv(x, f"{name}.expand", expanded, 1)
        x = builder.block_conv(
            x, f"{name}.depthwise", expanded, stage.kernel, stride=stride, groups=expanded
        )
    if stage.se_ratio:
        x = builder.squeeze_excite(x, f"{name}.se", max(1, int(channels * stage.se_ratio)))
    if stage.operator == "mbconv" or stage.expansion != 1:
        x = builder.block_conv(x, f"{name}.project", stage.channels, 1, late, activated=False)
    if stage.skip and stride == 1 and channels == stage.channels:
        x = builder.add(Add(name=f"{name}.add", inputs=(x, shortcut)))
    return x


def _separable(builder: _Builder, x: str, name: str, stage: Stage, first: bool) -> str:
    """MobileNetV1's block (arXiv 1704.04861, figure 3): depthwise and pointwise convolution."""
    channels, stride = builder.shapes[x][0], stage.stride if first else 1
    x = builder.block_conv(
        x, f"{name}.depthwise", channels, stage.kernel, stride=stride, groups=channels
    )
    return builder.block_conv(x, f"{name}.pointwise", stage.channels, 1)


def _bottleneck(builder: _Builder, x: str, name: str, stage: Stage, first: bool) -> str:
    """ResNet's bottleneck (arXiv 1512.03385, figure 5); a first block has a projection shortcut."""
    shortcut, inner = x, stage.channels // stage.expansion
    stride = stage.stride if first else 1
    early, late = (stride, 1) if stage.early_stride else (1, stride)
    x = builder.block_conv(x, f"{name}.reduce", inner, 1, stride=early)
    x = builder.block_conv(x, f"{name}.spatial", inner, stage.kernel, stride=late)
    x = builder.block_conv(x, f"{name}.expand", stage.channels, 1, activated=False)
    if first:
        shortcut = builder.block_conv(
            shortcut, f"{name}.shortcut", stage.channels, 1, stride=stride, activated=False
        )
    x = builder.add(Add(name=f"{name}.add", inputs=(x, shortcut)))
    return builder.add(Activation(name=f"{name}.act", inputs=(x,), kind=builder.activation))


_BASELINE_BLOCKS = {"separable": _separable, "bottleneck": _bottleneck}


class _Builder:
    """Collects nodes, and tensor shapes for computing the padding."""

    def __init__(
        self,
        input_shape: Shape,
        padding: Padding,
        bn_eps: float,
        activation: ActivationKind,
        fused_stride: FusedStride,
    ) -> None:
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {INPUT: input_shape}
        self.padding, self.bn_eps, self.activation = padding, bn_eps, activation
        self.fused_stride = fused_stride

    def add(self, node: Node) -> str:
        self.nodes.append(node)
        self.shapes[node.name] = output_shape(node, [self.shapes[name] for name in node.inputs])
        return node.name

    def conv_bn(
        self,
        x: str,
        conv: str,
        bn: str,
        act: str | None,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        pads = _pads(self.padding, self.shapes[x], kernel, stride)
        x = self.add(
            Conv(
                name=conv,
                inputs=(x,),
                channels=channels,
                kernel=kernel,
                stride=stride,
                pads=pads,
                groups=groups,
            )
        )
        x = self.add(BatchNorm(name=bn, inputs=(x,), eps=self.bn_eps))
        if act is not None:
            x = self.add(Activation(name=act, inputs=(x,), kind=self.activation))
        return x

    def block_conv(
        self,
        x: str,
        name: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        activated: bool = True,
    ) -> str:
        act = f"{name}_act" if activated else None
        return self.conv_bn(x, name, f"{name}_bn", act, channels, kernel, stride, groups)

    def max_pool(self, x: str, name: str, kernel: int, stride: int) -> str:
        pads = _pads(self.padding, self.shapes[x], kernel, stride)
        return self.add(MaxPool(name=name, inputs=(x,), kernel=kernel, stride=stride, pads=pads))

    def squeeze_excite(self, x: str, name: str, squeezed: int) -> str:
        channels = self.shapes[x][0]
        gate = self.add(GlobalAveragePool(name=f"{name}.pool", inputs=(x,), keepdims=True))
        gate = self.add(
            Conv(name=f"{name}.reduce", inputs=(gate,), channels=squeezed, kernel=1, bias=True)
        )
        gate = self.add(Activation(name=f"{name}.reduce_act", inputs=(gate,), kind=self.activation))
        gate = self.add(
            Conv(name=f"{name}.expand", inputs=(gate,), channels=channels, kernel=1, bias=True)
        )
        gate = self.add(Activation(name=f"{name}.gate", inputs=(gate,), kind="sigmoid"))
        return self.add(Mul(name=f"{name}.scale", inputs=(x, gate)))


def _pads(padding: Padding, shape: Shape, kernel: int, stride: int) -> Pads:
    if padding == "symmetric":
        side = (kernel - 1) // 2
        return (side, side, side, side)
    return same_pads(shape, kernel, stride)
