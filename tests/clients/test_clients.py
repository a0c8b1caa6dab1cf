"""Programs that nobody here wrote open our files and answer as we do, from the file alone.

Photos that we have cropped and resized must give the same answers; whole photos, which a client
crops and resizes in its own way, nearly so. The clients' scripts import nothing of edge-effnet.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from clients import answers, environments
from edge_effnet.formats import RUNNABLE
from support.labelled_photos import DATA, Files, LabelledPhotos

PHOTOS = 50
#: Share of whole photos on which a client's own crop and resizing may still change the answer.
SPARED = 0.14
SWISH = DATA / "weights" / "efficientnetv2-b0_imagenet_int8-head.safetensors"

tflite_files = pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])


@pytest.fixture(scope="session")
def photos(imagenet_dev: LabelledPhotos) -> list[Path]:
    paths = imagenet_dev.paths("evaluation")
    return paths[:: len(paths) // PHOTOS][:PHOTOS]


@pytest.fixture(scope="session")
def lite0_files(imagenet_dev: LabelledPhotos, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Lite0's nine files by (format, precision), on fewer calibration photos than elsewhere."""
    calibration = imagenet_dev.paths("calibration")[::4]
    out, precisions = tmp_path_factory.mktemp("lite0"), ("fp32", "fp16", "int8")
    with pytest.warns(UserWarning, match="photos"):
        paths = edge_effnet.export(
            edge_effnet.load("lite0"), precisions=precisions, calibration=calibration, out=out
        )
    keys = [(name, precision) for precision in precisions for name in RUNNABLE]
    return dict(zip(keys, paths, strict=True))


