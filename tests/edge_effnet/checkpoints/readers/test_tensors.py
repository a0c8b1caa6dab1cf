"""Tensors of every format as numpy arrays: values, types, order, views."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.checkpoints.readers.tensors import read_tensors
from edge_effnet.errors import CheckpointError
from support.checkpoint_writer import (
    CheckpointWriter,
    Code,
    call,
    emit,
    name,
    refusal,
    safetensors_bytes,
)

# Values of PyTorch's files


def test_values_types_and_order(writer, read):
    values = np.arange(6, dtype="f4").reshape(2, 3)
    tree = {
        "z": writer.tensor(values),
        "half": writer.tensor(values.astype("f2")),
        "double": writer.tensor(values.astype("f8")),
        "bfloat": writer.tensor((values.view("u4") >> 16).astype("u2"), "BFloat16Storage"),
        "count": writer.tensor(np.array(7, "i8")),
        "flags": writer.tensor(np.array([0, 1, 2], "u1"), "BoolStorage"),
        "none": writer.tensor(np.zeros((0, 4), "f4")),
    }
    arrays = read(writer.bytes(tree))
    assert list(arrays) == list(tree)
    for key in ("z", "half", "double", "bfloat"):
        assert arrays[key].dtype == np.float32
        np.testing.assert_array_equal(arrays[key], values)
    assert arrays["count"].shape == ()
    assert arrays["count"].dtype == np.int64
    assert arrays["count"] == 7
    assert arrays["flags"].tolist() == [False, True, True]
    assert arrays["none"].shape == (0, 4)
    for array in arrays.values():
        assert array.flags.c_contiguous
        assert not array.flags.writeable


def test_views_share_one_storage(writer, read):
    storage = writer.storage(np.arange(12, dtype="f4"))
    tree = {
        "transposed": writer.view(storage, 0, (3, 4), (1, 3)),
        "part": writer.view(storage, 5, (2, 2), (3, 1)),
        "scalar": writer.view(storage, 11, (), ()),
        "expanded": writer.view(storage, 1, (3, 2), (0, 1)),
    }
    arrays = read(writer.bytes(tree))
    base = np.arange(12, dtype="f4")
    np.testing.assert_array_equal(arrays["transposed"], base.reshape(4, 3).T)
    np.testing.assert_array_equal(arrays["part"], [[5, 6], [8, 9]])
    assert arrays["scalar"] == 11
    np.testing.assert_array_equal(arrays["expanded"], [[1, 2]] * 3)
    assert all(array.flags.c_contiguous for array in arrays.values())


def test_a_double_beyond_float32_becomes_infinite_without_a_warning(writer, read, recwarn):
    arrays = read(writer.bytes({"w": writer.tensor(np.array([1e300]))}))
    assert np.isinf(arrays["w"][0])
    assert not recwarn.list


def test_big_endian_zip(read):
    writer = CheckpointWriter(legacy=False)
    tree = {"w": writer.tensor(np.array([1, 2], ">f4"), "FloatStorage")}
    arrays = read(writer.bytes(tree, byteorder=b"big"))
    np.testing.assert_array_equal(arrays["w"], [1, 2])
    assert arrays["w"].dtype.isnative


def test_python_2_wrote_ordered_dicts_as_pairs(writer, read):
    ordered = call(name("collections", "OrderedDict"), [["w", writer.tensor(np.ones(2, "f4"))]])
    assert list(read(writer.bytes(ordered))) == ["w"]


def test_parameters_and_attributes(writer, read):
    data = writer.tensor(np.ones(3, "f4"))
    hooks = call(name("collections", "OrderedDict"))
    parameter = call(name("torch._utils", "_rebuild_parameter"), data, True, hooks)
    stated = call(
        name("torch._utils", "_rebuild_parameter_with_state"), data, True, hooks, {"a": 1}
    )
    state_dict = {"w": parameter, "v": stated}
    metadata = Code(emit(state_dict) + emit({"_metadata": {"version": 2}}) + b"b")
    assert list(read(writer.bytes(metadata))) == ["w", "v"]


@pytest.mark.parametrize("dtype", ["c8", "qint8"])
def test_unsupported_types_name_the_tensor(writer, read, dtype):
    if dtype == "c8":
        tensor = writer.tensor(np.ones(2, "c8"), "ComplexFloatStorage")
    else:
        storage = writer.storage(np.ones(2, "u1"), "QInt8Storage")
        scheme = (name("torch", "per_tensor_affine"), 1, 0)
        rebuild = name("torch._utils", "_rebuild_qtensor")
        tensor = call(rebuild, storage, 0, (2,), (1,), scheme, False, {})
    message = refusal(read, writer.bytes({"fine.weight": tensor}))
    assert "'fine.weight'" in message
    assert {"c8": "complex64", "qint8": "qint8"}[dtype] in message


def test_unprintable_names_never_reach_a_terminal(writer, read):
    message = refusal(read, writer.bytes({"\x1b[2Jw": writer.tensor(np.ones(1, "f4"))}))
    assert message.isprintable()
    message = refusal(read, writer.bytes(name("a\x1b[2J", "b" * 10_000)))
    assert message.isprintable()
    assert len(message) < 500


# Values of safetensors


def test_safetensors_from_the_library(read):
    numpy = pytest.importorskip("safetensors.numpy")
    rng = np.random.default_rng(0)
    arrays = {
        "a.weight": rng.standard_normal((4, 3, 1, 2), dtype=np.float32),
        "half": rng.standard_normal(5).astype(np.float16),
        "double": rng.standard_normal(5),
        "count": np.array(3, np.int64),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3), np.float32),
    }
    got = read(numpy.save(arrays, metadata={"format": "pt"}))
    assert set(got) == set(arrays)
    for key, array in arrays.items():
        wanted = array.astype(np.float32) if array.dtype.kind == "f" else array
        assert got[key].dtype == wanted.dtype
        np.testing.assert_array_equal(got[key], wanted)
        assert not got[key].flags.writeable


def test_safetensors_bfloat16_and_prefix(read):
    data = np.array([0x3F80, 0xC040], "<u2").tobytes()
    header = {"module.w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    np.testing.assert_array_equal(read(safetensors_bytes(header, data))["w"], [1, -3])


# Paths that cannot be read


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        read_tensors(tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="a folder"):
        read_tensors(tmp_path)
    with pytest.raises(CheckpointError, match="not a regular file"):
        read_tensors(os.devnull)


def test_unreadable_file():
    """Root may read anything, so another user reads here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.pth")
        path.write_bytes(b"x")
        path.chmod(0)
        path.parent.chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            with pytest.raises(CheckpointError, match="permission"):
                read_tensors(path)
        finally:
            os.seteuid(user)
