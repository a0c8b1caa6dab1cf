"""The .tflite writer: what it computes, how the file is laid out, what it tells others."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_effnet import digest, network
from edge_effnet.calibration.plan import LayerPlan, QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import fused_activation
from edge_effnet.card import ModelCard
from edge_effnet.converters.formats.tflite.metadata import model_metadata
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.errors import QuantizationError
from edge_effnet.graph import Conv, Dense
from edge_effnet.model import Model
from edge_effnet.preprocess import IMAGENET_MEAN, IMAGENET_STD
from edge_effnet.registry import get_variant
from edge_effnet.runtime.litert import LiteRTRunner, read_card
from edge_effnet.runtime.tflite_verifier import check_structure, parse
from support import PATH
from support import tflite_models as small

tflite = pytest.importorskip("tflite", reason="the extra 'export'")
pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")

MODELS = {
    "lite": lambda: small.model_of(small.LITE),
    "lite-symmetric": lambda: small.model_of(small.LITE, padding="symmetric"),
    "swish": lambda: small.model_of(small.SWISH),
    "baseline": small.baseline,
}
CODES = {v: k for k, v in vars(tflite.BuiltinOperator).items() if not k.startswith("_")}
TYPES = {v: k.lower() for k, v in vars(tflite.TensorType).items() if not k.startswith("_")}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Model:
    return MODELS[request.param]()


@pytest.fixture(scope="module")
def plan(model: Model) -> QuantPlan:
    return small.min_max_plan(model, small.photos(6))


@pytest.fixture(scope="module")
def files(model: Model, plan: QuantPlan) -> dict[str, bytes]:
    return {
        "fp32": write(model, None, small.card_of(model)),
        "fp16": write(model, None, small.card_of(model, precision="fp16")),
        "int8": int8_file(model, plan),
    }


def int8_file(model: Model, plan: QuantPlan) -> bytes:
    return write(model, plan, small.card_of(model, precision="int8", input="pixels"))


def float_logits(model: Model, data: bytes, pixels: np.ndarray) -> np.ndarray:
    return LiteRTRunner(data, 1, "file").run(model.info.preprocess.normalise(pixels)[None])[0]


def decibels(signal: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10((signal**2).sum() / max(((signal - other) ** 2).sum(), 1e-20)))


def contents(data: bytes) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, int, Any]]]:
    """The model, its tensors by name, and (operator, version, record) in order."""
    parsed = parse(data)
    (subgraph,) = parsed["subgraphs"]
    tensors = {tensor["name"]: tensor for tensor in subgraph["tensors"]}
    assert len(tensors) == len(subgraph["tensors"]), "names are unique"
    codes = parsed["operator_codes"]
    operators = [
        (CODES[codes[op["code"]]["code"]], codes[op["code"]]["version"], op)
        for op in subgraph["operators"]
    ]
    return parsed, tensors, operators


# What it computes


def test_float_file_computes_the_graph(model: Model, files: dict[str, bytes]) -> None:
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        got = float_logits(model, files["fp32"], pixels)
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_half_file_is_near_and_small(model: Model, files: dict[str, bytes]) -> None:
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        assert decibels(expected, float_logits(model, files["fp16"], pixels)) > 50
    _, tensors, _ = contents(files["fp16"])
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            assert TYPES[tensors[f"{node.name}.weight.float16"]["type"]] == "float16"
            assert TYPES[tensors[f"{node.name}.bias"]["type"]] == "float32"


def test_int8_file_computes_what_the_plan_says(
    model: Model, plan: QuantPlan, files: dict[str, bytes]
) -> None:
    """Kernels may round a tie otherwise, which moves some logits by a step."""
    runner = LiteRTRunner(files["int8"], 1, "file")
    step = plan.quant_params[model.graph.output].scale
    for pixels in small.photos(6):
        expected = small.simulate(model, plan, pixels)
        assert np.abs(runner.run(pixels[None])[0] - expected).max() < 2.5 * step


def test_int8_takes_pixels_and_gives_bytes(
    model: Model, plan: QuantPlan, files: dict[str, bytes]
) -> None:
    """Lite's normalisation as a grid, (1 / 128, 127), moves to int8 exactly: (1 / 128, -1)."""
    _, tensors, operators = contents(files["int8"])
    output = plan.quant_params[model.graph.output]
    expected = {
        "image": ("uint8", 1 / 128, 127),
        "image.int8": ("int8", 1 / 128, -1),
        model.graph.output: ("int8", output.scale, output.zero_point - 128),
        "logits": ("uint8", output.scale, output.zero_point),
    }
    for name, (dtype, scale, zero_point) in expected.items():
        assert TYPES[tensors[name]["type"]] == dtype
        assert tensors[name]["quantization"]["scale"].tolist() == [scale]
        assert tensors[name]["quantization"]["zero_point"].tolist() == [zero_point]
    assert [operators[0][0], operators[-1][0]] == ["QUANTIZE", "QUANTIZE"]


