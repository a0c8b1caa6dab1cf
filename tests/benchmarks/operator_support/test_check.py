"""check: where each operator of a file runs, by rules, by a compiler, by the runtimes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.calibration.plan import LayerPlan, QuantParams, QuantPlan
from edge_effnet.graph import Activation, Conv, Dense
from edge_effnet.model import Model
from support import tflite_models as small
from support.command import call, done, refused

for module in ("openvino", "onnxruntime", "onnx", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

from edge_effnet.benchmarks.operator_support import edgetpu  # noqa: E402
from edge_effnet.benchmarks.operator_support.check import check  # noqa: E402
from edge_effnet.benchmarks.operator_support.operators import Operator, Tensor, operators_of  # noqa: E402
from edge_effnet.converters.formats.tflite import writer  # noqa: E402

needs_vela = pytest.mark.skipif(
    find_spec("ethosu") is None, reason="Arm's compiler vela comes with the extra 'ethos-u'"
)


def any_plan(model: Model) -> QuantPlan:
    """Integers of the right form; placement does not ask what they are."""
    quant_params = {name: QuantParams(0.05, 128) for name in model.graph.shapes}
    quant_params[model.graph.input] = QuantParams(1 / 128, 127)
    layers = {}
    for node in model.graph:
        if isinstance(node, Activation):
            quant_params[node.name] = QuantParams(6 / 255, 0)
        if isinstance(node, (Conv, Dense)):
            weight = model.weights[f"{node.name}.weight"]
            unit = np.full(len(weight), max(float(np.abs(weight).max()), 1e-3) / 127, np.float32)
            unit[0] *= 2  # a scale for each channel
            integers = np.rint(weight / unit.reshape(-1, *[1] * (weight.ndim - 1)))
            layers[node.name] = LayerPlan(
                integers.astype(np.int8), unit, np.zeros(len(weight), np.int32)
            )
    return QuantPlan(layers, quant_params, "any")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a small Lite network and one with swish and squeeze-excite."""
    out = tmp_path_factory.mktemp("targets")
    model = small.model_of(small.LITE)
    plan = small.min_max_plan(fold_batch_norm(model), small.photos(2))
    edge_effnet.export(model, precisions=["fp32", "int8"], calibration=plan, out=out)
    for kind in ("float32", "int8"):
        edge_effnet.export(
            model, formats="tflite", precisions="int8", io=kind, calibration=plan, out=out
        )
    model = small.model_of(small.SWISH)
    plan = small.min_max_plan(fold_batch_norm(model), small.photos(2))
    edge_effnet.export(model, precisions=["int8"], calibration=plan, out=out)
    return out


# cpu


def test_litert_tells_xnnpacks_operators_from_its_own(folder: Path) -> None:
    found = check(folder / "tiny-lite-int8.tflite", "cpu")
    assert found.judge.startswith("ai-edge-litert ")
    own = [placed for placed in found.operators if placed.where.startswith("built-in")]
    assert [placed.kind for placed in own] == ["QUANTIZE", "QUANTIZE"]
    assert found.elsewhere == ()
    assert {
        placed.where for placed in check(folder / "tiny-lite-fp32.tflite", "cpu").operators
    } == {"XNNPACK, float32"}


def test_onnxruntime_and_openvino_tell_what_computes_in_integers(folder: Path) -> None:
    layers = {node.name for node in small.model_of(small.LITE).graph if isinstance(node, Conv)}
    for suffix, kind, wanted in ((".onnx", "QLinearConv", "uint8"), (".xml", "Convolution", "u8")):
        found = check(folder / f"tiny-lite-int8{suffix}", "cpu")
        convolutions = [placed for placed in found.operators if placed.kind == kind]
        assert len(convolutions) == len(layers)
        assert {placed.where for placed in convolutions} == {wanted}
    found = check(folder / "tiny-lite-fp32.onnx", "cpu")
    assert {placed.where for placed in found.operators} == {"float32"}


