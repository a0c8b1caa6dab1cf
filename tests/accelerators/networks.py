"""The networks that accelerators are tried with, exported once a session."""

from __future__ import annotations

import pytest

from edge_effnet import export, load
from edge_effnet.formats import FORMATS
from support.labelled_photos import DATA, Files, LabelledPhotos
from support.shared import shared

PRECISIONS = ("fp32", "fp16", "int8")
_HEAD = DATA / "weights" / "efficientnetv2-b0_imagenet_int8-head.safetensors"
#: Variant -> checkpoint.
NETWORKS = {"efficientnet-lite0": "imagenet", "efficientnetv2-b0": str(_HEAD)}


def files_of(variant: str, photos: LabelledPhotos) -> Files:
    """TFLite and ONNX files of a variant, by (format, precision)."""
    weights = NETWORKS[variant]
    if weights != "imagenet" and not _HEAD.is_file():
        pytest.skip(f"there is no {_HEAD}; set EDGE_EFFNET_DATA to the data")
    folder = shared(
        f"{variant}-accelerators",
        lambda out: export(
            load(variant, weights),
            formats=("tflite", "onnx"),
            precisions=PRECISIONS,
            calibration=photos.paths("calibration"),
            out=out,
        ),
    )
    return {
        (name, precision): folder / f"{variant}-{precision}{FORMATS[name].suffix}"
        for precision in PRECISIONS
        for name in ("tflite", "onnx")
    }
