"""Lite networks on real weights and photos; `expected_accuracy.json` holds the aims and bars.

``right_in_torch`` is how many photos the released checkpoint gets right in PyTorch, in the network
that tests/converters/frameworks/test_parity.py builds by hand.
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
from edge_effnet.runtime.opening import open_model
from support.evaluation import Evaluation, Logits, Part
from support.labelled_photos import Files
from support.photo_statistics import AIMS, EXPECTED, paired, reaches

FORMATS = ("tflite", "onnx", "openvino")
PAIRS = list(combinations(FORMATS, 2))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]


#: fp32 of one format and all int8 files are judged on all photos. The other files are compared with
#: that one on every fourth: logits that are the same there come from the same network.
REFERENCE = ("onnx", "fp32")


@dataclass(frozen=True)
class Measured:
    """What the nine files of one variant answer."""

    expected: Mapping[str, Any]
    evaluation: Evaluation
    files: Files

    def part(self, format_name: str, precision: str) -> Part:
        """The photos that a file is judged on."""
        whole = precision == "int8" or (format_name, precision) == REFERENCE
        return "all" if whole else "fourth"

    def logits(self, format_name: str, precision: str) -> Logits:
        """float32 [photos, 1000]."""
        part = self.part(format_name, precision)
        return self.evaluation.logits(self.files[format_name, precision], part)

    def reference(self, format_name: str, precision: str) -> Logits:
        """Those of fp32 on the same photos."""
        rows = self.evaluation.rows(self.part(format_name, precision))
        return self.logits(*REFERENCE)[rows]

    def right(self, format_name: str, precision: str) -> NDArray[np.bool_]:
        """Which of all photos it answers rightly."""
        return self.logits(format_name, precision).argmax(axis=1) == self.evaluation.targets()

    def agrees(self, format_name: str, precision: str) -> NDArray[np.bool_]:
        """On which photos it answers as fp32 does."""
        logits, reference = (
            self.logits(format_name, precision),
            self.reference(format_name, precision),
        )
        return logits.argmax(axis=1) == reference.argmax(axis=1)

    def sqnr_db(self, format_name: str, precision: str) -> float:
        """Of the logits, against fp32."""
        reference, logits = (
            self.reference(format_name, precision),
            self.logits(format_name, precision),
        )
        return compare(reference, logits).sqnr_db


@pytest.fixture(
    scope="module",
    params=[
        "efficientnet-lite0",
        *(pytest.param(f"efficientnet-lite{n}", marks=pytest.mark.exhaustive) for n in (1, 2)),
    ],
)
def measured(
    request: pytest.FixtureRequest,
    exported: Callable[[str], Files],
    evaluation: Evaluation,
) -> Measured:
    measured = Measured(EXPECTED["networks"][request.param], evaluation, exported(request.param))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda key: measured.logits(*key), measured.files))
    return measured


def test_all_photos_count(measured: Measured) -> None:
    count = measured.expected["count"]
    for key in (REFERENCE, *((name, "int8") for name in FORMATS)):
        assert measured.logits(*key).shape == (count, 1000)


def test_fp32_is_as_accurate_as_the_checkpoint_in_torch(measured: Measured) -> None:
    """Another crop, padding or BatchNorm epsilon changes many answers; another processor none."""
    right = int(measured.right(*REFERENCE).sum())
    assert abs(right - measured.expected["right_in_torch"]) <= AIMS["fp32"]["photos_apart"]


@pytest.mark.parametrize("format_name", [name for name in FORMATS if name != REFERENCE[0]])
def test_fp32_logits_are_the_same_in_all_formats(measured: Measured, format_name: str) -> None:
    """A writer that drops or moves a weight errs by whole logits; rounding by 1e-5."""
    difference = np.abs(
        measured.logits(format_name, "fp32") - measured.reference(format_name, "fp32")
    )
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
    drop = paired(measured.right(*REFERENCE), measured.right(format_name, "int8"))
    assert drop.at_most(AIMS["int8"]["drop_points"])


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_int8_files_agree_with_each_other(measured: Measured, one: str, other: str) -> None:
    """Other weights in one format: two independent noises, 23 dB apart on Lite0."""
    between = compare(measured.logits(one, "int8"), measured.logits(other, "int8"))
    assert between.sqnr_db >= measured.expected["int8"]["between_formats_sqnr_db"]
    ours, theirs = (measured.logits(name, "int8").argmax(axis=1) for name in (one, other))
    same = ours == theirs
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
    file, pixels, made = measured.files["openvino", "int8"], tmp_path / "p.npy", tmp_path / "l.npy"
    classifier = open_model(file)
    assert classifier.card.quantization is not None
    assert classifier.card.quantization.avx2_safe
    rows = measured.evaluation.rows("fourth")
    np.save(pixels, measured.evaluation.pixels(classifier.card.preprocess)[rows])
    subprocess.run(
        [sys.executable, "-c", WITHOUT_VNNI, file, pixels, made],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"},
        check=True,
    )
    logits, reference = np.load(made), measured.logits(*REFERENCE)[rows]
    assert compare(reference, logits).sqnr_db >= measured.expected["int8"]["openvino"]["sqnr_db"]
    assert reaches(logits.argmax(1) == reference.argmax(1), AIMS["int8"]["agreement"])
    targets = measured.evaluation.targets("fourth")
    drop = paired(reference.argmax(1) == targets, logits.argmax(1) == targets)
    assert drop.at_most(AIMS["int8"]["drop_points"])
