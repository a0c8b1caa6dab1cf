"""A driver or delegate that is missing, crashes, hangs or takes nothing ends in one sentence."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from edge_effnet import open as open_file
from edge_effnet.benchmarks.devices import FileOnDevice
from edge_effnet.benchmarks.latency.measure import measure_latency
from edge_effnet.errors import DeviceError, ModelFileError
from edge_effnet.runtime.devices import trial
from support.command import file
from support.delegates import library

pytest.importorskip("ai_edge_litert", reason="delegates are LiteRT's")


def test_a_missing_delegate_is_named() -> None:
    with pytest.raises(DeviceError, match=r"/nowhere/libvx_delegate\.so cannot be used"):
        open_file(file("int8", ".tflite"), device="/nowhere/libvx_delegate.so")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("crashes", r"crashed \(SIGABRT\).*reinstall its driver"),
        ("foreign", r"cannot be used"),
        ("refuses", r"cannot be used \(.*no device"),
        ("idle", r"runs nothing of .*all multiply-adds fall back to the CPU \(DEPTHWISE_CONV_2D"),
    ],
)
def test_a_bad_delegate_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=message):
        open_file(file("int8", ".tflite"), device=str(library(kind, tmp_path)))


def test_a_hanging_delegate_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 5)
    start = time.monotonic()
    with pytest.raises(DeviceError, match="its driver hangs"):
        open_file(file("int8", ".tflite"), device=str(library("hangs", tmp_path)))
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    ("kind", "failure"), [("crashes", "SIGABRT"), ("hangs", "no reply within 4 s")]
)
def test_a_benchmark_names_the_delegate(kind: str, failure: str, tmp_path: Path) -> None:
    device = str(library(kind, tmp_path))
    target = FileOnDevice(str(file("int8", ".tflite")), device)
    timeout = 4 if kind == "hangs" else 120
    with pytest.raises(ModelFileError, match=f"{failure}.* on the device .*; update or reinstall"):
        measure_latency([target], runs=1, rounds=1, timeout=timeout)


@pytest.mark.parametrize("printed", ["started\n", "half a line", "{'no': 'JSON'}\n"])
def test_text_printed_at_the_start_of_the_interpreter_is_skipped(
    printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"print({printed!r}, end='', flush=True)\n"
    (tmp_path / "sitecustomize.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    path = file("int8", ".tflite")
    assert trial.attempt(path, "cpu", {}, 1).device
    (record,) = measure_latency([path], runs=1, rounds=1)
    assert record.error is None
    monkeypatch.setattr(trial, "_WORKER", "this")  # prints, but replies nothing
    with pytest.raises(DeviceError, match="crashed"):
        trial.attempt(path, "cpu", {}, 1)
