"""Archives, storages and headers: what they describe is checked before a byte is read."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np
import pytest

from support.checkpoint_writer import (
    CheckpointWriter,
    Code,
    emit,
    name,
    program,
    refusal,
    safetensors_bytes,
)

# Storages


@pytest.mark.parametrize("length", [3, 5, 1 << 39, -1, 1 << 80])
def test_storages_must_be_as_long_as_described(writer, read, length):
    storage = writer.storage(np.arange(4, dtype="f4"), length=length)
    refusal(read, writer.bytes({"w": writer.view(storage, 0, (1,), (1,))}))


def test_one_storage_described_in_two_ways(writer, read):
    storage = writer.storage(np.arange(4, dtype="f4"))
    other = Code(storage.code.replace(b"FloatStorage", b"LongStorage"))
    tree = {"a": writer.view(storage, 0, (1,), (1,)), "b": writer.view(other, 0, (1,), (1,))}
    refusal(read, writer.bytes(tree))


# Zip archives


def test_zip_bombs(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (80 << 20))
    assert "zip bomb" in refusal(read, buffer.getvalue())


def test_zip_members_on_top_of_each_other(read):
    """Many directory entries for the same bytes read them many times, at no cost in file size."""
    writer = CheckpointWriter(legacy=False)
    data = bytearray(writer.bytes({"w": writer.tensor(np.ones(1 << 16, "f4"))}))
    end = data.rfind(b"PK\x05\x06")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    directory = bytes(data[start:end]) * 50
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 100, 100, len(directory), start, 0)
    assert "zip bomb" in refusal(read, bytes(data[:start]) + directory + tail)


def test_zip_members_with_odd_names_and_compression(read, tmp_path):
    writer = CheckpointWriter(legacy=False)
    tree = {"w": writer.tensor(np.ones(2, "f4"))}
    good = writer.bytes(tree, **{"../../evil": b"x", "data/../0": b"y"})
    assert list(read(good)) == ["w"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["weights.pth"]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("archive/data.pkl", program(tree))
    refusal(read, buffer.getvalue())
    storage = Code(emit(("storage", name("torch", "FloatStorage"), "../data.pkl", "cpu", 1)) + b"Q")
    refusal(read, writer.bytes({"w": writer.view(storage, 0, (1,), (1,))}))


# Headers of safetensors


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, -4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [16, 20]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]},
        {"shape": [1]},
        None,
        3,
    ],
    ids=json.dumps,
)
def test_safetensors_bounds(read, entry):
    refusal(read, safetensors_bytes({"w": entry}, b"\0" * 16))


def test_safetensors_overlap_and_nesting(read):
    entry = {"dtype": "U8", "shape": [4096], "data_offsets": [0, 4096]}
    overlapping = {str(n): entry for n in range(400)}
    assert "overlap" in refusal(read, safetensors_bytes(overlapping, b"\0" * 4096))
    nested = b'{"a":' + b"[" * 200_000
    refusal(read, struct.pack("<Q", len(nested)) + nested)
    refusal(read, struct.pack("<Q", 1 << 20) + b'{"a":')


# Files that are no checkpoints


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"\n\n  <html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "Keras"),
        (b"\x1f\x8b\x08" + b"\0" * 100, "gunzip"),
        (b"\x80\x02]q\x00.", "torch.save did not write"),
        (b"\x80", "damaged"),
        (b"{}", "known format"),
        (b"\0" * 1000, "known format"),
        (b"PK\x03\x04" + b"\0" * 100, "cut off"),
    ],
)
def test_other_files(read, data, said):
    assert said in refusal(read, data)


def test_torchscript_and_other_zips(read):
    writer = CheckpointWriter(legacy=False)
    message = refusal(read, writer.bytes({}, **{"constants.pkl": b"", "code/m.py": b""}))
    assert "TorchScript" in message
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    assert "zip archive" in refusal(read, buffer.getvalue())
