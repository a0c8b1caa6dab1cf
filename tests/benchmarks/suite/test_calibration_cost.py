"""``edge-effnet bench calibration-cost``: the process's own time and memory, and its errors."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from edge_effnet.benchmarks.suite import calibration_cost
from edge_effnet.benchmarks.suite.calibration_cost import Cost
from support.command import call, done, photos, refused


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    return call("bench", "calibration-cost", *arguments)


@pytest.mark.slow
def test_an_export_is_measured_in_its_own_process() -> None:
    pytest.importorskip("openvino")
    arguments = ("--calibration", str(photos()), "--resolution", "96", "--json", "-")
    (found,) = json.loads(done(bench(*arguments)))
    assert (found["variant"], found["resolution"]) == ("efficientnet-lite0", 96)
    assert 0 < found["processor_seconds"] < found["seconds"] * found["cores"]
    assert 100 < found["memory_mb"] < 700


def test_the_table_has_a_row_per_network() -> None:
    row = Cost("efficientnet-b4", 380, 500, 80.4, 150.2, 1536.0, 2)
    (column,) = [c for c in calibration_cost.table([row]).columns if c.header == "peak memory"]
    assert [*column.cells] == ["1.50 GiB"]


def test_what_cannot_be_measured_is_said(tmp_path: Path) -> None:
    missing = str(tmp_path / "none")
    assert "none does not exist" in refused(bench("--calibration", missing))
    words = ("--calibration", str(photos()), "--variant", "lite0", "--variant", "b0")
    assert "one --variant" in refused(bench(*words, "--weights", "a.pth"))
    unknown = refused(bench(*words[:2], "--variant", "nope"))
    assert "quantizing nope failed: unknown variant" in unknown
    assert "Traceback" not in unknown
