"""Networks of libraries that are not installed here: recorded layouts and outputs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from edge_effnet.checkpoints import load
from edge_effnet.forward import logits
from support import recorded_networks
from support.seeded_values import images


@pytest.mark.slow
@pytest.mark.parametrize("name", recorded_networks.names())
def test_outputs_are_the_librarys(name: str, tmp_path: Path) -> None:
    record = recorded_networks.recorded(name)
    path = tmp_path / "model.safetensors"
    save_file(record.state_dict(), path)
    for file, content in record.files.items():
        (tmp_path / file).write_text(json.dumps(content))
    model = load("auto", path, notify=lambda text: None, **record.options)
    assert model.info.preprocess.size == record.side
    values = model.info.preprocess.normalise(images(record.side)).transpose(0, 3, 1, 2)
    outputs = logits(model.graph, model.weights, np.ascontiguousarray(values))
    expected = np.array(record.outputs)
    assert np.abs(outputs - expected).max() < 1e-4 * np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 0.005 * np.abs(expected).max()
