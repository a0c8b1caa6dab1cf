"""Plots of a comparison as SVG."""

from __future__ import annotations

import pytest

from edge_effnet.benchmarks.reporting import formatting
from support.result_records import WHOLE

pytest.importorskip("matplotlib")
from edge_effnet.benchmarks.reporting import plots


def test_plots_hold_every_figure_and_are_stable() -> None:
    records = formatting.order(WHOLE.records)
    for draw in (plots.accuracy_against_latency, plots.losses, plots.latencies):
        svg = draw(records)
        assert svg == draw(records)
        assert svg.startswith("<svg")
        assert "var(--tflite)" in svg
        assert "TFLite int8" in svg
        assert draw([]) == ""
    assert "0.5 (−0.3 to 1.3)" in plots.losses(records)  # noqa: RUF001
