"""TensorFlow's released EfficientNets in plain tf.nn ops, written from the papers' tables.

Names of variables are counted as tf.layers counts them: a layer's class, then ``_1``, ``_2`` within
its scope, in the order of the calls. Nothing of the project is used.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from numpy.typing import NDArray

tf: Any = pytest.importorskip("tensorflow", reason="TensorFlow writes the checkpoints")

EPSILON = 1e-3
# kernel, stride, expansion, channels, repeats, fused
V1 = ((3, 1, 1, 16, 1, 0), (3, 2, 6, 24, 2, 0), (5, 2, 6, 40, 2, 0), (3, 2, 6, 80, 3, 0),
      (5, 1, 6, 112, 3, 0), (5, 2, 6, 192, 4, 0), (3, 1, 6, 320, 1, 0))  # fmt: skip
EDGE = ((3, 1, 4, 24, 1, 1), (3, 2, 8, 32, 2, 1), (3, 2, 8, 48, 4, 1), (5, 2, 8, 96, 5, 0),
        (5, 1, 8, 144, 4, 0), (5, 2, 8, 192, 2, 0))  # fmt: skip
V2_B = ((3, 1, 1, 16, 1, 1), (3, 2, 4, 32, 2, 1), (3, 2, 4, 48, 2, 1), (3, 2, 4, 96, 3, 0),
        (3, 1, 6, 112, 5, 0), (3, 2, 6, 192, 8, 0))  # fmt: skip
V2_S = ((3, 1, 1, 24, 2, 1), (3, 2, 4, 48, 4, 1), (3, 2, 4, 64, 4, 1), (3, 2, 4, 128, 6, 0),
        (3, 1, 6, 160, 9, 0), (3, 2, 6, 256, 15, 0))  # fmt: skip


@dataclass(frozen=True)
class Release:
    """One of the released networks: its scope, its rows, and how they are scaled."""

    scope: str
    rows: tuple[tuple[int, ...], ...]
    family: str  # b, lite, edgetpu or v2
    width: float = 1.0
    depth: float = 1.0
    stem: int = 32

    def channels(self, count: int) -> int:
        scaled = count * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if self.family != "v2" and rounded < 0.9 * scaled else rounded


#: Our name -> the release.
RELEASES = {
    "b0": Release("efficientnet-b0", V1, "b"),
    "b3": Release("efficientnet-b3", V1, "b", 1.2, 1.4),
    "lite0": Release("efficientnet-lite0", V1, "lite"),
    "lite2": Release("efficientnet-lite2", V1, "lite", 1.1, 1.2),
    "edgetpu-s": Release("efficientnet-edgetpu-S", EDGE, "edgetpu"),
    "edgetpu-l": Release("efficientnet-edgetpu-L", EDGE, "edgetpu", 1.2, 1.4),
    "v2-b0": Release("efficientnetv2-b0", V2_B, "v2"),
    "v2-b2": Release("efficientnetv2-b2", V2_B, "v2", 1.1, 1.2),
    "v2-s": Release("efficientnetv2-s", V2_S, "v2", stem=24),
}


@dataclass
class Network:
    """A release with seeded random variables: ``variables`` by full name, as training leaves them.

    The first call makes the variables; batch statistics become those of its batch, moved a little,
    so that signals stay alive.
    """

    release: Release
    classes: int = 10
    seed: int = 0
    channels: int = 3  # of the images
    variables: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(self.seed)
        self(pictures(64, count=24, seed=99)[..., : self.channels])

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of normalised images NHWC."""
        counts: Counter[str] = Counter()
        release, rows = self.release, self.release.rows
        fixed = release.family == "lite"
        stem = release.stem if fixed else release.channels(release.stem)
        x = tf.constant(images)
        x = self._act(self._norm(self._conv(x, "stem", stem, 3, 2, counts), "stem", counts))
        index, source = 0, release.channels(24) if release.family == "edgetpu" else stem
        for place, (kernel, stride, expansion, out, repeats, fused) in enumerate(rows):
            if not (fixed and place in (0, len(rows) - 1)):
                repeats = math.ceil(repeats * release.depth)
            for repeat in range(repeats):
                last, channels = x, release.channels(out)
                step, wide = stride if repeat == 0 else 1, source * expansion
                block = self._fused if fused else self._mbconv
                scope = f"blocks_{index}"
                x = block(x, scope, kernel, step, expansion, source, wide, channels, counts)
                skips = not (release.family == "edgetpu" and place == 0)
                if skips and step == 1 and source == channels:
                    x = x + last
                source, index = channels, index + 1
        head = 1280 if fixed else release.channels(1280)
        x = self._act(self._norm(self._conv(x, "head", head, 1, 1, counts), "head", counts))
        x = tf.reduce_mean(x, [1, 2])
        weight = self._variable("head/dense/kernel", (head, self.classes), head**-0.5)
        return np.asarray(x @ weight + self._variable("head/dense/bias", (self.classes,), 0.5))

    def _mbconv(self, x, scope, kernel, step, expansion, source, wide, channels, counts):
        if expansion != 1:
            x = self._act(self._norm(self._conv(x, scope, wide, 1, 1, counts), scope, counts))
        name = f"{scope}/depthwise_conv2d/depthwise_kernel"
        weight = self._variable(name, (kernel, kernel, wide, 1), 1 / kernel)
        x = tf.nn.depthwise_conv2d(x, weight, [1, step, step, 1], "SAME")
        x = self._act(self._norm(x, scope, counts))
        if self.release.family in ("b", "v2"):
            gate = tf.reduce_mean(x, [1, 2], keepdims=True)
            inner = f"{scope}/se"
            gate = self._conv(gate, inner, max(1, int(source * 0.25)), 1, 1, counts, bias=True)
            gate = self._conv(self._act(gate), inner, wide, 1, 1, counts, bias=True)
            x = x * tf.sigmoid(gate)
        return self._norm(self._conv(x, scope, channels, 1, 1, counts), scope, counts)

    def _fused(self, x, scope, kernel, step, expansion, source, wide, channels, counts):
        late = self.release.family == "edgetpu"  # its stride is the projection's
        if expansion == 1:
            x = self._conv(x, scope, channels, kernel, step, counts)
            return self._act(self._norm(x, scope, counts))
        x = self._conv(x, scope, wide, kernel, 1 if late else step, counts)
        x = self._act(self._norm(x, scope, counts))
        x = self._conv(x, scope, channels, 1, step if late else 1, counts)
        return self._norm(x, scope, counts)

    def _conv(self, x, scope, channels, kernel, stride, counts, bias=False):  # type: ignore[no-untyped-def]
        name = _numbered(f"{scope}/conv2d", counts)
        shape = (kernel, kernel, x.shape[-1], channels)
        weight = self._variable(f"{name}/kernel", shape, math.prod(shape[:3]) ** -0.5)
        x = tf.nn.conv2d(x, weight, stride, "SAME")
        return x + self._variable(f"{name}/bias", (channels,), 0.5) if bias else x

    def _norm(self, x, scope, counts):
        name = f"{self.release.scope}/{_numbered(f'{scope}/tpu_batch_normalization', counts)}"
        if f"{name}/gamma" not in self.variables:
            mean, variance = (np.asarray(v) for v in tf.nn.moments(x, [0, 1, 2]))
            draw = self._rng.uniform
            self.variables |= {
                f"{name}/gamma": draw(0.7, 1.3, mean.shape).astype(np.float32),
                f"{name}/beta": draw(-0.3, 0.3, mean.shape).astype(np.float32),
                f"{name}/moving_mean": mean + draw(-0.1, 0.1, mean.shape).astype(np.float32),
                f"{name}/moving_variance": (variance + 0.1)
                * draw(0.8, 1.2, mean.shape).astype(np.float32),
            }
        gamma, beta, mean, variance = (
            self.variables[f"{name}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)

    def _act(self, x):  # type: ignore[no-untyped-def]
        kinds = {"lite": tf.nn.relu6, "edgetpu": tf.nn.relu}
        return kinds.get(self.release.family, tf.nn.swish)(x)

    def _variable(self, name: str, shape: tuple[int, ...], scale: float) -> Any:
        name = f"{self.release.scope}/{name}"
        if name not in self.variables:
            self.variables[name] = self._rng.normal(0, scale, shape).astype(np.float32)
        return self.variables[name]


def pictures(side: int, count: int = 2, seed: int = 1) -> NDArray[np.float32]:
    """Normalised pictures NHWC: coloured blobs, each another."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (count, 8, 8, 3)).astype(np.float32)
    repeats = -(-side // 8)
    return coarse.repeat(repeats, 1).repeat(repeats, 2)[:, :side, :side]


def save(prefix: Any, variables: dict[str, Any], dtypes: dict[str, Any] | None = None) -> None:
    """A checkpoint by the kernel under TensorFlow 1's Saver; ``dtypes`` casts some of them."""
    tensors = [tf.cast(v, (dtypes or {}).get(n, v.dtype)) for n, v in variables.items()]
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(variables),
        shape_and_slices=[""] * len(tensors),
        tensors=tensors,
    )


def as_trained(variables: dict[str, Any], averages: bool = True) -> dict[str, Any]:
    """What a training run's checkpoint holds: raw variables, averages, slots, the step.

    The averages are the given variables, the raw ones are others.
    """
    found: dict[str, Any] = {"global_step": np.array(109_000, np.int64)}
    for name, values in variables.items():
        found[name] = values * np.float32(0.5) if averages else values
        if averages:
            found[f"{name}/ExponentialMovingAverage"] = values
        if "moving" not in name:
            found[f"{name}/RMSProp"] = found[f"{name}/RMSProp_1"] = np.ones_like(values)
    return found


def _numbered(name: str, counts: Counter[str]) -> str:
    counts[name] += 1
    return name if counts[name] == 1 else f"{name}_{counts[name] - 1}"
