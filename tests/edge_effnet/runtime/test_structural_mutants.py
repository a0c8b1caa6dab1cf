"""Structural mutants of .onnx and OpenVINO files: refused in a sentence, or they run.

tests/edge_effnet/runtime/test_litert.py holds those of .tflite files.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

for module in ("onnx", "onnxruntime", "openvino", "tflite"):
    pytest.importorskip(module, reason="the extra 'export'")

from edge_effnet import open as open_file  # noqa: E402
from edge_effnet.errors import ModelFileError  # noqa: E402
from edge_effnet.preprocess import Preprocess  # noqa: E402
from support.command import SIDE, file, without_card  # noqa: E402
from support.structural_mutants import ONNX, XML, onnx_mutant, xml_mutant  # noqa: E402

pytestmark = pytest.mark.slow

PHOTO = np.full((SIDE, SIDE, 3), 99, np.uint8)


def outcome(path: Path) -> str:
    """``refused`` or ``runs``; anything else a file does fails the test."""
    try:
        logits = open_file(path, threads=1, preprocess=Preprocess(SIDE, 0.875)).logits([PHOTO])
    except ModelFileError as error:
        message = str(error)
    else:
        assert logits.ndim == 2
        return "runs"
    assert str(path) in message
    assert "\n" not in message
    return "refused"


def outcomes(mutants: dict[Path, bytes]) -> Counter[str]:
    for path, data in mutants.items():
        path.write_bytes(data)
    with ThreadPoolExecutor(2) as pool:  # each waits for a child process
        return Counter(pool.map(outcome, mutants))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_onnx(precision: str, tmp_path: Path) -> None:
    data = without_card(file(precision, ".onnx"), tmp_path / "sound.onnx").read_bytes()
    mutants = {tmp_path / f"{kind}.onnx": onnx_mutant(data, kind, seed=0) for kind in ONNX}
    assert outcome(tmp_path / "sound.onnx") == "runs"
    assert outcomes(mutants)["refused"] > len(mutants) / 2


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_xml(precision: str, tmp_path: Path) -> None:
    sound = without_card(file(precision, ".xml"), tmp_path / "sound.xml")
    weights = sound.with_suffix(".bin").read_bytes()
    mutants = {
        tmp_path / f"{kind}-{seed}.xml": xml_mutant(sound.read_bytes(), kind, seed)
        for kind in XML
        for seed in range(2)
    }
    for path in mutants:
        path.with_suffix(".bin").write_bytes(weights)
    assert outcome(sound) == "runs"
    assert outcomes(mutants)["refused"] > len(mutants) / 2
