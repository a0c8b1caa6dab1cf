"""Multiply-adds of files, and the placement of their operators on a device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_effnet import open as open_file
from edge_effnet.network import build
from edge_effnet.runtime.operators import Operator
from edge_effnet.runtime.placement import placement
from edge_effnet.variants import VARIANTS
from support import command
from support.command import file
from support.labelled_photos import Files

OPERATORS = [Operator("a", "CONV_2D", 90), Operator("b", "ADD"), Operator("c", "GEMM", 10)]


def test_shares_count_multiply_adds() -> None:
    result = placement(OPERATORS, [True, True, False], "NPU", "a report")
    assert (result.operators, result.on_device) == (3, 2)
    assert result.share == 0.9
    assert result.fallback == ("GEMM c",)
    assert str(result) == (
        "2 of 3 operators and 90.0% of the multiply-adds on NPU; elsewhere: GEMM c"
    )


def test_the_largest_operators_that_fall_back_come_first() -> None:
    result = placement(OPERATORS, [False, False, False], "NPU", "a report")
    assert result.share == 0
    assert result.fallback == ("CONV_2D a", "GEMM c", "ADD b")
    assert not result.complete


def test_a_file_without_multiply_adds_counts_operators() -> None:
    assert placement([Operator("x", "edgetpu-custom-op")], [True], "TPU", "").share == 1


@pytest.mark.parametrize("suffix", command.SUFFIXES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_formats_of_a_network_have_the_same_multiply_adds(precision: str, suffix: str) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnxruntime")
    expected = open_file(file("fp32", ".tflite")).runner.placement().multiply_adds
    result = open_file(file(precision, suffix)).runner.placement()
    assert result.multiply_adds == expected > 0
    assert result.complete


def test_multiply_adds_are_the_graphs(lite0_files: Files) -> None:
    expected = build(VARIANTS["efficientnet-lite0"]).multiply_adds
    for path in map(Path, lite0_files.values()):
        assert open_file(path).runner.placement().multiply_adds == expected, path
