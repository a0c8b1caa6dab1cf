"""Class names in torch's files, as training scripts store them."""

from __future__ import annotations

import argparse
import collections
import enum
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edge_effnet.checkpoints.readers.class_names import class_names
from edge_effnet.checkpoints.readers.tensors import read

NAMES = ["daisy", "Löwenzahn", "玫瑰"]
WEIGHTS = {"w": torch.ones(2)}


class LabelEncoder:
    """As scikit-learn's: the names are an array among its attributes."""

    def __init__(self, names: np.ndarray) -> None:
        self.classes_ = names


class Settings(dict[str, Any]):
    """As Lightning's AttributeDict."""


class Vocabulary:
    """As fastai's CategoryMap: a list among its attributes."""

    def __init__(self) -> None:
        self.items = NAMES


class Step(enum.Enum):
    TRAIN = "train"


class Node:
    """As OmegaConf's values and containers."""

    def __init__(self, **content: Any) -> None:
        self.__dict__ = content


INDEX = {name: index for index, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    ("beside", "place"),
    [
        ({"class_names": NAMES}, "class_names"),
        ({"classes": tuple(NAMES)}, "classes"),
        ({"CLASSES": NAMES}, "CLASSES"),
        ({"class_to_idx": INDEX}, "class_to_idx"),
        ({"class_to_idx": dict(reversed(INDEX.items()))}, "class_to_idx"),
        ({"idx_to_class": dict(enumerate(NAMES))}, "idx_to_class"),
        ({"id2label": {str(n): name for n, name in enumerate(NAMES)}}, "id2label"),
        ({"label2id": collections.OrderedDict(INDEX)}, "label2id"),
        ({"labels": np.array(NAMES)}, "labels"),
        ({"labels": np.array(NAMES, object)}, "labels"),
        ({"encoder": LabelEncoder(np.array(NAMES))}, "encoder.classes_"),
        ({"args": argparse.Namespace(lr=0.1, class_names=NAMES)}, "args.class_names"),
        ({"hyper_parameters": Settings(classes=NAMES)}, "hyper_parameters.classes"),
        ({"dls": Node(vocab=Vocabulary())}, "dls.vocab"),
        (
            {"cfg": Node(_content={"names": Node(_content=[Node(_val=n) for n in NAMES])})},
            "cfg.names",
        ),
        (
            {"loaders": [Node(tls=[0, Node(tfms=Node(vocab=Vocabulary()))])]},
            "loaders.0.tls.1.tfms.vocab",
        ),
        ({"meta": {"epoch": 3, "dataset_meta": {"classes": NAMES}}}, "meta.dataset_meta.classes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_are_read(beside: dict[str, Any], place: str, tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, "epoch": 3, **beside}, tmp_path / "net.pth")
    (found,) = read(tmp_path / "net.pth").class_names
    assert (found.place, found.names) == (f"{place} in net.pth", tuple(NAMES))


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats_of_torch(legacy: bool, tmp_path: Path) -> None:
    content = {"model": WEIGHTS, "idx_to_class": dict(enumerate(NAMES))}
    torch.save(content, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    assert [each.names for each in read(tmp_path / "net.pth").class_names] == [tuple(NAMES)]


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": 3},
        {"classes": [0, 1, 2]},
        {"classes": []},
        {"classes": ["a", ""]},
        {"classes": ["a", "b\x1b[31m"]},
        {"classes": ["x" * 501]},
        {"class_to_idx": {"a": 0, "b": 2}},
        {"idx_to_class": {0: "a", 2: "b"}},
        {"idx_to_class": {10**12: "a"}},
        {"names": "daisy"},
        {"labels": np.array([1, 2])},
        {"labels": np.array([["a"], ["b"]])},
        {"labels": torch.ones(3)},
        {"optimizer": {"param_groups": [{"names": ["w", "b"]}], "names": ["w", "b"]}},
        {"step": Step.TRAIN},
        {"history": {"labels": ["loss", "accuracy"]}},
    ],
    ids=str,
)
def test_other_values_are_no_names(beside: dict[str, Any], tmp_path: Path) -> None:
    torch.save({"state_dict": WEIGHTS, **beside}, tmp_path / "net.pth")
    assert read(tmp_path / "net.pth").class_names == ()


def test_live_values() -> None:
    """`load` takes the dict itself, before it is saved."""
    content = {"idx_to_class": dict(enumerate(NAMES)), "e": LabelEncoder(np.array(NAMES))}
    assert [each.names for each in class_names(content, "it")] == [tuple(NAMES)] * 2


def test_a_large_or_circular_structure_ends() -> None:
    circle: dict[str, Any] = {}
    circle["self"] = circle
    circle["many"] = {str(number): {"classes": 1} for number in range(100_000)}
    assert class_names(circle, "it") == ()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_named_pipe_beside_a_checkpoint_is_not_read(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "a.pth")
    os.mkfifo(tmp_path / "config.json")
    opener = threading.Timer(60, lambda: (tmp_path / "config.json").write_bytes(b""))
    opener.start()  # ends a read that waits
    start = time.monotonic()
    assert read(tmp_path / "a.pth").class_names == ()
    opener.cancel()
    assert time.monotonic() - start < 60