@pytest.mark.parametrize("left_out", ["se", "stages.2.blocks.0.project", "stem.conv", "classifier"])
def test_layers_left_out_of_the_plan_stay_float(left_out: str) -> None:
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(6))
    layers = {name: layer for name, layer in plan.layers.items() if left_out not in name}
    mixed = replace(plan, layers=layers)
    data = int8_file(model, mixed)
    _, tensors, operators = contents(data)
    for name in plan.layers.keys() - layers.keys():
        assert TYPES[tensors[f"{name}.weight"]["type"]] == "float32"
    codes = [code for code, _, _ in operators]
    assert "DEQUANTIZE" in codes
    assert TYPES[tensors["logits"]["type"]] == "uint8"
    runner = LiteRTRunner(data, 1, "file")
    for pixels in small.photos(3):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        assert decibels(expected, runner.run(pixels[None])[0]) > 30


def test_dead_channels_are_harmless() -> None:
    """All-zero weights under a large bias, as 84 channels of the real Lite0 have them."""
    model = small.model_of(small.LITE)
    name = "stages.1.blocks.0.expand"
    weights = dict(model.weights)
    weights[f"{name}.weight"] = (
        weights[f"{name}.weight"] * (np.arange(48) % 4 != 0)[:, None, None, None]
    )
    model = replace(model, weights=weights)
    plan = small.min_max_plan(model, small.photos(3))
    runner = LiteRTRunner(int8_file(model, plan), 1, "file")
    for pixels in small.photos(3):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        assert decibels(expected, runner.run(pixels[None])[0]) > 25


# How the file is laid out


def test_files_pass_the_structural_check(files: dict[str, bytes]) -> None:
    for data in files.values():
        check_structure(data)


def test_names_survive(model: Model, files: dict[str, bytes]) -> None:
    fused = {node.name for node in model.graph if fused_activation(model.graph, node.name)}
    expected = {"image"} | {node.name for node in model.graph} - fused - {model.graph.output}
    for precision, data in files.items():
        parsed, tensors, _ = contents(data)
        assert expected <= tensors.keys()
        assert (model.graph.output in tensors) == (precision == "int8")
        (subgraph,) = parsed["subgraphs"]
        names = [tensor["name"] for tensor in subgraph["tensors"]]
        assert [names[n] for n in subgraph["inputs"]] == ["image"]
        assert [names[n] for n in subgraph["outputs"]] == ["logits"]
        (signature,) = parsed["signature_defs"]
        assert signature["key"] == "serving_default"
        assert [(e["name"], names[e["tensor"]]) for e in signature["inputs"]] == [
            ("image", "image")
        ]
        assert [e["name"] for e in signature["outputs"]] == ["logits"]


#: What TensorFlow's converter writes: float32 and int8. The runtimes take a lower one silently.
CONVERTER_VERSIONS = {
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 4),
    "ADD": (1, 2),
    "MUL": (1, 2),
    "LOGISTIC": (1, 2),
    "RELU": (1, 2),
    "MEAN": (1, 2),
    "MAX_POOL_2D": (1, 2),
    "PAD": (1, 2),
    "PADV2": (1, 2),
    "QUANTIZE": (1, 1),
}


