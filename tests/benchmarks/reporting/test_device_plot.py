"""Devices in the report: rows, columns, and the plot against the CPU."""

from __future__ import annotations

import pytest

from edge_effnet.benchmarks.records import Host, Latency, Record, Results
from edge_effnet.benchmarks.reporting import device_plot, formatting, page, table
from edge_effnet.runtime.placement import Placement

pytest.importorskip("matplotlib", reason="the report needs the extra 'report'")
pytest.importorskip("jinja2")


def record(device: str, ms: float | None, software: bool = False) -> Record:
    latency = None if ms is None else Latency(ms, ms, ms, ms, ms)
    place = Placement("a device", 61, 60, 1000, 990, ("Gemm classifier",), "", software)
    return Record(
        "a.tflite",
        "efficientnet-lite0",
        "tflite",
        "int8",
        device=device,
        placement=place,
        latency_ms=latency,
        samples_ms=() if ms is None else (ms,),
    )


RECORDS = (record("cpu", 4.0), record("gpu", 2.0), record("gpu:swiftshader", None, software=True))


def test_a_device_is_plotted_against_the_cpu() -> None:
    svg = device_plot.devices(RECORDS)
    assert "TFLite int8 on gpu 2.00 ms, CPU 4.00 ms" in svg
    assert "swiftshader" not in svg
    assert device_plot.devices(RECORDS[:1]) == ""
    assert device_plot.devices(RECORDS[1:]) == ""


def test_the_page_and_the_table_say_where_a_file_ran() -> None:
    results = Results(Host(cpu="one", cores=2), RECORDS)
    html = page.render(results)
    assert "on device, %" in html
    assert "Devices against the CPU" in html
    assert "software, not timed; on the CPU: Gemm classifier" in html
    assert [formatting.placement(each) for each in RECORDS] == [formatting.NONE, "99.0", "99.0"]
    columns = [str(column.header) for column in table.render(results).columns]
    assert "on device\n%" in columns


def test_a_page_of_the_cpu_has_no_device_column() -> None:
    html = page.render(Results(Host(cpu="one", cores=2), RECORDS[:1]))
    assert "on device, %" not in html
