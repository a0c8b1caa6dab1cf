from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.benchmarks.latency.operator_times import layer_names, layer_of
from edge_effnet.benchmarks.records import Results
from support.command import done, exported, photos, refused, run

NAMES = layer_names("efficientnet-lite0")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("stem.conv", "stem.conv"),
        ("stem.conv_token_2", "stem.conv"),
        ("stem.conv/WithoutBiases", "stem.conv"),
        ("image_abcd_acdb_stem.conv/WithoutBiases", "stem.conv"),
        ("stages.1.blocks.0.expand_act/q", "stages.1.blocks.0.expand_act"),
        ("stages.1.blocks.0.depthwise_token_18", "stages.1.blocks.0.depthwise"),
        ("Transpose_token_223", "Transpose_token_223"),
        ("stages.99.blocks.0.expand", "stages.99.blocks.0.expand"),
        ("", ""),
    ],
)
def test_layer_of(name: str, layer: str) -> None:
    assert layer_of(name, NAMES) == layer


@given(st.sampled_from(sorted(NAMES)), st.sampled_from(["", "_token_4", "/q", "/WithoutBiases"]))
def test_every_layer_is_found_again(name: str, suffix: str) -> None:
    assert layer_of(name + suffix, NAMES) == name


def test_a_fused_activation_belongs_to_its_convolution() -> None:
    assert NAMES["stem.act"] == "stem.conv"
    assert NAMES["stages.0.blocks.0.project_bn"] == "stages.0.blocks.0.project"


@pytest.fixture(scope="module")
def profiled() -> Results:
    files = sorted(path for path in exported().iterdir() if path.suffix != ".bin")
    photo = next(photos().iterdir())
    records = measure_latency(files, runs=4, rounds=2, photo=photo, profile=True)
    from edge_effnet.benchmarks.latency import host

    return Results.from_json(Results(host.describe(), records).to_json())


def test_operators_of_each_runtime(profiled: Results) -> None:
    assert len(profiled.records) == 6
    for record in profiled.records:
        assert record.error is None
        assert record.no_profile is None
        assert all(operator.ms >= 0 for operator in record.operators)
        assert sum(operator.ms for operator in record.operators) > 0


def test_from_photo_to_answer(profiled: Results) -> None:
    for record in profiled.records:
        found = record.end_to_end_ms
        assert found is not None
        assert min(found.decode, found.preprocess, found.inference, found.postprocess) > 0
        assert found.total >= found.decode
        assert record.median_ci is not None
        assert record.resolution is not None


@pytest.mark.slow
def test_lite0_operators_bear_our_names(lite0_files: dict[tuple[str, str], Path]) -> None:
    formats = ("tflite", "onnx", "openvino")
    files = [lite0_files[name, kind] for name in formats for kind in ("fp32", "int8")]
    for record in measure_latency(files, runs=2, rounds=1, profile=True):
        layers = {operator.layer for operator in record.operators}
        convolutions = {
            name
            for name in set(NAMES.values())
            if name.endswith(("expand", "depthwise", "project"))
        }
        assert convolutions <= layers, record.file
        assert {"stem.conv", "classifier"} <= layers


def test_command(tmp_path: Path) -> None:
    file = exported() / "tiny-lite-fp32.onnx"
    out = tmp_path / "r.json"
    text = done(run("benchmark", file, "--runs", 4, "--op-times", "--json", out))
    assert "operators" in text
    content = json.loads(out.read_text())
    assert content["conditions"]["seconds"] >= 0
    assert content["records"][0]["end_to_end_ms"]["total"] > 0
    message = refused(run("benchmark", file, "--photo", tmp_path / "none.jpg"))
    assert "none.jpg" in message
