"""Class names in a checkpoint name the classes of the model; what is not used is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

import edge_effnet
from edge_effnet.checkpoints.pytorch import timm
from edge_effnet.model import Model
from edge_effnet.network import build
from edge_effnet.registry import get_variant

NAMES = ["daisy", "dandelion", "rose"]
Load = Callable[..., tuple[Model, str]]


@pytest.fixture(scope="module")
def network() -> dict[str, torch.Tensor]:
    """timm's Lite0 of three classes, filled with noise."""
    graph, rng = build(get_variant("lite0"), classes=3), np.random.default_rng(0)
    return {
        theirs: torch.from_numpy(rng.random(graph.parameter_shapes[ours], np.float32))
        for ours, theirs in timm.names(graph).items()
    }


@pytest.fixture
def load(tmp_path: Path, network: dict[str, torch.Tensor]) -> Load:
    """Loads the network beside the given entries: the model, and all notes."""

    def loaded(beside: dict[str, Any], **options: Any) -> tuple[Model, str]:
        torch.save({"state_dict": network, **beside}, tmp_path / "net.pth")
        notes: list[str] = []
        path = tmp_path / "net.pth"
        model = edge_effnet.load(
            "auto", path, source="timm", resolution=32, notify=notes.append, **options
        )
        return model, "\n".join(notes)

    return loaded


def test_names_in_the_file_are_used_and_said(load: Load) -> None:
    model, notes = load({"class_to_idx": {"rose": 2, "daisy": 0, "dandelion": 1}})
    assert model.info.labels == tuple(NAMES)
    assert "class_to_idx in net.pth: daisy, dandelion, rose" in notes


def test_the_users_names_win(load: Load) -> None:
    model, notes = load({"class_names": NAMES}, labels=["a", "b", "c"])
    assert model.info.labels == ("a", "b", "c")
    assert "class names are" not in notes


def test_another_number_of_names_is_said(load: Load) -> None:
    model, notes = load({"hyper_parameters": {"classes": [*NAMES, "tulip"]}})
    assert model.info.labels[0] == "class 0"
    assert "4 class names are stored (hyper_parameters.classes in net.pth)" in notes


def test_the_list_that_fits_is_taken(load: Load) -> None:
    model, _ = load({"class_names": ["flower"], "classes": NAMES})
    assert model.info.labels == tuple(NAMES)


def test_lists_that_contradict_each_other_are_not_used(load: Load) -> None:
    model, notes = load({"class_names": NAMES, "idx_to_class": dict(enumerate(NAMES[::-1]))})
    assert model.info.labels[0] == "class 0"
    assert "(class_names in net.pth and idx_to_class in net.pth)" in notes


def test_two_names_of_one_sigmoid_output(tmp_path: Path, network: dict[str, torch.Tensor]) -> None:
    tensors = {n: t[:1] if n.startswith("classifier") else t for n, t in network.items()}
    content = {"state_dict": tensors, "classes": ["cat", "dog"]}
    model = edge_effnet.load(
        "auto", content, source="timm", output_activation="sigmoid", notify=lambda text: None
    )
    assert model.info.labels == ("cat", "dog")


@pytest.mark.parametrize(
    "beside",
    [
        {"criterion": torch.nn.BCEWithLogitsLoss()},
        {"hyper_parameters": {"loss": torch.nn.MultiLabelSoftMarginLoss()}},
        {"state": {"criterion.pos_weight": torch.ones(3)}},
    ],
    ids=["object", "hyperparameter", "buffer"],
)
def test_a_loss_of_independent_labels_is_said(load: Load, beside: dict[str, Any]) -> None:
    model, notes = load(beside)
    assert model.info.output_activation == "softmax"
    assert "loss of independent labels" in notes
    assert "output_activation='sigmoid'" in notes
    _, notes = load(beside, output_activation="sigmoid")
    assert "independent" not in notes
    _, notes = load({"criterion": torch.nn.CrossEntropyLoss()})
    assert "independent" not in notes


def test_biases_of_rare_labels_are_said(load: Load, network: dict[str, torch.Tensor]) -> None:
    """Focal loss starts the biases at the prior of a label; a softmax has no such mean."""
    rare = {**network, "classifier.bias": torch.tensor([-4.6, -4.2, -3.9])}
    model, notes = load({"state_dict": rare})
    assert model.info.output_activation == "softmax"
    assert "rare independent labels: taken for softmax" in notes
    assert "output_activation='sigmoid'" in notes
    for biases, options in (
        ([-4.6, -4.2, -3.9], {"output_activation": "sigmoid"}),
        ([-4.6, -4.2, 3.9], {}),
    ):
        one = {**network, "classifier.bias": torch.tensor(biases)}
        assert "independent" not in load({"state_dict": one}, **options)[1]


def test_metadata_of_safetensors(tmp_path: Path, network: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "net.safetensors"
    words = {"class_names": json.dumps(NAMES), "note": "not json"}
    save_file({name: t.numpy() for name, t in network.items()}, path, words)
    model = edge_effnet.load("auto", path, source="timm", notify=lambda text: None)
    assert model.info.labels == tuple(NAMES)


def test_a_folder_with_a_config(tmp_path: Path, network: dict[str, torch.Tensor]) -> None:
    """The config beside the weights is read, as timm's ``save_for_hf`` writes it."""
    save_file({name: t.numpy() for name, t in network.items()}, tmp_path / "model.safetensors")
    config = {"architecture": "tf_efficientnet_lite0", "label_names": NAMES}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = edge_effnet.load("auto", tmp_path, notify=lambda text: None)
    assert model.info.labels == tuple(NAMES)
    assert model.info.source is not None
    assert model.info.source.kind == "timm-tf"