def test_operator_versions_are_the_converters(files: dict[str, bytes]) -> None:
    for precision, data in files.items():
        parsed, _, operators = contents(data)
        versions = {(code, version) for code, version, _ in operators}
        expected = {
            (code, CONVERTER_VERSIONS[code][precision == "int8"])
            for code, _ in versions
            if code != "DEQUANTIZE"
        }
        assert versions == expected | ({("DEQUANTIZE", 3)} if precision == "fp16" else set())
        kinds = [(code["code"], code["version"]) for code in parsed["operator_codes"]]
        assert sorted(kinds) == sorted(set(kinds))
        assert all(code["old_code"] == min(code["code"], 127) for code in parsed["operator_codes"])


@pytest.mark.parametrize(("ratio", "version"), [(0.99, 2), (1.0, 3), (2.0, 3)])
def test_wide_multiplications_need_the_newer_operator(ratio: float, version: int) -> None:
    """``ratio`` is s_a * s_b / s_out of one gate, s_b being 1 / 256."""
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(1))
    name = "stages.2.blocks.0.se.scale"
    gated = plan.quant_params[model.graph.by_name[name].inputs[0]]
    quant_params = {
        **plan.quant_params,
        name: QuantParams(gated.scale / 256 / ratio, gated.zero_point),
    }
    parsed, _, operators = contents(int8_file(model, replace(plan, quant_params=quant_params)))
    tensors = parsed["subgraphs"][0]["tensors"]
    found = {tensors[op["outputs"][0]]["name"]: v for code, v, op in operators if code == "MUL"}
    assert found.pop(name) == version
    assert set(found.values()) == {2}


def test_data_is_aligned(files: dict[str, bytes]) -> None:
    for data in files.values():
        start = np.frombuffer(data, np.uint8).__array_interface__["data"][0]
        vectors = [b["data"] for b in parse(data)["buffers"] if b["data"].size]
        assert vectors
        for vector in vectors:
            assert (vector.__array_interface__["data"][0] - start) % 16 == 0
        assert parse(data)["buffers"][0]["data"].size == 0


def test_int8_parameters_have_the_scales_that_kernels_assume(
    model: Model, plan: QuantPlan, files: dict[str, bytes]
) -> None:
    _, tensors, operators = contents(files["int8"])
    every = list(tensors.values())
    seen = 0
    for code, _, operator in operators:
        if code not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        source, weight, bias = (every[index] for index in operator["inputs"])
        axis = 3 if code == "DEPTHWISE_CONV_2D" else 0
        scale = weight["quantization"]["scale"]
        assert weight["quantization"]["dimension"] == axis
        assert scale.size == weight["shape"][axis] == bias["shape"][0]
        assert not weight["quantization"]["zero_point"].any()
        product = source["quantization"]["scale"] * scale
        np.testing.assert_array_equal(bias["quantization"]["scale"], product)
        assert (bias["quantization"]["zero_point"] == np.zeros(scale.size)).all()
        assert (TYPES[weight["type"]], TYPES[bias["type"]]) == ("int8", "int32")
        layer = plan.layers[weight["name"].removesuffix(".weight")]
        np.testing.assert_array_equal(scale, layer.scale)
        seen += 1
    assert seen == len(plan.layers)


def test_sigmoids_have_the_kernels_grid(files: dict[str, bytes]) -> None:
    parsed, _, operators = contents(files["int8"])
    for code, _, operator in operators:
        if code == "LOGISTIC":
            output = parsed["subgraphs"][0]["tensors"][operator["outputs"][0]]
            assert output["quantization"]["scale"].tolist() == [1 / 256]
            assert output["quantization"]["zero_point"].tolist() == [-128]


@pytest.mark.parametrize(("padding", "pads"), [("same", 0), ("symmetric", 3)])
def test_only_what_same_cannot_say_is_padded_apart(padding: network.Padding, pads: int) -> None:
    """At an even size, symmetric padding differs from SAME in strided convolutions only."""
    model = small.model_of(small.LITE, padding=padding)
    _, _, operators = contents(write(model, None, small.card_of(model)))
    assert [code for code, _, _ in operators].count("PAD") == pads


