"""Core ML, ExecuTorch and ncnn files compute our logits, each in the library that it is for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import edge_effnet
from clients import answers, environments
from edge_effnet import forward
from edge_effnet.card import ModelCard
from edge_effnet.heads import Function, Head, Linear, Normalization, Pooling, attach, trunk
from edge_effnet.model import Model
from edge_effnet.variants import ActivationKind
from support import tflite_models as small
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


@pytest.mark.parametrize("kind", get_args(ActivationKind))
@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_heads_in_ncnn(kind: ActivationKind, pooling: Pooling, tmp_path: Path) -> None:
    """Layer normalisation, hidden layers with every activation, and every pooling."""
    base = small.model_of(small.SWISH)
    rng, kept = np.random.default_rng(0), dict(base.weights)
    features = kept.pop("classifier.weight").shape[1] * (1 + ("+" in pooling))
    kept.pop("classifier.bias")
    weights = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((8, features), (4, 8))]
    first, last = (Linear(w, rng.normal(0, 0.3, len(w)).astype(np.float32)) for w in weights)
    norm = Normalization(rng.uniform(0.5, 1.5, 8), rng.normal(0, 0.3, 8), 1e-3)
    head = Head((first, Function(kind), norm, last), pooling)
    graph, values = attach(trunk(base.graph), kept, head)
    info = replace(base.info, labels=tuple("abcd"))
    model = replace(base, graph=graph, weights=values, info=info)
    (file,) = edge_effnet.export(model, formats=["ncnn"], precisions=["fp32"], out=tmp_path)
    side = graph.input_shape[1]
    inputs = planes(model, rng.integers(0, 256, (2, side, side, 3), dtype=np.uint8))
    got, _ = compute("ncnn", "ask_ncnn.py", file, np.ascontiguousarray(inputs))
    np.testing.assert_allclose(got, forward.logits(graph, values, inputs), atol=1e-4)


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
    opened, printed = compute("targets", "open_executorch.py", file, pixels)
    np.testing.assert_allclose(opened, got, atol=1e-5)
    assert printed.splitlines()[-1] == "executorch"
    tool = environments.environment("targets") / "edge-effnet"
    timed = environments.run([tool, "benchmark", file, "--runs", "2", "--json", "-"])
    (record,) = json.loads(timed)["records"]
    assert (record["format"], record["runtime"].split()[0]) == ("executorch", "executorch")


#: Photos, and the least agreement of int8 files with the float network.
INT8_PHOTOS, LEAST = 40, {"efficientnet-lite0": 0.95, "efficientnetv2-b0": 0.9}


@variants
def test_executorch_int8(variant: str, imagenet_dev: LabelledPhotos, tmp_path: Path) -> None:
    """A finished plan's integers, as in the .tflite file: both run XNNPACK.

    A warning would say what is left to portable kernels.
    """
    model = model_of(variant)
    judged = imagenet_dev.paths("evaluation")[:: 1000 // INT8_PHOTOS][:INT8_PHOTOS]
    pixels, logits = expected(model, judged, tmp_path)
    quantized = edge_effnet.calibrate(model, imagenet_dev.paths("calibration"))
    plan = quantized.save(tmp_path / "plan.safetensors")
    (tflite,) = edge_effnet.export(quantized, formats="tflite", precisions="int8", out=tmp_path)
    there = edge_effnet.open(tflite, threads=1).logits(judged)
    python = environments.environment("targets") / "python"
    printed = environments.run([python, answers.HERE / "export_executorch.py", plan, tmp_path])
    assert not printed
    file = tmp_path / f"{variant}-int8.pte"
    assert file.stat().st_size < 0.35 * 4 * model.graph.params
    prepared = replace(model, info=quantized.model.info)
    got, printed = compute("targets", "ask_executorch.py", file, planes(prepared, pixels))
    opened, _ = compute("targets", "open_executorch.py", file, pixels)
    np.testing.assert_array_equal(opened, got)
    assert (got.argmax(axis=1) == logits.argmax(axis=1)).mean() >= LEAST[variant]
    assert (got != there).mean() < 0.001  # measured: none of 200,000
    card = ModelCard.from_json(printed.splitlines()[-1])
    assert (card.precision, card.input) == ("int8", "normalised")
    assert card.preprocess == quantized.model.info.preprocess


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
