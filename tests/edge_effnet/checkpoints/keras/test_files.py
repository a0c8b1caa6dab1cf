"""Keras files that would cost the reader its memory, its time or its life."""

from __future__ import annotations

import io
import json
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edge_effnet import limits
from edge_effnet.checkpoints.keras import files
from edge_effnet.checkpoints.keras.applications import READER, read
from edge_effnet.errors import CheckpointError

h5py = pytest.importorskip("h5py")


def weights(shape: tuple[int, ...] = (3, 3, 3, 8), **options: object) -> bytes:
    """A .weights.h5 with one convolution."""
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        variables = file.create_group("layers/conv2d/vars")
        variables.create_dataset("0", shape, "f4", **options)
    return content.getvalue()


def keras(path: Path, h5: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Functional"}))
        archive.writestr("model.weights.h5", h5)
    return path


def test_arrays_and_config_arrive(tmp_path: Path) -> None:
    path = keras(tmp_path / "net.keras", weights(fillvalue=0.25))
    layers, config = files.read_file(path)
    assert config == '{"class_name": "Functional"}'
    assert [(layer.kind, layer.numbered) for layer in layers] == [("conv2d", True)]
    kernel = layers[0].variables["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, np.full((3, 3, 3, 8), 0.25))


def test_hard_links_in_a_circle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each level holds itself under many names: visits without end."""
    path = tmp_path / "circle.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("layers")
        for number in range(60):
            group[f"functional_{number}"] = file
    monkeypatch.setattr(limits, "seconds_for", lambda size: 3)
    started = time.perf_counter()
    with pytest.raises(CheckpointError, match="it was not read within"):
        read(path)
    assert time.perf_counter() - started < 60


@pytest.mark.parametrize("inner", [None, "gzip"])
def test_unpacked_sizes(inner: str | None, tmp_path: Path) -> None:
    """Zeros compress a thousandfold, in the zip and in HDF5."""
    h5 = weights((3, 3, 1024, 8192), compression=inner, fillvalue=0, chunks=(3, 3, 64, 1024))
    path = keras(tmp_path / "net.keras", h5, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"zip bomb|far more bytes"):
        read(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions(method: int, tmp_path: Path) -> None:
    path = keras(tmp_path / "net.keras", weights(), method)
    with pytest.raises(CheckpointError, match="a way that Keras never uses"):
        read(path)


def test_a_zip_of_a_later_version(tmp_path: Path) -> None:
    path = keras(tmp_path / "net.zip", weights())
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\1\2", 6), (b"PK\3\4", 4)):
        start = data.index(signature)
        data[start + place] = 148
    path.write_bytes(data)
    assert not READER.recognises(path, bytes(data[:16]))


@pytest.mark.parametrize("config", ["[" * 100_000, "{", "[]", '{"config": 7}', "9" * 5000])
def test_configs(config: str, tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", config)
        archive.writestr("model.weights.h5", weights())
    with pytest.raises(CheckpointError, match=r"cannot read .*net\.keras"):
        read(path)