def test_the_same_model_gives_the_same_bytes(
    model: Model, plan: QuantPlan, files: dict[str, bytes]
) -> None:
    assert write(model, None, small.card_of(model)) == files["fp32"]
    assert int8_file(model, plan) == files["int8"]


def test_bytes_do_not_depend_on_the_process() -> None:
    script = (
        f"import hashlib, sys; sys.path[:0] = {PATH}\n"
        "from support import tflite_models as small\n"
        "from edge_effnet.converters.formats.tflite.writer import write\n"
        "model = small.model_of(small.SWISH)\n"
        "print(hashlib.sha256(write(model, None, small.card_of(model))).hexdigest())"
    )
    model = small.model_of(small.SWISH)
    here = hashlib.sha256(write(model, None, small.card_of(model))).hexdigest()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


def test_lite0_is_small() -> None:
    """4.94 MB before labels, where equal vectors are written once; 5.25 where they are not."""
    variant = get_variant("lite0")
    model = small.random_model(variant, network.build(variant))
    quant_params = dict.fromkeys(model.graph.shapes, QuantParams(6 / 255, 0))
    layers = {}
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            weight = model.weights[f"{node.name}.weight"]
            scale = np.abs(weight).reshape(len(weight), -1).max(axis=1) / 127
            zeros = np.zeros(weight.shape, np.int8)
            layers[node.name] = LayerPlan(zeros, scale, np.zeros(len(weight), np.int32))
    plan = QuantPlan(layers, quant_params, "none")
    assert len(int8_file(replace(model, info=replace(model.info, labels=())), plan)) < 5.0e6


# What it tells others


def test_card_comes_back(model: Model, files: dict[str, bytes]) -> None:
    text = read_card(files["int8"])
    assert text is not None
    assert ModelCard.from_json(text) == small.card_of(model, precision="int8", input="pixels")


def test_file_can_be_stamped(files: dict[str, bytes]) -> None:
    for data in files.values():
        stamped = digest.stamp(data)
        assert digest.verify(stamped)
        check_structure(stamped)


def test_labels_travel_as_a_zip(model: Model) -> None:
    labels = ("plain", "two words", "comma, and quote'", "ünïcode", "a\nline\r\nbreak", *"fghij")
    data = write(model, None, small.card_of(model).with_(labels=labels))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["labels.txt"]
        (entry,) = archive.infolist()
        assert entry.compress_type == zipfile.ZIP_STORED
        lines = archive.read("labels.txt").decode().split("\n")
    assert lines == [
        "plain",
        "two words",
        "comma, and quote'",
        "ünïcode",
        "a line break",
        *"fghij",
        "",
    ]
    LiteRTRunner(data, 1, "file")


def test_without_labels_there_is_no_zip(model: Model) -> None:
    data = write(model, None, small.card_of(model).with_(labels=()))
    assert not zipfile.is_zipfile(io.BytesIO(data))
    assert b"labels.txt" not in data