@pytest.fixture(scope="session")
def prepared(
    photos: list[Path], lite0_files: Files, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    """The photos as Lite0 sees them; V2-B0 sees the same."""
    preprocess = edge_effnet.open(lite0_files["tflite", "fp32"]).card.preprocess
    return answers.prepare(photos, preprocess, tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def swish_files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """V2-B0 in float32: swish, and another mean and deviation for each colour."""
    if not SWISH.is_file():
        pytest.skip(f"there is no {SWISH}; set EDGE_EFFNET_DATA to the data")
    model = edge_effnet.load("v2-b0", weights=SWISH)
    preprocess = model.info.preprocess
    assert len(set(preprocess.mean)) == len(set(preprocess.std)) == 3
    paths = edge_effnet.export(model, precisions=["fp32"], out=tmp_path_factory.mktemp("swish"))
    return {(name, "fp32"): path for name, path in zip(RUNNABLE, paths, strict=True)}


# MediaPipe Tasks: normalisation and names from the TFLite Metadata


def ask_mediapipe(file: Path, photos: list[Path], *options: str) -> list[list[answers.Answer]]:
    return answers.ask("mediapipe", "ask_mediapipe.py", file, photos, *options)


@tflite_files
def test_mediapipe_gives_our_logits(
    lite0_files: Files, photos: list[Path], prepared: list[Path], precision: str
) -> None:
    file = lite0_files["tflite", precision]
    ours, theirs = answers.ours(file, photos), ask_mediapipe(file, prepared)
    assert ours.same_top1(theirs) == PHOTOS
    for row, found in zip(ours.logits, theirs, strict=True):
        assert [each.score for each in found] == pytest.approx(sorted(row)[:-6:-1], abs=1e-4)
        assert all(each.label == ours.labels[each.index] for each in found)


def test_mediapipe_normalises_each_colour(
    swish_files: Files, photos: list[Path], prepared: list[Path]
) -> None:
    file = swish_files["tflite", "fp32"]
    ours, theirs = answers.ours(file, photos), ask_mediapipe(file, prepared)
    assert ours.same_top1(theirs) == PHOTOS
    best = [row[0].score for row in theirs]
    np.testing.assert_allclose(best, ours.logits.max(axis=1), atol=1e-3)


def test_mediapipe_crops_by_its_region_of_interest(lite0_files: Files, photos: list[Path]) -> None:
    file = lite0_files["tflite", "int8"]
    ours = answers.ours(file, photos)
    crop = str(edge_effnet.open(file).card.preprocess.crop)
    assert ours.same_top1(ask_mediapipe(file, photos, "--centre", crop)) >= PHOTOS * (1 - SPARED)
    assert ours.same_top1(ask_mediapipe(file, photos)) >= PHOTOS * (1 - SPARED)


# OpenVINO Model API: everything from model_info


MODEL_API_FILES = [
    (name, precision) for name in ("openvino", "onnx") for precision in ("fp32", "fp16", "int8")
]


def ask_model_api(file: Path, photos: list[Path]) -> list[list[answers.Answer]]:
    return answers.ask("model-api", "ask_model_api.py", file, photos)


def spaceless(ours: answers.Ours) -> answers.Ours:
    """Its labels are separated by spaces, so names cannot hold any."""
    return answers.Ours(ours.logits, tuple(name.replace(" ", "_") for name in ours.labels))


@pytest.mark.parametrize(("format_name", "precision"), MODEL_API_FILES)
def test_model_api_gives_our_probabilities(
    lite0_files: Files, photos: list[Path], prepared: list[Path], format_name: str, precision: str
) -> None:
    file = lite0_files["openvino", precision]
    ours = spaceless(answers.ours(file, photos))
    theirs = ask_model_api(lite0_files[format_name, precision], prepared)
    if format_name == "openvino":
        best = [found[0].score for found in theirs]
        # Its preprocessing becomes part of the network, whose first integer layer then rounds anew.
        near = 0.05 if precision == "int8" else 1e-3
        np.testing.assert_allclose(best, ours.probabilities().max(axis=1), atol=near)
    assert ours.same_top1(theirs) == PHOTOS


def test_model_api_normalises_each_colour(
    swish_files: Files, photos: list[Path], prepared: list[Path]
) -> None:
    file = swish_files["openvino", "fp32"]
    ours, theirs = spaceless(answers.ours(file, photos)), ask_model_api(file, prepared)
    assert ours.same_top1(theirs) == PHOTOS
    best = [found[0].score for found in theirs]
    np.testing.assert_allclose(best, ours.probabilities().max(axis=1), atol=1e-3)


def test_model_api_crops_and_resizes(lite0_files: Files, photos: list[Path]) -> None:
    file = lite0_files["openvino", "int8"]
    ours = spaceless(answers.ours(file, photos))
    assert ours.same_top1(ask_model_api(file, photos)) >= PHOTOS * (1 - SPARED)


# tflite-micro: integer kernels written for microcontrollers


def test_tflite_micro_computes_the_same_integers(
    lite0_files: Files, photos: list[Path], tmp_path: Path
) -> None:
    """Those of LiteRT's reference kernels but for a rare step; our top-1 comes from XNNPACK's."""
    file = lite0_files["tflite", "int8"]
    classify = edge_effnet.open(file, threads=1)
    pixels = np.stack([classify.card.preprocess.pixels(photo) for photo in photos])
    np.save(tmp_path / "pixels.npy", pixels)
    python = environments.environment("tflite-micro") / "python"
    script = answers.HERE / "ask_tflite_micro.py"
    environments.run([python, script, file, tmp_path / "pixels.npy", tmp_path / "logits.npy"])
    micro = np.load(tmp_path / "logits.npy")
    assert micro.dtype == np.uint8
    steps = np.abs(micro[:10].astype(int) - reference_logits(file, pixels[:10]))
    assert steps.max() <= 1
    assert (steps == 0).mean() > 0.999
    ours = classify.logits(photos)
    chosen = ours[np.arange(PHOTOS), micro.argmax(axis=1)]
    assert (chosen == ours.max(axis=1)).sum() >= PHOTOS - 1  # XNNPACK may round a close one


def reference_logits(file: Path, pixels: np.ndarray) -> np.ndarray:
    """What LiteRT's reference kernels make of uint8 pixels [n, height, width, 3]."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(file), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    (first,), (last,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in pixels:
        interpreter.set_tensor(first["index"], image[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(last["index"])[0].copy())
    return np.stack(rows)


# benchmark_app: OpenVINO's own measuring tool


def benchmark(file: Path, folder: Path, photos: Path) -> tuple[dict, list[str]]:
    """The tool's results, and the kernels that its CPU plugin ran the convolutions with."""
    tool = environments.environment("model-api") / "benchmark_app"
    command = f"-d CPU -niter 20 -hint none -nstreams 1 -nthreads 1 -report_folder {folder}"
    extra = f"-infer_precision f32 -report_type no_counters -json_stats -exec_graph_path {folder}"
    options = [*command.split(), *f"{extra}/graph.xml".split()]
    environments.run([tool, "-m", file, "-i", photos, *options])
    results = json.loads((folder / "benchmark_report.json").read_text())["execution_results"]
    layers = (folder / "graph.xml").read_text().split("<layer ")
    kernels = [
        kernel[1]
        for layer in layers
        if 'type="Convolution"' in layer
        and (kernel := re.search(r'primitiveType="([^"]*)"', layer)) is not None
    ]
    return results, kernels


@pytest.mark.parametrize(("format_name", "precision"), MODEL_API_FILES)
def test_benchmark_app_runs_every_file(
    lite0_files: Files, prepared: list[Path], tmp_path: Path, format_name: str, precision: str
) -> None:
    results, kernels = benchmark(lite0_files[format_name, precision], tmp_path, prepared[0].parent)
    assert int(results["total number of iterations"]) == 20
    assert float(results["latency (ms)"]) > 0
    assert len(kernels) == 49
    integer = [kernel.lower().endswith("i8") for kernel in kernels]
    assert all(integer) if precision == "int8" else not any(integer)
