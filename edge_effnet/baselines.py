"""Baselines: the ResNets and MobileNets that the EfficientNet papers compare with.

They reproduce rows of the papers' tables (`edge-effnet tables`) and serve to compare latency.
Each baseline is a `Variant`, so it is scaled, built and exported like an EfficientNet, but it is
not in `VARIANTS`. Its weights are random, or come from a file with this project's canonical names.

Sources of the tables:
  ResNet        He et al. 2015, arXiv 1512.03385, table 1. ``resnet-50`` and ``resnet-152`` have
                the stride in the 3x3 convolution, as in torchvision and TensorFlow ("v1.5");
                ``-original`` in the first 1x1, as in the article and Keras
  MobileNetV1   Howard et al. 2017, arXiv 1704.04861, table 1
  MobileNetV2   Sandler et al. 2018, arXiv 1801.04381, table 2; tensorflow/models, mobilenet_v2.py
"""

from __future__ import annotations

from edge_effnet.variants import Published, Stage, Variant

_BN_EPS_RESNET = 1e-5  # of torchvision and of TensorFlow's official ResNet


def _resnet(
    name: str, repeats: tuple[int, int, int, int], top1: float, *, early_stride: bool = False
) -> Variant:
    channels, strides = (256, 512, 1024, 2048), (1, 2, 2, 2)
    return Variant(
        name,
        tuple(
            Stage("bottleneck", 3, stride, 4, out, count, early_stride=early_stride)
            for out, stride, count in zip(channels, strides, repeats, strict=True)
        ),
        224,
        dropout=0.0,
        drop_connect=0.0,
        stem_channels=64,
        stem_kernel=7,
        stem_pool=True,
        head_channels=0,
        activation="relu",
        bn_eps=_BN_EPS_RESNET,
        published=Published(top1, "arXiv 1905.11946, table 2"),
    )


_MOBILENET_V1 = Variant(
    "mobilenet-v1",
    (
        Stage("separable", 3, 1, 1, 64, 1),
        Stage("separable", 3, 2, 1, 128, 2),
        Stage("separable", 3, 2, 1, 256, 2),
        Stage("separable", 3, 2, 1, 512, 6),
        Stage("separable", 3, 2, 1, 1024, 2),
    ),
    224,
    dropout=0.001,  # tensorflow/models, mobilenet_v1.py
    drop_connect=0.0,
    head_channels=0,
    activation="relu6",
    published=Published(70.6, "arXiv 1704.04861, table 8"),
)

# Kernel, stride, expansion, channels, repeats.
_MOBILENET_V2_ROWS = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (3, 2, 6, 32, 3),
    (3, 2, 6, 64, 4),
    (3, 1, 6, 96, 3),
    (3, 2, 6, 160, 3),
    (3, 1, 6, 320, 1),
)

_MOBILENET_V2 = Variant(
    "mobilenet-v2",
    tuple(Stage("mbconv", *row) for row in _MOBILENET_V2_ROWS),
    224,
    drop_connect=0.0,
    wide_head=True,
    activation="relu6",
    published=Published(72.0, "arXiv 1801.04381, table 4"),
)

_ALL = (
    _resnet("resnet-50", (3, 4, 6, 3), 76.0),
    _resnet("resnet-152", (3, 8, 36, 3), 77.8),
    _resnet("resnet-50-original", (3, 4, 6, 3), 76.0, early_stride=True),
    _resnet("resnet-152-original", (3, 8, 36, 3), 77.8, early_stride=True),
    _MOBILENET_V1,
    _MOBILENET_V2,
)

BASELINES: dict[str, Variant] = {variant.name: variant for variant in _ALL}
