"""Headline, summary and titles of a comparison, in words and numbers."""

from __future__ import annotations

import pytest

from edge_effnet.benchmarks.records import Results
from edge_effnet.benchmarks.reporting import formatting
from support.result_records import FP32, HOST, INT8, WHOLE, record, timed


def test_headline_and_summary() -> None:
    assert formatting.headline(WHOLE) == (
        "int8 TFLite agrees with float32 on 99.1 % of the photos "
        "at 0.40× the time and 0.26× the size"  # noqa: RUF001
    )
    assert "0.5 points below float32: not significantly different from 0" in formatting.summary(
        INT8
    )
    worse = INT8.with_(drop=3.0, drop_ci=(2.0, 4.0))
    assert "significantly different from 0 on 1,025 photos" in formatting.summary(worse)
    better = INT8.with_(drop=-0.25, drop_ci=(-1.0, 0.5))
    assert "0.2 points above" in formatting.summary(better)
    assert "the same as float32" in formatting.summary(INT8.with_(drop=0.0))
    bare = INT8.with_(top1=None, drop=None, drop_ci=None)
    assert "photos without labels" in formatting.summary(bare)
    assert formatting.summary(FP32) == ""
    same = Results(HOST, (FP32, INT8.with_(agreement=1.0)))
    assert formatting.headline(same).startswith("int8 TFLite agrees with float32 on all 1,025 ph")
    assert formatting.headline(Results(HOST, (FP32,))) == "1 model file, measured side by side"


def test_the_headline_picks_the_fastest_and_its_own_runtime() -> None:
    onnx32, onnx8 = record("onnx", "fp32", **timed(10)), record("onnx", "int8", **timed(1.0))
    gain = formatting.gains((*WHOLE.records, onnx32, onnx8))[0]
    assert gain.record is onnx8
    assert gain.base is onnx32
    assert gain.time == pytest.approx(0.1)
    alone = formatting.gains((*WHOLE.records, onnx8))[0]
    assert alone.base is FP32


def test_titles_are_distinct_and_short() -> None:
    assert formatting.titles(WHOLE.records) == ["TFLite fp32", "TFLite int8"]
    peer = INT8.with_(file="peers/efficientnet-lite0-int8.tflite", quantizer="tensorflow")
    assert formatting.titles([INT8, peer]) == ["TFLite int8 edge-effnet", "TFLite int8 tensorflow"]
    copy = INT8.with_(file="else/efficientnet-lite0-int8.tflite")
    assert len(set(formatting.titles([INT8, copy]))) == 2
    other = FP32.with_(variant="efficientnet-b0")
    assert formatting.titles([FP32, other]) == ["lite0 TFLite fp32", "b0 TFLite fp32"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0"), (-0.04, "0.0"), (-0.5, "−0.5"), (1.25, "1.2")],  # noqa: RUF001
)
def test_signed(value: float, text: str) -> None:
    assert formatting.signed(value) == text
