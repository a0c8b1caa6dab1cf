"""Objects in pickles: stand-ins that run nothing beside weights, and modules saved whole."""

from __future__ import annotations

import argparse
import datetime
import decimal
import enum
import functools
import re
import types
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.checkpoints.readers.tensors import read, read_tensors
from edge_effnet.errors import CheckpointError

torch = pytest.importorskip("torch")


class Stage(enum.Enum):
    FIT = "fit"


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclass
class Config:
    lr: float
    folder: Path


class Hidden:
    """Hides a tensor, as a quantized weight's class does."""

    def __init__(self, values: Any) -> None:
        self.values = values


ODD: dict[str, Any] = {
    "criterion": torch.nn.CrossEntropyLoss(torch.ones(4), label_smoothing=0.1),
    "path": Path("/data/flowers"),
    "enum": Stage.FIT,
    "flag": Flags.A | Flags.B,
    "datetime": datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc),
    "partial": functools.partial(torch.optim.AdamW, lr=1e-3),
    "dataclass": Config(0.1, Path("x")),
    "namespace": argparse.Namespace(lr=0.1),
    "simple": types.SimpleNamespace(a=1),
    "uuid": uuid.UUID(int=7),
    "decimal": decimal.Decimal("0.1"),
    "pattern": re.compile("a+"),
    "deque": deque([1, 2], maxlen=3),
    "counter": Counter("abca"),
    "default": defaultdict(list, {"a": [1]}),
    "numpy": np.random.default_rng(0),
    "array": np.arange(3),
    "complex": 1 + 2j,
    "ellipsis": ...,
    "class": Config,
    "function": torch.nn.functional.relu,
    "slice": slice(1, 2),
    "nested": {"deep": [{"again": (Path("a"), {Stage.FIT: 1})}]},
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_odd_objects_beside_the_weights(tmp_path: Path, protocol: int, zipped: bool) -> None:
    path = tmp_path / "weights.ckpt"
    weights = OrderedDict(w=torch.arange(3.0))
    for odd, value in ODD.items():
        tree = {"state_dict": weights, "hyper_parameters": {odd: value}}
        torch.save(tree, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        checkpoint = read(path)
        assert list(checkpoint.tensors) == ["w"], odd
        assert not checkpoint.outside, odd


def test_a_label_encoder_beside_the_weights(tmp_path: Path) -> None:
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    path = tmp_path / "weights.pth"
    encoder = preprocessing.LabelEncoder().fit(["cat", "dog"])
    torch.save({"model_state_dict": {"w": torch.ones(2)}, "label_encoder": encoder}, path)
    assert list(read_tensors(path)) == ["w"]


def test_weights_that_hide_in_an_object_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {"a": torch.ones(2), "b": Hidden([torch.ones(2)])}}, path)
    with pytest.raises(CheckpointError, match=r"'b' in it is an object of the class .*Hidden"):
        read_tensors(path)


def network() -> Any:
    """A module of modules; one buffer is not in its state dict."""
    inner = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4))
    module = torch.nn.Module()
    module.add_module("body", inner)
    module.add_module("none", None)
    module.register_parameter("scale", torch.nn.Parameter(torch.rand(2)))
    module.head = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.GELU("tanh"))
    return module


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("wrapped", [None, "model", "learner"])
def test_a_module_saved_whole_is_its_state_dict(
    tmp_path: Path, zipped: bool, wrapped: str | None
) -> None:
    path, module = tmp_path / "whole.pt", network()
    tree: Any = module
    if wrapped == "model":
        tree = {"epoch": 3, "model": torch.nn.DataParallel(module)}
    elif wrapped == "learner":
        tree = types.SimpleNamespace(opt=None, model=module)
    torch.save(tree, path, _use_new_zipfile_serialization=zipped)
    checkpoint, expected = read(path), module.state_dict()
    assert sorted(checkpoint.tensors) == sorted(expected)
    for name, values in expected.items():
        assert np.array_equal(checkpoint.tensors[name], values.numpy()), name
    records = checkpoint.structure
    assert records["head.0"].kind == "torch.nn.modules.linear.Linear"
    assert records["head.1"].attributes["approximate"] == "tanh"
    assert records["body.1"].attributes["eps"] == 1e-5


def test_a_module_in_itself_ends(tmp_path: Path) -> None:
    path, module = tmp_path / "loop.pt", torch.nn.Module()
    module.w = torch.nn.Parameter(torch.ones(1))
    module._modules["me"] = module
    torch.save(module, path)
    with pytest.raises(CheckpointError, match="deeper than"):
        read_tensors(path)
