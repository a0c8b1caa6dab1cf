"""The limits of the child process that checks a foreign .onnx file, by the bytes that it reads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from edge_effnet import limits  # noqa: E402
from edge_effnet.converters.foreign import probe  # noqa: E402

_ELEMENTS = 1000


def checked_size(path: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of bytes that the limits are for."""
    sizes = []

    def run(module: str, arguments: object, size: int) -> subprocess.CompletedProcess[bytes]:
        sizes.append(size)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr(limits, "run", run)
    probe.check(path, None, ["onnx"])
    return sizes[0]


@pytest.mark.parametrize("location", ["net.data", "ä" * 80 + ".data", None])
def test_external_data_count(
    location: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    weights = onnx.numpy_helper.from_array(np.ones(_ELEMENTS, np.float32), "w")
    node = onnx.helper.make_node("Identity", ["w"], ["y"])
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "net.data", [], [], [weights]))
    onnx.save(
        model,
        path,
        save_as_external_data=location is not None,
        location=location,
        size_threshold=0,
    )
    if location is None:
        (tmp_path / "net.data").write_bytes(bytes(99))  # only the graph has its name
    other = 0 if location is None else 4 * _ELEMENTS
    assert checked_size(path, monkeypatch) == path.stat().st_size + other


def test_external_data_that_is_missing_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    for end in (b"", b"\xff", b"\x04gone", b"\x04a\0bc", b"\xff" * 20):
        path.write_bytes(b"\x0a\x08location\x12" + end)
        assert checked_size(path, monkeypatch) == path.stat().st_size


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_of_other_files_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"network")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.jpg")).touch()
    assert checked_size(path, monkeypatch) == path.stat().st_size
