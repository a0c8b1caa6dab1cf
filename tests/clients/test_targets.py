"""Core ML, ExecuTorch and ncnn files compute our logits, each in the library that it is for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from clients import answers, environments
from edge_effnet.card import ModelCard
from edge_effnet.model import Model
from support.labelled_photos import DATA, LabelledPhotos

WEIGHTS = {
    "efficientnet-lite0": "imagenet",
    "efficientnetv2-b0": str(DATA / "weights" / "efficientnetv2-b0_imagenet_int8-head.safetensors"),
}
PHOTOS = 6

variants = pytest.mark.parametrize("variant", WEIGHTS)


@pytest.fixture(scope="session")
def photos(imagenet_dev: LabelledPhotos) -> list[Path]:
    return imagenet_dev.paths("evaluation")[:: 1000 // PHOTOS][:PHOTOS]


def model_of(variant: str) -> Model:
    if not (WEIGHTS[variant] == "imagenet" or Path(WEIGHTS[variant]).is_file()):
        pytest.skip(f"there is no {WEIGHTS[variant]}; set EDGE_EFFNET_DATA to the data")
    return edge_effnet.load(variant, weights=WEIGHTS[variant])


def expected(model: Model, photos: list[Path], folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [n, side, side, 3], and the logits of our ONNX file."""
    (file,) = edge_effnet.export(model, formats=["onnx"], precisions=["fp32"], out=folder)
    pixels = np.stack([model.info.preprocess.pixels(photo) for photo in photos])
    return pixels, edge_effnet.open(file, threads=1).logits(photos)


def compute(client: str, script: str, file: Path, inputs: np.ndarray) -> tuple[np.ndarray, str]:
    """What a client's script makes of ``inputs``, and what it printed."""
    given, made = file.parent / "inputs.npy", file.parent / "outputs.npy"
    np.save(given, inputs)
    python = environments.environment(client) / "python"
    printed = environments.run([python, answers.HERE / script, file, given, made])
    return np.load(made), printed


def planes(model: Model, pixels: np.ndarray) -> np.ndarray:
    return model.info.preprocess.normalise(pixels).transpose(0, 3, 1, 2)


def exported_there(variant: str, formats: str, precisions: str, out: Path) -> None:
    """Run the command line where torch, executorch and coremltools are."""
    tool = environments.environment("targets") / "edge-effnet"
    options = f"--formats {formats} --precisions {precisions} --out {out}".split()
    environments.run([tool, "export", variant, "--weights", WEIGHTS[variant], *options])


@variants
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_ncnn(variant: str, precision: str, photos: list[Path], tmp_path: Path) -> None:
    model = model_of(variant)
    pixels, logits = expected(model, photos, tmp_path)
    (file,) = edge_effnet.export(model, formats=["ncnn"], precisions=[precision], out=tmp_path)
    assert file.name == f"{variant}-{precision}.ncnn.param"
    got, _ = compute("ncnn", "ask_ncnn.py", file, planes(model, pixels))
    near = 1e-4 if precision == "fp32" else 0.05
    np.testing.assert_allclose(got, logits, atol=near)
    assert (got.argmax(axis=1) == logits.argmax(axis=1)).all()
    card = ModelCard.from_json(file.with_suffix(".json").read_text())
    assert (card.labels, card.precision) == (model.info.labels, precision)


@variants
def test_executorch(variant: str, photos: list[Path], tmp_path: Path) -> None:
    model = model_of(variant)
    pixels, logits = expected(model, photos, tmp_path)
    exported_there(variant, "executorch", "fp32", tmp_path)
    file = tmp_path / f"{variant}-fp32.pte"
    got, printed = compute("targets", "ask_executorch.py", file, planes(model, pixels))
    np.testing.assert_allclose(got, logits, atol=1e-4)
    card = ModelCard.from_json(printed.splitlines()[-1])
    assert card.labels == model.info.labels


@variants
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_coreml(variant: str, precision: str, photos: list[Path], tmp_path: Path) -> None:
    model = model_of(variant)
    pixels, logits = expected(model, photos, tmp_path)
    exported_there(variant, "coreml", precision, tmp_path)
    file = tmp_path / f"{variant}-{precision}.mlpackage"
    got, printed = compute("targets", "ask_coreml.py", file, pixels)
    near = 1e-4 if precision == "fp32" else 0.05
    likelihood = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(got, likelihood, atol=near)
    names = json.loads(printed.splitlines()[-1])
    assert len(set(names)) == len(names) == len(model.info.labels)
    given = zip(names, model.info.labels, strict=True)
    assert all(name.startswith(label) for name, label in given)
