"""Arm's TOSA reference model gives the integers of LiteRT's reference kernels.

Fails if a writer stores what the Ethos-U's integer profile computes otherwise.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.errors import ModelFileError
from edge_effnet.runtime.devices.tosa import TosaRunner
from support.labelled_photos import DATA, LabelledPhotos

WEIGHTS = {
    "efficientnet-lite0": "imagenet",
    "efficientnetv2-b0": str(DATA / "weights" / "efficientnetv2-b0_imagenet_int8-head.safetensors"),
}
PHOTOS = 20


@pytest.mark.parametrize("variant", WEIGHTS)
def test_integers(variant: str, imagenet_dev: LabelledPhotos, tmp_path: Path) -> None:
    """LiteRT's FULLY_CONNECTED rounds once, the NPU and tflite-micro twice: by hand here."""
    if not (WEIGHTS[variant] == "imagenet" or Path(WEIGHTS[variant]).is_file()):
        pytest.skip(f"there is no {WEIGHTS[variant]}; set EDGE_EFFNET_DATA to the data")
    (file,) = edge_effnet.export(
        edge_effnet.load(variant, weights=WEIGHTS[variant]),
        calibration=imagenet_dev.paths("calibration")[:50],
        formats="tflite",
        precisions="int8",
        io="int8",
        out=tmp_path,
        progress=False,
    )
    classify = edge_effnet.open(file, threads=1)
    photos = imagenet_dev.paths("evaluation")[:: 1000 // PHOTOS][:PHOTOS]
    images = [classify.tensor(classify.card.preprocess.pixels(photo)) for photo in photos]
    runner = TosaRunner(file.read_bytes(), str(file))
    reference = ReferenceKernels(file)
    apart = 0
    for image in images:
        logits = runner.run(image)[0]
        found = np.rint(logits / np.float32(reference.scale)).astype(int) + reference.zero_point
        expected, litert = reference.logits(image)
        np.testing.assert_array_equal(found, expected)
        assert np.abs(found - litert).max() <= 1
        apart += int((found != litert).sum())
    assert apart <= 0.002 * PHOTOS * 1000
    assert runner.card_text() == classify.card.to_json()


def test_float_files_are_refused(tmp_path: Path) -> None:
    model = edge_effnet.load("lite0", weights="random", resolution=64)
    (file,) = edge_effnet.export(model, formats="tflite", precisions="fp32", out=tmp_path)
    with pytest.raises(ModelFileError, match="computes in float32, which an Ethos-U cannot"):
        TosaRunner(file.read_bytes(), str(file))


class ReferenceKernels:
    """LiteRT's reference kernels, with the last layer's rounding done anew."""

    def __init__(self, file: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.interpreter = Interpreter(
            model_path=str(file),
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        self.interpreter.allocate_tensors()
        last = self.interpreter._get_ops_details()[-1]
        assert last["op_name"] == "FULLY_CONNECTED"
        details = {item["index"]: item for item in self.interpreter.get_tensor_details()}
        inputs = [details[int(index)] for index in last["inputs"]]
        self.features, self.output = inputs[0], details[int(last["outputs"][0])]
        self.weight, self.bias = (self.value(each).astype(np.int64) for each in inputs[1:])
        scales = [each["quantization_parameters"]["scales"].astype(np.float64) for each in inputs]
        self.scale, self.zero_point = self.output["quantization"]
        self.multiplier, self.shift = fixed_point(scales[0] * scales[1] / np.float64(self.scale))

    def value(self, detail: dict) -> np.ndarray:
        return self.interpreter.get_tensor(detail["index"])

    def logits(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Integers of the logits: rounded twice, and LiteRT's."""
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], image)
        self.interpreter.invoke()
        features = self.value(self.features)[0].astype(np.int64) - self.features["quantization"][1]
        sums = self.weight @ features + self.bias
        rounded = twice(sums, self.multiplier, self.shift) + self.zero_point
        return np.clip(rounded, -128, 127), self.value(self.output)[0].astype(int)


def fixed_point(scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers in [2**30, 2**31] and right shifts, as QuantizeMultiplier (TFLite) has them."""
    fraction, exponent = np.frexp(scale)
    multiplier = np.floor(fraction * 2**31 + 0.5).astype(np.int64)
    over = multiplier == 2**31
    return np.where(over, multiplier // 2, multiplier), -(exponent + over)


def twice(values: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """gemmlowp's rounding: the high half of the product to nearest, then the shift to nearest."""
    product = values * multiplier
    high = np.where(product >= 0, product + 2**30, product + 1 - 2**30)
    high = np.trunc(high / 2**31).astype(np.int64)
    half = (np.int64(1) << shift) >> 1
    return np.where(high >= 0, (high + half) >> shift, -((-high + half) >> shift))
