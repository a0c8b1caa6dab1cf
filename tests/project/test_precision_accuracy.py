"""Accuracy of Lite0's other precisions, and of swish networks, on real weights and photos.

All are judged on the photos `val_*`; `expected_accuracy.json` holds the aims and bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edge_effnet import export, load
from edge_effnet.calibration.fidelity import compare
from support.evaluation import Evaluation, Logits, Part
from support.labelled_photos import DATA, Files
from support.photo_statistics import AIMS, EXPECTED, paired, reaches

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
for module in ("ai_edge_litert", "onnxruntime", "openvino", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

NETWORKS = EXPECTED["networks"]
CHECKPOINTS = {
    "efficientnetv2-b0": "efficientnetv2-b0_imagenet_int8-head.safetensors",
    "efficientnet-b0": "efficientnet-b0_imagenet_taught-top.safetensors",
}
VARIANTS = (
    "efficientnetv2-b0",
    pytest.param("efficientnet-b0", marks=pytest.mark.exhaustive),
)
FORMATS = {"tflite": ".tflite", "onnx": ".onnx", "openvino": ".xml"}
#: They are judged on the photos of ImageNet's validation set.
PART: Part = "validation"


@dataclass(frozen=True)
class Judge:
    """A network's files in ``folder``, and the float logits that judge them."""

    evaluation: Evaluation
    folder: Path
    variant: str
    reference: Logits

    def logits(self, name: str) -> Logits:
        """float32 [photos, 1000] of the file ``[folder/]precision.suffix``."""
        path = self.folder / name
        return self.evaluation.logits(path.with_name(f"{self.variant}-{path.name}"), PART)

    def check(self, name: str, sqnr_db: float, agreement: float, drop_points: float) -> None:
        """Compare a file with float32, as its bar and its aims say."""
        logits, targets = self.logits(name), self.evaluation.targets(PART)
        assert compare(self.reference, logits).sqnr_db >= sqnr_db
        answers, expected = logits.argmax(1), self.reference.argmax(1)
        assert reaches(answers == expected, agreement)
        assert paired(expected == targets, answers == targets).at_most(drop_points)


@pytest.fixture(scope="module")
def lite0(lite0_files: Files, evaluation: Evaluation, tmp_path_factory: Any) -> Judge:
    out, model = tmp_path_factory.mktemp("forms"), load("lite0")
    photos = evaluation.photos.paths("calibration")
    export(model, precisions=["w8", "dynamic"], calibration=photos, out=out)
    export(model, precisions="int8", per_tensor=True, calibration=photos, out=out)
    reference = evaluation.logits(lite0_files["onnx", "fp32"])[evaluation.rows(PART)]
    return Judge(evaluation, out, model.variant.name, reference)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name",
    [
        *(f"{form}{suffix}" for form in ("w8", "int8-per-tensor") for suffix in FORMATS.values()),
        "dynamic.tflite",
    ],
)
def test_other_precisions_keep_the_answers(lite0: Judge, name: str) -> None:
    """w8 and dynamic with the int8 file's integers keep 18 dB on V2-B0; without equalization and
    bias correction a file per tensor loses ten points."""
    aims = AIMS[name.partition(".")[0]]
    lite0.check(name, aims["sqnr_db"], aims["agreement"], aims["drop_points"])


@pytest.fixture(scope="module")
def swish(evaluation: Evaluation, tmp_path_factory: Any) -> Callable[[str], Judge]:
    """A swish network's judge, fp32 and default int8 files; once a module."""
    made: dict[str, Judge] = {}

    def judge(variant: str) -> Judge:
        if variant not in made:
            model, out = load("auto", checkpoint(variant)), tmp_path_factory.mktemp("swish")
            photos = evaluation.photos.paths("calibration")
            export(model, precisions="int8", calibration=photos, out=out)
            (path,) = export(model, formats="onnx", precisions="fp32", out=out)
            reference = evaluation.logits(path, PART)
            made[variant] = Judge(evaluation, out, model.variant.name, reference)
        return made[variant]

    return judge


def checkpoint(variant: str) -> Path:
    path = DATA / "weights" / CHECKPOINTS[variant]
    if not path.is_file():
        pytest.skip(f"there is no {path}; set EDGE_EFFNET_DATA to the data")
    return path


@pytest.mark.filterwarnings("ignore:.*is taken for lukemelas")
@pytest.mark.parametrize("variant", VARIANTS)
def test_swish_networks_are_read_as_they_are(swish: Callable[[str], Judge], variant: str) -> None:
    """A wrong normalisation, epsilon or order of blocks loses many of the photos in float."""
    judge, expected = swish(variant), NETWORKS[variant]
    targets = judge.evaluation.targets(PART)
    assert len(targets) == expected["count"]
    right = int((judge.reference.argmax(1) == targets).sum())
    assert abs(right - expected["right_in_float"]) <= AIMS["fp32"]["photos_apart"]


@pytest.mark.filterwarnings("ignore:.*is taken for lukemelas")
@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_swish_networks_keep_their_answers_in_int8(
    swish: Callable[[str], Judge], variant: str, format_name: str
) -> None:
    """Nearest rounding, min-max ranges or no bias correction lose 2.5 to 12 dB (on V2-B0)."""
    bars = NETWORKS[variant]["int8"][format_name]
    aims = NETWORKS[variant]["aims"]
    swish(variant).check(f"int8{FORMATS[format_name]}", bars["sqnr_db"], **aims)


@pytest.fixture(scope="module")
def best(swish: Callable[[str], Judge]) -> Judge:
    """V2-B0 with the files of recipe best in the folder ``best``."""
    variant = "efficientnetv2-b0"
    judge = swish(variant)
    photos = judge.evaluation.photos.paths("calibration")
    model = load("auto", checkpoint(variant))
    out = judge.folder / "best"
    export(model, precisions="int8", calibration=photos, recipe="best", out=out)
    return judge


@pytest.mark.exhaustive
@pytest.mark.parametrize("format_name", FORMATS)
def test_recipe_best_is_nearer_to_float(best: Judge, format_name: str) -> None:
    """Gates that multiply sigmoids first gain 0.5 dB or more; in the wrong order they lose it."""
    expected = NETWORKS[best.variant]
    bars, suffix = expected["int8-best"][format_name], FORMATS[format_name]
    best.check(f"best/int8{suffix}", bars["sqnr_db"], **expected["aims"])
    default, better = (
        compare(best.reference, best.logits(f"{folder}int8{suffix}")).sqnr_db
        for folder in ("", "best/")
    )
    assert better >= default + bars["gain_db"]


@pytest.mark.exhaustive
def test_swish_networks_keep_their_answers_in_w8(swish: Callable[[str], Judge]) -> None:
    """Integers fitted to rounded inputs, those of the int8 file, keep about half the decibels."""
    judge = swish("efficientnetv2-b0")
    model = load("auto", checkpoint(judge.variant))
    photos = judge.evaluation.photos.paths("calibration")
    export(model, formats="onnx", precisions="w8", calibration=photos, out=judge.folder)
    bars = NETWORKS[judge.variant]["w8"]["onnx"]
    judge.check("w8.onnx", bars["sqnr_db"], AIMS["w8"]["agreement"], AIMS["w8"]["drop_points"])
