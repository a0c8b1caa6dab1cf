"""The results page: rows, intervals and ratios from records, and what is left out, by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_effnet.benchmarks.records import Host, PhotoSet, Record, Results
from edge_effnet.benchmarks.suite.results import rows
from edge_effnet.benchmarks.suite.results.network_results import Method, NetworkResults, read_all
from edge_effnet.benchmarks.suite.results.page import page
from edge_effnet.errors import UsageError

FLOAT_TIMES = (4.0, 4.0, 80.0, 80.0)


def record(format_name: str, precision: str, **fields: Any) -> Record:
    """A file of Lite0 that was evaluated on 100 photos."""
    values: dict[str, Any] = {
        "file": f"{precision}-{fields.get('recipe')}-{fields.get('quantizer')}.{format_name}",
        "variant": "efficientnet-lite0",
        "format": format_name,
        "precision": precision,
        "images": 100,
        "size_bytes": 4_980_000,
        **fields,
    }
    return Record(**values)


def ours(format_name: str, precision: str, recipe: str, **fields: Any) -> Record:
    return record(format_name, precision, recipe=recipe, quantizer="edge-effnet", **fields)


JUDGED = {"agreement": 0.98, "drop": 1.0, "drop_ci": (-0.5, 2.5), "sqnr_db": 25.44}
RECORDS = (
    record("tflite", "fp32", agreement=1.0, top1=0.838, drop=0.0, drop_ci=(0.0, 0.0),
           reference="fp32-None-None.tflite", samples_ms=FLOAT_TIMES, rounds=2),
    ours("tflite", "int8", "best", **JUDGED, samples_ms=(2.0, 2.0, 44.0, 44.0), rounds=2),
    ours("tflite", "int8", "default", **JUDGED),
    ours("tflite", "mixed", "default", **JUDGED),
    record("tflite", "int8", quantizer="tensorflow", recipe="full int8", **JUDGED),
    record("openvino", "fp32", **{**JUDGED, "sqnr_db": 140.0}),
    ours("openvino", "int8", "default", **JUDGED),
    record("openvino", "int8", quantizer="nncf-histogram", recipe="histogram", **JUDGED),
    record("openvino", "int8", quantizer="nncf", recipe="mixed", **JUDGED),
)  # fmt: skip


def network(
    name: str = "efficientnet-lite0", weights: str = "imagenet", **fields: Any
) -> NetworkResults:
    values: dict[str, Any] = {
        "packages": {"tensorflow": "tensorflow_cpu 2.21.0"},
        "left_out": {"onnxruntime": "not installed"},
        "threads": 1,
        "runs": 4,
        "rounds": 2,
        **fields,
    }
    command = f"edge-effnet bench results {name} --images photos"
    photos = PhotoSet("photos", 100, True, "evaluation")
    results = Results(Host("a CPU", cores=2), RECORDS, photos, command=command)
    return NetworkResults(Method(name, weights, 125, 224, **values), results)


def test_a_row_has_the_interval_the_standard_error_and_the_ratio() -> None:
    table = rows.detail_table(network())
    by_file = {row[:3]: row[3:] for row in table.rows}
    # (98 + 1) / (100 + 2): sqrt(0.9706 * 0.0294 / 102) = 0.0167
    assert by_file["TFLite", "int8", "best"] == (
        "98.0 ± 1.7", "1.0 (−0.5 to 2.5)", "25.4", "5.0", "0.53 (0.51 to 0.54)"  # noqa: RUF001
    )  # fmt: skip
    assert by_file["TFLite", "fp32", "–"] == ("–", "–", "–", "5.0", "1")  # noqa: RUF001
    assert by_file["TFLite", "int8", "default"][-1] == "–"  # noqa: RUF001
    files = [row[1] for row in table.rows]
    assert files == [
        *("fp32", "int8", "int8", "mixed", "int8, TensorFlow's converter"),
        *("fp32", "int8", "int8, NNCF", "int8, NNCF, histogram ranges"),
    ]
    assert [row[2] for row in table.rows[1:3]] == ["default", "best"]


def test_the_column_of_times_is_left_out_if_nothing_was_timed() -> None:
    untimed = tuple(replace(each, samples_ms=()) for each in RECORDS)
    measured = network(threads=None)
    measured = replace(measured, results=replace(measured.results, records=untimed))
    table = rows.detail_table(measured)
    assert "time" not in table.header
    assert {len(row) for row in table.rows} == {len(table.header)}


def test_the_page_names_photos_packages_and_what_is_left_out() -> None:
    text = page([network(), network("efficientnet-b1", "random", threads=None)])
    assert text.startswith("# Results\n")
    joined = " ".join(text.split())
    assert "125 calibration photos, evaluated on 100 others (split `evaluation`)" in joined
    assert "float32 has a top-1 accuracy of 83.8 %" in joined
    assert "as with trained weights. 125 calibration photos and 100 others." in joined
    assert "TensorFlow's converter (tensorflow_cpu 2.21.0)" in joined
    assert "Left out for efficientnet-lite0, efficientnet-b1: `quantize_static`: not" in joined
    assert "edge-effnet bench results efficientnet-b1 --images photos" in joined
    random = text.partition("## Random weights")[2]
    assert "| efficientnet-b1 | 224 px | TFLite | 25.4 | 25.4 | 25.4 |" in random
    assert "%, 25.4 dB" not in random
    overview = text.partition("## int8 beside")[2].partition("##")[0]
    assert "TensorFlow's converter 98.0 %, 25.4 dB |" in overview
    assert "NNCF 98.0 %, 25.4 dB; NNCF, histogram ranges 98.0 %, 25.4 dB |" in overview
    lines = [line for line in text.splitlines() if not line.startswith(("|", "edge-effnet"))]
    assert max(map(len, lines)) <= 120


def test_variants_without_rows_are_named() -> None:
    text = page([network(), network("efficientnet-b1@128", "random")])
    section = " ".join(text.partition("## Not measured")[2].partition("##")[0].split())
    assert section.startswith(
        "Variants with random weights only: b1. Variants not measured: b0, b2,"
    )
    assert "lite0," not in section
    assert "lite1," in section


def test_every_table_has_as_many_cells_as_columns() -> None:
    for line_group in page([network(), network("efficientnet-b1", "random")]).split("\n\n"):
        widths = {line.count("|") for line in line_group.splitlines() if line.startswith("|")}
        assert len(widths) <= 1


def test_networks_are_read_in_the_familys_order(tmp_path: Path) -> None:
    given_names = ("efficientnetv2-b0", "efficientnet-b7@300", "efficientnet-b1", "other")
    for name in given_names:
        network(name, "random" if "b7" in name else "x.pth").save(_folder(tmp_path, name))
    read = read_all(tmp_path)
    assert [each.method.network for each in read] == [
        "efficientnet-b1", "efficientnetv2-b0", "other", "efficientnet-b7@300"
    ]  # fmt: skip
    assert read[0].results.records == RECORDS
    assert read[0].method.packages == {"tensorflow": "tensorflow_cpu 2.21.0"}


@pytest.mark.parametrize("text", ["", "[]", '{"schema": 3}', '{"schema": 3, "table": {}}'])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    (_folder(tmp_path, "lite0") / "results.json").write_text(text)
    with pytest.raises(UsageError, match=r"lite0.results\.json"):
        read_all(tmp_path)


def test_the_file_is_a_results_json_of_all_commands() -> None:
    content = network().as_json()
    assert Results.from_json(json.dumps(content)).records == RECORDS


def _folder(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir()
    return folder
