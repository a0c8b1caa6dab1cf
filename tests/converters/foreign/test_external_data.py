"""External data of .onnx files: one file beside them is read, everything else is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.errors import CheckpointError

onnx: Any = pytest.importorskip("onnx")

from edge_effnet.converters.foreign.external_data import read_external_data  # noqa: E402

_MOST = 1 << 20


def proto(*shapes: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(0)
    tensors = [
        onnx.numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), f"w{index}")
        for index, shape in enumerate(shapes)
    ]
    node = onnx.helper.make_node("Identity", ["w0"], ["y"])
    return onnx.helper.make_model(onnx.helper.make_graph([node], "g", [], [], tensors))


def split(path: Path, content: Any, name: str = "net.onnx.data") -> Any:
    """Write ``content`` with external data; returns what the file holds."""
    onnx.save(content, path, save_as_external_data=True, location=name, size_threshold=0)
    return onnx.load(path, load_external_data=False)


def change(content: Any, key: str, value: str, index: int = 0) -> None:
    for entry in content.graph.initializer[index].external_data:
        if entry.key == key:
            entry.value = value


def test_weights_are_read_bit_by_bit(tmp_path: Path) -> None:
    content = proto((3, 4), (5,), ())
    expected = [onnx.numpy_helper.to_array(each) for each in content.graph.initializer]
    found = split(tmp_path / "net.onnx", proto((3, 4), (5,), ()))
    assert read_external_data(tmp_path / "net.onnx", found, _MOST)
    for tensor, value in zip(found.graph.initializer, expected, strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), value)


@pytest.mark.parametrize(
    "location", ["../net.onnx.data", "/etc/passwd", "a/b", "..", ".", "", "a\\b", "a\0b"]
)
def test_other_folders_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "net.onnx.data").write_bytes(bytes(64))
    found = split(tmp_path / "in" / "net.onnx", proto((4,)))
    change(found, "location", location)
    with pytest.raises(CheckpointError, match="another folder"):
        read_external_data(tmp_path / "in" / "net.onnx", found, _MOST)


@pytest.mark.parametrize(
    ("key", "value"),
    [("offset", "-4"), ("offset", "1"), ("offset", "9" * 30), ("length", "8"), ("length", "x")],
)
def test_wrong_ranges_are_refused(tmp_path: Path, key: str, value: str) -> None:
    found = split(tmp_path / "net.onnx", proto((4,)))
    if key not in {entry.key for entry in found.graph.initializer[0].external_data}:
        found.graph.initializer[0].external_data.add(key=key, value=value)
    change(found, key, value)
    with pytest.raises(CheckpointError, match="do not belong together"):
        read_external_data(tmp_path / "net.onnx", found, _MOST)


def test_missing_large_and_special_files(tmp_path: Path) -> None:
    path, beside = tmp_path / "net.onnx", tmp_path / "net.onnx.data"
    found = split(path, proto((4,)))
    with pytest.raises(CheckpointError, match="can be converted"):
        read_external_data(path, found, 15)
    beside.unlink()
    with pytest.raises(CheckpointError, match=r"net\.onnx\.data, which is missing: copy both"):
        read_external_data(path, found, _MOST)
    os.mkfifo(beside)
    with pytest.raises(CheckpointError, match="is not a file"):
        read_external_data(path, found, _MOST)


def test_links_stay_in_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    path, beside = folder / "net.onnx", folder / "net.onnx.data"
    split(path, proto((4,)))
    beside.rename(folder / "blob")
    beside.symlink_to("blob")
    read_external_data(path, onnx.load(path, load_external_data=False), _MOST)
    (folder / "blob").rename(tmp_path / "blob")
    beside.unlink()
    beside.symlink_to(tmp_path / "blob")
    with pytest.raises(CheckpointError, match="link to another folder"):
        read_external_data(path, onnx.load(path, load_external_data=False), _MOST)


def test_one_range_for_many_weights_is_bounded(tmp_path: Path) -> None:
    """A small file whose tensors all share a range would need much memory."""
    found = split(tmp_path / "net.onnx", proto((1024,)))
    for index in range(300):
        found.graph.initializer.add().CopyFrom(found.graph.initializer[0])
        found.graph.initializer[-1].name = f"copy{index}"
    with pytest.raises(CheckpointError, match="more than"):
        read_external_data(tmp_path / "net.onnx", found, _MOST)


def test_several_files_and_constants_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    found = split(path, proto((4,), (4,)))
    change(found, "location", "other", index=1)
    with pytest.raises(CheckpointError, match="2 other files"):
        read_external_data(path, found, _MOST)
    found = split(path, proto((4,)))
    inner = onnx.helper.make_graph([], "inner", [], [], list(found.graph.initializer))
    found.graph.node.append(onnx.helper.make_node("If", ["c"], ["z"], then_branch=inner))
    with pytest.raises(CheckpointError, match="constants of its operators"):
        read_external_data(path, found, _MOST)
