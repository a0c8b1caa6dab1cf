"""Lite networks on real weights and photos; `expected_accuracy.json` holds the aims and bars.

``right_in_torch`` is how many photos the released checkpoint gets right in PyTorch, in the network
that tests/test_parity.py builds by hand.
"""

from __future__ import annotations

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
from numpy.typing import NDArray

from edge_effnet.calibration.fidelity import compare
from edge_effnet.card import ModelCard
from edge_effnet.runtime.opening import open_model
from support.labelled_photos import Files, LabelledPhotos
from support.photo_statistics import AIMS, EXPECTED, paired, reaches

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

    def answers(self, format_name: str, precision: str) -> NDArray[np.intp]:
        return self.logits[format_name, precision].argmax(axis=1)

    def right(self, format_name: str, precision: str) -> NDArray[np.bool_]:
        """Which photos it answers rightly."""
        return self.answers(format_name, precision) == self.targets

    def agrees(self, format_name: str, precision: str) -> NDArray[np.bool_]:
        """On which photos it answers as the same format's fp32 file does."""
        return self.answers(format_name, precision) == self.answers(format_name, "fp32")

    def sqnr_db(self, format_name: str, precision: str) -> float:
        """Of the logits, against the same format's fp32 file."""
        return compare(
            self.logits[format_name, "fp32"], self.logits[format_name, precision]
        ).sqnr_db


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
        EXPECTED["networks"][request.param],
        np.array(imagenet_dev.targets("evaluation")),
        pixels,
        files,
        dict(zip(files, logits, strict=True)),
    )


def test_all_photos_count(measured: Measured) -> None:
    assert {values.shape for values in measured.logits.values()} == {
        (measured.expected["count"], 1000)
    }


@pytest.mark.parametrize("format_name", FORMATS)
def test_fp32_is_as_accurate_as_the_checkpoint_in_torch(
    measured: Measured, format_name: str
) -> None:
    """Another crop, padding or BatchNorm epsilon changes many answers; another processor none."""
    right = int(measured.right(format_name, "fp32").sum())
    assert abs(right - measured.expected["right_in_torch"]) <= AIMS["fp32"]["photos_apart"]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_fp32_logits_are_the_same_in_all_formats(measured: Measured, one: str, other: str) -> None:
    """A writer that drops or moves a weight errs by whole logits; rounding by 1e-5."""
    difference = np.abs(measured.logits[one, "fp32"] - measured.logits[other, "fp32"])
    assert difference.max() < AIMS["fp32"]["logit_difference"]


@pytest.mark.parametrize("format_name", FORMATS)
def test_fp16_agrees_with_fp32(measured: Measured, format_name: str) -> None:
    """Weights of fewer than ten bits of mantissa lose 6 dB for each bit."""
    assert measured.sqnr_db(format_name, "fp16") >= AIMS["fp16"]["sqnr_db"]
    assert reaches(measured.agrees(format_name, "fp16"), AIMS["fp16"]["agreement"])


@pytest.mark.parametrize("format_name", FORMATS)
def test_int8_keeps_the_logits(measured: Measured, format_name: str) -> None:
    """Lite0 without bias correction has 19.5 dB: 5 below its bars."""
    bar = measured.expected["int8"][format_name]["sqnr_db"]
    assert measured.sqnr_db(format_name, "int8") >= bar


@pytest.mark.parametrize("format_name", FORMATS)
def test_int8_agrees_with_fp32(measured: Measured, format_name: str) -> None:
    """An integer kernel fed wrongly (a zero point, a channel order) agrees on a few percent."""
    assert reaches(measured.agrees(format_name, "int8"), AIMS["int8"]["agreement"])


@pytest.mark.parametrize("format_name", FORMATS)
def test_int8_loses_little_accuracy(measured: Measured, format_name: str) -> None:
    """Noise that is no longer symmetric costs right answers; chance moves as many either way."""
    drop = paired(measured.right(format_name, "fp32"), measured.right(format_name, "int8"))
    assert drop.at_most(AIMS["int8"]["drop_points"])


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_int8_files_agree_with_each_other(measured: Measured, one: str, other: str) -> None:
    """Other weights in one format: two independent noises, 23 dB apart on Lite0."""
    between = compare(measured.logits[one, "int8"], measured.logits[other, "int8"])
    assert between.sqnr_db >= measured.expected["int8"]["between_formats_sqnr_db"]
    same = measured.answers(one, "int8") == measured.answers(other, "int8")
    assert reaches(same, AIMS["int8"]["agreement_between_formats"])
    better, worse = measured.right(one, "int8"), measured.right(other, "int8")
    assert paired(better, worse).at_most(AIMS["int8"]["between_formats_points"])
    assert paired(worse, better).at_most(AIMS["int8"]["between_formats_points"])


WITHOUT_VNNI = """
import sys
import numpy as np
from edge_effnet.runtime.opening import open_model
classifier = open_model(sys.argv[1], threads=1)
np.save(sys.argv[3], [classifier.logits_of_pixels(photo) for photo in np.load(sys.argv[2])])
"""


@pytest.mark.parametrize("measured", ["efficientnet-lite0"], indirect=True)
def test_int8_holds_on_machines_without_vnni(measured: Measured, tmp_path: Path) -> None:
    """Their 8-bit products saturate; without the pair rule on weights most answers are wrong."""
    file, pixels, made = (
        measured.files["openvino", "int8"],
        tmp_path / "p.npy",
        tmp_path / "l.npy",
    )
    assert ModelCard.from_json(open_model(file).runner.card_text() or "").quantization.avx2_safe
    np.save(pixels, measured.pixels)
    subprocess.run(
        [sys.executable, "-c", WITHOUT_VNNI, file, pixels, made],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        check=True,
    )
    logits, reference = np.load(made), measured.logits["openvino", "fp32"]
    assert compare(reference, logits).sqnr_db >= measured.expected["int8"]["openvino"]["sqnr_db"]
    assert reaches(logits.argmax(1) == reference.argmax(1), AIMS["int8"]["agreement"])
    drop = paired(measured.right("openvino", "fp32"), logits.argmax(1) == measured.targets)
    assert drop.at_most(AIMS["int8"]["drop_points"])
