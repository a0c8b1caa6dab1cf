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


def test_the_front_reaches_the_edge_of_the_plot_even_with_one_best_file() -> None:
    assert plots.front_line([(7.0, 100.0), (12.0, 99.0)], 13.0) == [(7.0, 100.0), (13.0, 100.0)]
    rising = [(9.0, 98.5), (2.0, 97.0), (5.0, 99.0)]
    assert plots.front_line(rising, 10.0) == [(2.0, 97.0), (5.0, 99.0), (10.0, 99.0)]