def test_metadata_follows_the_public_schema(model: Model) -> None:
    """Read back through the schema's slots, as its generated readers do."""
    table = pytest.importorskip("flatbuffers.table")
    number_types = pytest.importorskip("flatbuffers.number_types")
    card = replace(model.info, preprocess=replace(model.info.preprocess, std=(128.0, 127.0, 126.0)))
    data = model_metadata(card, "image", "logits")
    assert data[4:8] == b"M001"

    def child(parent: Any, slot: int, index: int | None = None) -> Any:
        place = parent.Pos + parent.Offset(4 + 2 * slot)
        if index is None:
            return table.Table(data, parent.Indirect(place))
        start = parent.Vector(place - parent.Pos)
        return table.Table(data, parent.Indirect(start + 4 * index))

    def text(parent: Any, slot: int) -> str:
        return parent.String(parent.Pos + parent.Offset(4 + 2 * slot)).decode()

    def floats(parent: Any, slot: int) -> list[float]:
        offset = parent.Offset(4 + 2 * slot)
        start = parent.Vector(offset)
        kind = number_types.Float32Flags
        return [parent.Get(kind, start + 4 * n) for n in range(parent.VectorLen(offset))]

    def byte(parent: Any, slot: int) -> int:
        offset = parent.Offset(4 + 2 * slot)
        return parent.Get(number_types.Int8Flags, parent.Pos + offset)

    root = table.Table(data, int.from_bytes(data[:4], "little"))
    assert text(root, 0) == card.variant
    subgraph = child(root, 3, 0)
    image, scores = child(subgraph, 2, 0), child(subgraph, 3, 0)
    assert (text(image, 0), text(scores, 0)) == ("image", "logits")
    unit = child(image, 4, 0)
    assert byte(unit, 0) == 1  # NormalizationOptions
    options = child(unit, 1)
    assert floats(options, 0) == [127.0]
    assert floats(options, 1) == [128.0, 127.0, 126.0]
    assert byte(child(image, 3), 0) == 2  # ImageProperties
    file = child(scores, 6, 0)
    assert text(file, 0) == "labels.txt"
    assert byte(file, 2) == 2  # TENSOR_AXIS_LABELS


def test_mediapipe_opens_the_files(model: Model, files: dict[str, bytes]) -> None:
    vision = pytest.importorskip("mediapipe.tasks.python.vision")
    mediapipe = pytest.importorskip("mediapipe")
    base = pytest.importorskip("mediapipe.tasks.python").BaseOptions
    pixels = small.photos(1)[0]
    for precision, data in files.items():
        options = vision.ImageClassifierOptions(base(model_asset_buffer=data), max_results=1)
        with vision.ImageClassifier.create_from_options(options) as classifier:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
            (best,) = classifier.classify(image).classifications[0].categories
        runner = LiteRTRunner(data, 1, "file")
        values = pixels if precision == "int8" else model.info.preprocess.normalise(pixels)
        logits = runner.run(values[None])[0]
        assert best.category_name == model.info.labels[int(logits.argmax())]
        assert best.score == pytest.approx(float(logits.max()), abs=1e-5)


def test_a_normalisation_of_each_colour_moves_into_the_float_file() -> None:
    """MediaPipe knows one mean and one deviation only; the logits are those of the network."""
    model = small.model_of(small.SWISH)
    preprocess = replace(model.info.preprocess, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    model = replace(model, info=replace(model.info, preprocess=preprocess))
    data = write(model, None, small.card_of(model))
    stated = ModelCard.from_json(read_card(data) or "").preprocess
    assert len(set(stated.mean)) == len(set(stated.std)) == 1
    for pixels in small.photos(2):
        expected = small.evaluate(model, small.normalised(model, pixels))[model.graph.output]
        got = LiteRTRunner(data, 1, "file").run(stated.normalise(pixels)[None])[0]
        np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


# What it refuses


def test_a_tensor_without_a_grid_is_named() -> None:
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(model, small.photos(1))
    quant_params = {
        name: params
        for name, params in plan.quant_params.items()
        if name != "stages.2.blocks.0.se.pool"
    }
    with pytest.raises(QuantizationError, match=r"stages\.2\.blocks\.0\.se\.pool"):
        int8_file(model, replace(plan, quant_params=quant_params))


def test_weights_beyond_float16_are_refused() -> None:
    model = small.model_of(small.LITE)
    weights = {**model.weights, "stem.conv.weight": model.weights["stem.conv.weight"] * 1e6}
    with pytest.raises(QuantizationError, match=r"stem\.conv"):
        write(replace(model, weights=weights), None, small.card_of(model, precision="fp16"))


def test_batch_norm_must_be_folded() -> None:
    model = small.model_of(small.LITE)
    unfolded = replace(model, graph=network.build(small.LITE, classes=small.CLASSES))
    with pytest.raises(TypeError, match="BatchNorm"):
        write(unfolded, None, small.card_of(model))