def test_a_file_without_a_card(folder: Path, tmp_path: Path) -> None:
    import onnx

    bare = onnx.load(folder / "tiny-lite-int8.onnx")
    del bare.metadata_props[:]
    onnx.save(bare, tmp_path / "bare.onnx")
    kinds = Counter(placed.kind for placed in check(tmp_path / "bare.onnx", "cpu").operators)
    assert kinds["QLinearConv"] > 10


# edgetpu


def test_the_edge_tpu_takes_int8_files_whole(folder: Path) -> None:
    for name in ("tiny-lite-int8", "tiny-lite-int8-io-int8", "tiny-swish-int8"):
        found = check(folder / f"{name}.tflite", "edgetpu")
        assert found.operators
        assert found.elsewhere == ()
        assert "all cached there" in found.notes[0]


def test_the_edge_tpu_takes_no_floats(folder: Path) -> None:
    found = check(folder / "tiny-lite-int8-io-float32.tflite", "edgetpu")
    assert [placed.kind for placed in found.elsewhere] == ["QUANTIZE", "DEQUANTIZE"]
    found = check(folder / "tiny-lite-fp32.tflite", "edgetpu")
    assert len(found.elsewhere) == len(found.operators)
    assert "float32" in found.operators[0].why


def tensor(*shape: int, dtype: str = "int8", values: Any = None) -> Tensor:
    octets = None if values is None else np.array(values, np.int32).view(np.uint8)
    return Tensor("t", shape, "int32" if values is not None else dtype, octets)


def operator(
    kind: str, inputs: list[Tensor], output: Tensor, options: Mapping[str, Any] | None = None
) -> Operator:
    return Operator(kind, options or {}, tuple(inputs), (output,))


MAP, VECTOR = tensor(1, 7, 7, 6), tensor(1, 6)
PLAIN = {"activation": 0, "dilation_w": 1, "dilation_h": 1, "weights_format": 0}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (operator("CONV_2D", [MAP], MAP, PLAIN), ""),
        (operator("CONV_2D", [MAP], MAP, {**PLAIN, "dilation_w": 2}), "dilated unequally"),
        (operator("AVERAGE_POOL_2D", [MAP], MAP, PLAIN), ""),
        (operator("MAX_POOL_2D", [MAP], MAP, {"activation": 1}), "fused activation"),
        (operator("MEAN", [MAP, tensor(2, values=[1, 2])], VECTOR), ""),
        (operator("MEAN", [MAP, tensor(2, values=[0, 1])], VECTOR), "reduces the batch"),
        (operator("MEAN", [MAP, tensor(1, values=[-1])], MAP), "no multiple of 4"),
        (operator("FULLY_CONNECTED", [VECTOR], VECTOR, PLAIN), ""),
        (operator("FULLY_CONNECTED", [MAP], MAP, PLAIN), "more than one dimension"),
        (operator("FULLY_CONNECTED", [VECTOR], VECTOR, {"weights_format": 1}), "default format"),
        (operator("PAD", [MAP, tensor(4, 2, values=[0, 0, 1, 1, 1, 1, 0, 0])], MAP), ""),
        (operator("PAD", [MAP, tensor(4, 2, values=[1, 0, 0, 0, 0, 0, 0, 0])], MAP), "the batch"),
        (operator("SOFTMAX", [VECTOR], VECTOR), ""),
        (operator("SOFTMAX", [tensor(1, 20_000)], VECTOR), "16,000"),
        (operator("SOFTMAX", [MAP], MAP), "more than one dimension"),
        (operator("ADD", [MAP, tensor(1, 7, 7, 6, dtype="int16")], MAP), "works on int16"),
        (operator("ADD", [tensor(2, 3, 4, 5)], MAP), "three innermost"),
        (operator("RELU", [tensor(1, 0, 7, 6)], MAP), "not constant"),
        (operator("HARD_SWISH", [MAP], MAP), "not among the supported"),
    ],
)
def test_each_published_rule(item: Operator, why: str) -> None:
    assert (why in edgetpu.refusal(item)) if why else edgetpu.refusal(item) == ""


