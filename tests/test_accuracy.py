"""The accuracy bars on real weights and photos; `expected_accuracy.json` holds them all.

``right_in_torch`` is how many photos the released checkpoint gets right in PyTorch, in the network
that tests/test_parity.py builds by hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Files, LabelledPhotos
from numpy.typing import NDArray

from edge_effnet.card import ModelCard
from edge_effnet.runtime.opening import open_model

EXPECTED = json.loads(Path(__file__).with_name("expected_accuracy.json").read_text())
BARS = EXPECTED["bars"]
FORMATS = ("tflite", "onnx", "openvino")
PAIRS = list(combinations(FORMATS, 2))
Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Measured:
    """What the nine files of one variant answer: float32 [photos, 1000] by (format, precision)."""

    expected: Mapping[str, Any]
    targets: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    files: Files
    logits: Mapping[tuple[str, str], Logits]

    def top1(self, format_name: str, precision: str) -> float:
        return float((self.answers(format_name, precision) == self.targets).mean())

    def answers(self, format_name: str, precision: str) -> NDArray[np.intp]:
        return self.logits[format_name, precision].argmax(axis=1)

    def agreement(self, format_name: str, precision: str) -> float:
        """With the same format's fp32 file."""
        same = self.answers(format_name, precision) == self.answers(format_name, "fp32")
        return float(same.mean())

    def int8_bar(self, name: str) -> float:
        """The bar, or what was measured where the data file says that it is missed, and why."""
        missed = self.expected.get("missed", {"int8": {}})["int8"]
        return float(missed.get(name, BARS["int8"][name]))

    def drop(self, format_name: str, precision: str) -> float:
        return 100 * (self.top1(format_name, "fp32") - self.top1(format_name, precision))


def answer_all(path: Path, pixels: NDArray[np.uint8]) -> Logits:
    classifier = open_model(path, threads=1)
    return np.stack([classifier.logits_of_pixels(photo) for photo in pixels])


@pytest.fixture(
    scope="module",
    params=[
        "efficientnet-lite0",
        pytest.param("efficientnet-lite1", marks=pytest.mark.slow),
        pytest.param("efficientnet-lite2", marks=pytest.mark.slow),
    ],
)
def measured(
    request: pytest.FixtureRequest,
    exported: Callable[[str], Files],
    imagenet_dev: LabelledPhotos,
) -> Measured:
    files = exported(request.param)
    preprocess = open_model(files["onnx", "fp32"], threads=1).card.preprocess
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        pixels = np.stack(list(pool.map(preprocess.pixels, imagenet_dev.paths("evaluation"))))
        logits = list(pool.map(lambda path: answer_all(path, pixels), files.values()))
    return Measured(
        EXPECTED["variants"][request.param],
        np.array(imagenet_dev.targets("evaluation")),
        pixels,
        files,
        dict(zip(files, logits, strict=True)),
    )


def test_all_photos_count(measured: Measured) -> None:
    assert {values.shape for values in measured.logits.values()} == {(EXPECTED["count"], 1000)}


@pytest.mark.parametrize("format_name", FORMATS)
def test_fp32_is_as_accurate_as_the_checkpoint_in_torch(
    measured: Measured, format_name: str
) -> None:
    in_torch = measured.expected["right_in_torch"] / EXPECTED["count"]
    difference = abs(measured.top1(format_name, "fp32") - in_torch)
    assert difference <= BARS["fp32"]["top1_difference"]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_fp32_logits_are_the_same_in_all_formats(measured: Measured, one: str, other: str) -> None:
    difference = np.abs(measured.logits[one, "fp32"] - measured.logits[other, "fp32"])
    assert difference.max() < BARS["fp32"]["logit_difference"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_fp16_agrees_with_fp32(measured: Measured, format_name: str) -> None:
    assert measured.agreement(format_name, "fp16") >= BARS["fp16"]["agreement"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_int8_agrees_with_fp32(measured: Measured, format_name: str) -> None:
    assert measured.agreement(format_name, "int8") >= measured.int8_bar("agreement")


@pytest.mark.parametrize("format_name", FORMATS)
def test_int8_loses_little_accuracy(measured: Measured, format_name: str) -> None:
    assert measured.drop(format_name, "int8") <= measured.int8_bar("drop_points")


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_int8_files_agree_with_each_other(measured: Measured, one: str, other: str) -> None:
    same = measured.answers(one, "int8") == measured.answers(other, "int8")
    assert same.mean() >= measured.int8_bar("agreement_between_formats")


WITHOUT_VNNI = """
import sys
import numpy as np
from edge_effnet.runtime.opening import open_model
classifier = open_model(sys.argv[1], threads=1)
np.save(sys.argv[3], [classifier.logits_of_pixels(photo) for photo in np.load(sys.argv[2])])
"""


@pytest.mark.parametrize("measured", ["efficientnet-lite0"], indirect=True)
def test_int8_holds_on_machines_without_vnni(measured: Measured, tmp_path: Path) -> None:
    """Their 8-bit products saturate; the pair rule keeps the weights below that."""
    file, pixels, logits = (
        measured.files["openvino", "int8"],
        tmp_path / "p.npy",
        tmp_path / "l.npy",
    )
    assert ModelCard.from_json(open_model(file).runner.card_text() or "").quantization.avx2_safe
    np.save(pixels, measured.pixels)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_VNNI, file, pixels, logits],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        check=True,
    )
    answers = np.load(logits).argmax(axis=1)
    reference = measured.answers("openvino", "fp32")
    assert (answers == reference).mean() >= BARS["int8"]["agreement"]
    right = [(given == measured.targets).mean() for given in (reference, answers)]
    assert 100 * (right[0] - right[1]) <= BARS["int8"]["drop_points"]
