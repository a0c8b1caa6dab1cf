"""``edge-effnet bench``: repeatability and process scaling run, count and report failures."""

from __future__ import annotations

import json

import pytest

from edge_effnet.benchmarks.suite import scaling
from edge_effnet.benchmarks.suite.repeatability import Pair
from edge_effnet.benchmarks.suite.scaling import Speedup
from edge_effnet.errors import EdgeEffNetError
from support.command import call, done, exported, photos

FILE = str(exported() / "tiny-lite-int8.onnx")


def test_two_runs_that_agree() -> None:
    assert Pair("a", 10.0, 10.4).agrees
    assert Pair("a", 10.0, 9.6).agrees
    assert not Pair("a", 10.0, 10.6).agrees
    assert not Pair("a", 10.0, 9.4).agrees


def test_repeatability_compares_each_run_with_the_one_before() -> None:
    pytest.importorskip("onnxruntime")
    arguments = ("--runs", "3", "--times", "3", "--json", "-")
    found = json.loads(done(call("bench", "repeatability", FILE, *arguments)))
    first, second = found["pairs"]
    assert first["ms"][1] == second["ms"][0] > 0
    assert found["of"] == 2
    assert found["agreeing"] == sum(abs(pair["change"]) <= 0.05 for pair in found["pairs"])


def test_speedup_is_the_median_of_the_rounds() -> None:
    found = Speedup(2, 10, (4.0, 6.0, 9.0), (2.0, 4.0, 4.5), (4.0, 4.0, 4.5))
    assert found.ratio == 2.0
    assert found.threads_ratio == 1.5


def test_speedup_judges_the_photos() -> None:
    pytest.importorskip("onnxruntime")
    found = scaling.measure([FILE], str(photos()), None, 4, rounds=1)
    assert len(found.alone_s) == len(found.together_s) == len(found.threaded_s) == 1
    assert min(found.alone_s + found.together_s) > 0
    with pytest.raises(EdgeEffNetError, match="photos from 0: there is no"):
        scaling.measure([FILE[:-5] + "x.onnx"], str(photos()), None, 4, rounds=1)