def test_all_after_an_unsupported_operator_stays_on_the_cpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = [
        operator(kind, [MAP], MAP, PLAIN) for kind in ("CONV_2D", "HARD_SWISH", "CONV_2D", "ADD")
    ]
    monkeypatch.setattr(edgetpu, "operators_of", lambda data, name: chain)
    placed = edgetpu.check(b"", "net.tflite").operators
    assert [item.where for item in placed] == ["Edge TPU", "CPU", "CPU", "CPU"]
    assert "not among" in placed[1].why
    assert "single contiguous subgraph" in placed[2].why


def test_parameters_beyond_the_cache_are_told() -> None:
    model = fold_batch_norm(edge_effnet.load("lite4", weights="random", resolution=64))
    found = edgetpu.check(int8_file(model), "lite4.tflite")
    assert found.elsewhere == ()
    assert "streamed from the host" in found.notes[0]


# ethos-u


def int8_file(model: Model) -> bytes:
    card = small.card_of(model, precision="int8", input="pixels")
    return writer.write(model, any_plan(model), card)


@needs_vela
@pytest.mark.parametrize("configuration", ["ethos-u55-256", "ethos-u85-256"])
@pytest.mark.parametrize("variant", ["lite0", "edgetpu-s"])
def test_vela_places_every_operator_on_the_npu(variant: str, configuration: str) -> None:
    """In full size, as exported by default: uint8 in and out, a scale for each channel."""
    from edge_effnet.benchmarks.operator_support import ethosu

    model = fold_batch_norm(edge_effnet.load(variant, weights="random"))
    data = int8_file(model)
    found = ethosu.check(data, f"{variant}.tflite", configuration)
    assert len(found.operators) == len(operators_of(data, variant)) > 50
    assert found.elsewhere == ()
    assert found.estimates["cycles"] > 1e6


@needs_vela
def test_vela_leaves_floats_to_the_cpu(folder: Path) -> None:
    found = check(folder / "tiny-lite-int8-io-float32.tflite", "ethos-u")
    assert Counter(placed.kind for placed in found.elsewhere) == {"QUANTIZE": 1, "DEQUANTIZE": 1}
    assert "it works on float32" in found.elsewhere[0].why
    assert check(folder / "tiny-swish-int8.tflite", "ethos-u").elsewhere == ()


def test_without_vela_its_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from edge_effnet.benchmarks.operator_support import ethosu

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(ethosu, "version", missing)
    message = refused(call("check", folder / "tiny-lite-int8.tflite", "--target", "ethos-u"))
    assert message.endswith("[ethos-u]'")


# The command


def test_the_command(folder: Path, tmp_path: Path) -> None:
    path = folder / "tiny-lite-int8.tflite"
    text = done(call("check", path, "--target", "edgetpu"))
    assert "DEPTHWISE_CONV_2D  Edge TPU" in text
    told = json.loads(done(call("check", path, "--target", "edgetpu", "--json", "-")))
    assert told["operators"] == len(told["placement"]) > 10
    assert told["elsewhere"] == 0
    assert told["accelerator"] == "Edge TPU"
    assert json.loads(done(call("check", path, "--json", "-")))["accelerator"] is None
    result = call("check", folder / "tiny-lite-fp32.tflite", "--target=edgetpu", "--json=-")
    assert result.returncode == 1
    assert json.loads(result.stdout)["elsewhere"] > 10
    assert "would run on the CPU" in result.stderr


def test_what_makes_no_sense(folder: Path, tmp_path: Path) -> None:
    onnx, tfl = folder / "tiny-lite-int8.onnx", folder / "tiny-lite-int8.tflite"
    assert "edgetpu takes .tflite files" in refused(call("check", onnx, "--target", "edgetpu"))
    assert "choose from cpu, edgetpu, ethos-u" in refused(call("check", tfl, "--target", "tpu"))
    assert "there is no file" in refused(call("check", tmp_path / "no.tflite"))
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(tfl.read_bytes()[:5000])
    for target in ("cpu", "edgetpu", "ethos-u"):
        assert "broken.tflite" in refused(call("check", broken, "--target", target))
