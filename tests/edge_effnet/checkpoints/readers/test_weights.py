"""Finding the weights among everything else that a checkpoint holds."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

from support.checkpoint_writer import CheckpointWriter, Code, call, emit, name, pickled, refusal


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
        "numpy": pickled({1: np.float64(1.5), (1, 2): np.arange(3)}),
        "set": pickled({1, 2}),
        "bytes": pickled(b"abc"),
        "device": call(name("torch", "device"), "cuda:0"),
        "dtype": name("torch", "float32"),
        "size": call(name("torch", "Size"), (1, 2)),
        "state_dict": {"w": writer.tensor(np.ones(2, "f4")), "extra": None},
    }
    assert list(read(writer.bytes(tree))) == ["w"]


def test_unread_storages_are_not_needed(read):
    """An optimizer's complex or missing tensors do not matter beside good weights."""
    writer = CheckpointWriter(legacy=False)
    tree = {
        "optimizer": {"x": writer.tensor(np.ones(2, "c8"), "ComplexFloatStorage")},
        "model": {"w": writer.tensor(np.ones(2, "f4"))},
    }
    del writer.storages["0"]
    assert list(read(writer.bytes(tree))) == ["w"]


@pytest.mark.parametrize("tree", [[], {}, {"epoch": 1}, 3, None, {"a": {"b": {}}}], ids=repr)
def test_no_tensors(writer, read, tree):
    assert "state_dict" in refusal(read, writer.bytes(tree))


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
