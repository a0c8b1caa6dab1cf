"""How a .tflite file is laid out: names, operator versions, alignment, scales, determinism."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from edge_effnet import network
from edge_effnet.calibration.plan import LayerPlan, QuantParams, QuantPlan
from edge_effnet.calibration.quantizer_placement import fused_activation
from edge_effnet.converters.formats.tflite.writer import write
from edge_effnet.graph import Conv, Dense, Mul
from edge_effnet.model import Model
from edge_effnet.registry import get_variant
from edge_effnet.runtime.tflite_verifier import check_structure, parse
from support import PATH
from support import tflite_models as small
from support.tflite_models import int8_file

pytest.importorskip("tflite", reason="the extra 'export'")
pytest.importorskip("ai_edge_litert", reason="the extra 'litert'")
from support.tflite_contents import TYPES, contents


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


#: The version of grouped convolutions of any type (op_version.cc).
GROUPED = ("CONV_2D", 6)
#: What TensorFlow's converter writes: float32 and int8. The runtimes take a lower one silently.
CONVERTER_VERSIONS = {
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 4),
    "ADD": (1, 2),
    "MUL": (1, 2),
    "LOGISTIC": (1, 2),
    "HARD_SWISH": (1, 1),
    "RELU": (1, 2),
    "MEAN": (1, 2),
    "MAX_POOL_2D": (1, 2),
    "PAD": (1, 2),
    "PADV2": (1, 2),
    "QUANTIZE": (1, 1),
}


def test_operator_versions_are_the_converters(model: Model, files: dict[str, bytes]) -> None:
    grouped = any(
        isinstance(node, Conv) and node.groups > 1 and not node.depthwise for node in model.graph
    )
    for precision, data in files.items():
        parsed, _, operators = contents(data)
        versions = {(code, version) for code, version, _ in operators}
        assert (GROUPED in versions) == grouped
        versions.discard(GROUPED)
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


def test_sigmoids_have_the_kernels_quantization_parameters(
    model: Model, files: dict[str, bytes]
) -> None:
    parsed, _, operators = contents(files["int8"])
    sigmoids = [operator for code, _, operator in operators if code == "LOGISTIC"]
    gated = model.variant.activation == "swish" or any(isinstance(n, Mul) for n in model.graph)
    assert bool(sigmoids) == gated
    for operator in sigmoids:
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
