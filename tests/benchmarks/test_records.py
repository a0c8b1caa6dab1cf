from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.benchmarks.records import (
    Host,
    Latency,
    PhotoSet,
    Record,
    Results,
    read_results,
    write_results,
)
from edge_effnet.errors import OutputError, UsageError
from edge_effnet.runtime.placement import Placement

finite = st.floats(allow_nan=False, allow_infinity=False)
fractions = st.floats(0, 1)
maybe = st.none() | fractions
interval = st.none() | st.tuples(fractions, fractions)

records = st.builds(
    Record,
    file=st.text(),
    variant=st.text(),
    format=st.sampled_from(["tflite", "onnx", "openvino"]),
    precision=st.sampled_from(["fp32", "fp16", "int8"]),
    quantizer=st.none() | st.text(),
    size_bytes=st.integers(0, 2**40),
    images=st.integers(0, 10**6),
    top1=maybe,
    top1_ci=interval,
    agreement=maybe,
    drop=st.none() | finite,
    drop_ci=st.none() | st.tuples(finite, finite),
    latency_ms=st.none() | st.builds(Latency, finite, finite, finite, finite, finite),
    samples_ms=st.lists(finite, max_size=5).map(tuple),
    cores=st.lists(st.integers(0, 64), max_size=3).map(tuple),
    threads=st.none() | st.integers(1, 64),
    error=st.none() | st.text(),
)
hosts = st.builds(
    Host,
    cpu=st.text(),
    machine=st.text(),
    cores=st.integers(1, 128),
    features=st.lists(st.text(), max_size=3).map(tuple),
    settings=st.dictionaries(st.text(), st.text(), max_size=3),
)
photo_sets = st.builds(
    PhotoSet,
    folder=st.text(),
    count=st.integers(0, 9),
    labelled=st.booleans(),
    split=st.none() | st.text(),
    broken=st.lists(st.tuples(st.text(), st.text()), max_size=2).map(tuple),
)
EXAMPLE = Results(
    Host("cpu", "x86_64", 2, ("avx2",)),
    (
        Record(
            "a.onnx", "efficientnet-lite0", "onnx", "int8", top1=0.5, top1_ci=(0.25, 0.75),
            latency_ms=Latency(2.0, 3.0, 4.0, 1.0, 2.5), samples_ms=(1.0, 2.0, -3.5e-7),
        ),
    ),
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.builds(
        Results,
        host=hosts,
        records=st.lists(records, max_size=3).map(tuple),
        photos=st.none() | photo_sets,
        created=st.text(),
    )
)
def test_json_round_trip(content: Results) -> None:
    text = content.to_json()
    assert Results.from_json(text) == content
    assert Results.from_json(text).to_json() == text


def test_the_contract_of_design_md(tmp_path: Path) -> None:
    path = write_results(EXAMPLE, tmp_path / "results.json")
    content = json.loads(path.read_text())
    assert content["schema"] == 3
    assert content["host"]["cpu"] == "cpu"
    (record,) = content["records"]
    contract = [
        "file",
        "variant",
        "format",
        "precision",
        "quantizer",
        "size_bytes",
        "images",
        "top1",
        "top5",
        "agreement",
        "drop",
        "latency_ms",
        "threads",
        "runtime",
        "peak_rss_mb",
    ]
    assert set(contract) <= set(record)
    assert list(record["latency_ms"]) == ["median", "p90", "p99", "min", "mean"]
    assert '"samples_ms": [ 1.0, 2.0, -3.5e-07 ]' in path.read_text()
    assert read_results(path) == EXAMPLE


def test_unknown_fields_are_ignored_and_defaults_filled() -> None:
    content = json.loads(EXAMPLE.to_json())
    content["future"] = {"x": 1}
    content["records"][0]["future"] = [1]
    del content["records"][0]["top5"], content["created"], content["photos"]
    assert Results.from_json(json.dumps(content)) == EXAMPLE


def test_results_of_schema_1_still_open() -> None:
    content = json.loads(EXAMPLE.to_json())
    content["schema"] = 1
    for name in ("mean_ap", "mean_ap_ci", "f1", "threshold", "class_ap"):
        del content["records"][0][name]
    assert Results.from_json(json.dumps(content)) == EXAMPLE


def test_results_of_schema_2_are_of_the_cpu() -> None:
    content = json.loads(EXAMPLE.to_json())
    content["schema"] = 2
    for name in ("device", "placement"):
        del content["records"][0][name]
    (record,) = Results.from_json(json.dumps(content)).records
    assert record.device is None
    assert record.key == record.file


def test_a_placement_survives() -> None:
    place = Placement("HTP", 3, 2, 100, 90, ("Gemm c",), "a report", software=True)
    record = EXAMPLE.records[0].with_(device="qnn", placement=place)
    (again,) = Results.from_json(replace(EXAMPLE, records=(record,)).to_json()).records
    assert again == record
    assert again.key == f"{record.file} on qnn"
    assert again.software


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        (EXAMPLE.to_json()[:200], "not JSON .*; give the results.json of a measurement"),
        ("[" * 100_000, "not JSON"),
        ("[]", "states no schema"),
        ("{}", "states no schema"),
        ('{"schema": 4}', "schema 4"),
        ('{"schema": 3}', "host is missing"),
        ('{"schema": 2}', "host is missing"),
        ('{"schema": 1}', "host is missing"),
        (EXAMPLE.to_json().replace('"file": "a.onnx"', '"file": 3'), r"records\[0\].file is '3'"),
        (EXAMPLE.to_json().replace('"top1": 0.5', '"top1": "0.5"'), "not a number"),
        (EXAMPLE.to_json().replace('"top1": 0.5', '"top1": NaN'), "not JSON"),
        (EXAMPLE.to_json().replace('"top1": 0.5', '"top1": 1e999'), "not a number"),
        (EXAMPLE.to_json().replace('"top1": 0.5', '"top1": true'), "not a number"),
        (EXAMPLE.to_json().replace("[ 0.25, 0.75 ]", "[0.25]"), "a list of 2"),
        (EXAMPLE.to_json().replace('"median": 2.0', '"middle": 2.0'), "median is missing"),
        (EXAMPLE.to_json().replace('"size_bytes": 0', '"size_bytes": 0.5'), "whole number"),
    ],
)
def test_damage_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as caught:
        read_results(path)
    assert "bad.json" in str(caught.value)
    assert len(str(caught.value)) < 400


def test_missing_or_binary_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        read_results(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.json is no results\.json"):
        read_results(tmp_path / "binary.json")
    with pytest.raises(UsageError, match=r"another kind \(edge-effnet latency model\)"):
        Results.from_json('{"schema": 3, "kind": "edge-effnet latency model"}')


def test_a_folder_stands_for_its_results(tmp_path: Path) -> None:
    write_results(EXAMPLE, tmp_path / "results.json")
    assert read_results(tmp_path) == EXAMPLE


def test_unwritable_place_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_results(EXAMPLE, tmp_path / "file" / "results.json")


def test_nan_is_never_written(tmp_path: Path) -> None:
    broken = Results(EXAMPLE.host, (EXAMPLE.records[0].with_(drop=float("nan")),))
    with pytest.raises(ValueError, match="Out of range"):
        write_results(broken, tmp_path / "results.json")
    assert list(tmp_path.iterdir()) == []
