"""Preprocessing conventions that EfficientNets are trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from edge_effnet.card import InputKind
from edge_effnet.preprocess import Preprocess

Step = Literal["normalisation", "crop", "interpolation", "classes"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Normalisation:
    """input = (pixel - mean) / std, RGB; ``users`` are the libraries that train with it."""

    mean: Triple
    std: Triple
    users: str


#: Normalisations that EfficientNets are trained with. Sources: tensorflow/tpu efficientnet
#: (preprocessing.py, lite/efficientnet_lite_builder.py: MEAN_RGB 127, STDDEV_RGB 128),
#: google/automl efficientnetv2 (preprocessing.py: (image - 128) / 128), timm (data/constants.py),
#: keras.applications (imagenet_utils.preprocess_input, and EfficientNets that normalise inside the
#: graph).
NORMALISATIONS = (
    Normalisation((127.0,) * 3, (128.0,) * 3, "EfficientNet-Lite, EdgeTPU"),
    Normalisation((128.0,) * 3, (128.0,) * 3, "EfficientNetV2 of google/automl"),
    Normalisation((127.5,) * 3, (127.5,) * 3, "timm (0.5, 0.5), AdvProp, Keras 'tf'"),
    Normalisation((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "ImageNet mean and std"),
    Normalisation((0.0,) * 3, (255.0,) * 3, "0 to 1"),
    Normalisation((0.0,) * 3, (1.0,) * 3, "raw pixels, normalised in the graph"),
    Normalisation((123.68, 116.779, 103.939), (1.0,) * 3, "Keras 'caffe'"),
)


#: Text for each crop mode, printed before the crop fraction.
_CROPS = {"center": "", "squash": "squashed, ", "border": "borders, "}


@dataclass(frozen=True)
class Convention:
    """Preprocessing of the photos and numbering of the classes.

    ``bgr`` reverses the colour order after normalisation. ``shift`` is added to the true class
    index, for networks whose classes are numbered differently: 1 if class 0 is a background.
    """

    preprocess: Preprocess
    kind: InputKind = "normalised"
    bgr: bool = False
    shift: int = 0

    def describe(self, step: Step | None = None) -> str:
        """All settings as text; with ``step``, only the setting that is varied in this step."""
        pre = self.preprocess
        if self.kind == "pixels":
            formula = "pixels as they are"
        else:
            formula = f"(x - {_triple_text(pre.mean)}) / {_triple_text(pre.std)}"
        parts: dict[Step, str] = {
            "normalisation": f"{formula}, {'BGR' if self.bgr else 'RGB'}",
            "crop": f"{_CROPS[pre.crop_mode]}crop {pre.crop:.3f}",
            "interpolation": pre.interpolation,
            "classes": f"classes {self.shift:+d}",
        }
        if step is not None:
            return parts[step]
        return ", ".join(part for key, part in parts.items() if key != "classes" or self.shift)

    def options(self) -> str:
        """The preprocessing as command-line options of classify, evaluate and compare."""
        pre = self.preprocess
        mean, std = (",".join(f"{value:g}" for value in values) for values in (pre.mean, pre.std))
        crop = f"--crop {math.floor(pre.crop * 1e4) / 1e4:g} --crop-mode {pre.crop_mode}"
        filtered = f"--interpolation {pre.interpolation}"
        return f"--resolution {pre.size} {crop} {filtered} --mean {mean} --std {std}"


def _triple_text(values: Triple) -> str:
    return (
        f"{values[0]:g}"
        if len(set(values)) == 1
        else "[" + " ".join(map("{:g}".format, values)) + "]"
    )
