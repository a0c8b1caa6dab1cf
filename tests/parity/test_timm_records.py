"""The table of timm's released weights, against the registry of the installed timm."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
from timm.data import resolve_data_config

from edge_effnet.checkpoints.pytorch.timm import SOURCE, TF
from edge_effnet.checkpoints.pytorch.timm_records import RECORDS
from edge_effnet.checkpoints.source import Checkpoint
from edge_effnet.variants import VARIANTS

#: Architectures of timm's with names like ours that are other networks.
_OTHERS = ("_pruned", "_cc_", "_rw_", "_h_", "_x_", "test_", "gc_")


def test_every_released_weight_has_a_row() -> None:
    names = {
        name
        for name in timm.list_pretrained("*efficientnet*")
        if not any(part in name for part in _OTHERS)
    }
    assert names == set(RECORDS)


@pytest.mark.parametrize("name", RECORDS)
def test_a_row_is_timms(name: str) -> None:
    config = timm.get_pretrained_cfg(name).to_dict()
    data = resolve_data_config(pretrained_cfg=config, use_test_size=True)
    record = RECORDS[name]
    preprocess = record.preprocess(record.size)
    assert (3, record.size, record.size) == data["input_size"]
    assert preprocess.crop == data["crop_pct"]
    assert preprocess.crop_mode == data["crop_mode"]
    assert preprocess.interpolation == data["interpolation"]
    assert preprocess.mean == pytest.approx(tuple(255 * mean for mean in data["mean"]))
    assert preprocess.std == pytest.approx(tuple(255 * std for std in data["std"]))
    assert record.file == config.get("url", "").rpartition("/")[2].removesuffix(".pth")
    assert record.classes == config["num_classes"]
    assert record.variant in VARIANTS
    assert record.tensorflow == name.startswith("tf_")


@pytest.mark.parametrize("name", RECORDS)
def test_hub_folders_and_released_files_name_their_row(name: str) -> None:
    record = RECORDS[name]
    paths = [
        Path(f"/cache/models--timm--{name}/snapshots/0a1b2c/model.safetensors"),
        Path(f"/weights/{name}.safetensors"),
        Path(f"/train/20260101-120000-{name.replace('.', '_')}-224/model_best.pth.tar"),
    ]
    if record.file:
        paths.append(Path(f"/hub/checkpoints/{record.file}.pth"))
    source = TF if record.tensorflow else SOURCE
    classifier = {"classifier.weight": np.zeros((record.classes, 4), np.float32)}
    for path in paths:
        facts = source.facts(VARIANTS[record.variant], Checkpoint(path, classifier))
        assert facts.preprocess(100) == record.preprocess(100), path
        assert (facts.resolution, facts.note) == (record.size, None), path
