"""OpenVINO's virtual devices run a file, and say where."""

from __future__ import annotations

import numpy as np
import pytest

from edge_effnet import open as open_file
from support import command
from support.command import file

pytest.importorskip("openvino", reason="the devices are OpenVINO's")


@pytest.mark.parametrize("device", ["AUTO", "HETERO:CPU"])
def test_a_virtual_device_predicts_as_the_cpu(device: str) -> None:
    path, photos = file("int8", ".xml"), sorted(command.photos().iterdir())
    here, there = open_file(path), open_file(path, device=device, device_options={})
    np.testing.assert_allclose(there.logits(photos), here.logits(photos), rtol=0, atol=1e-4)
    placement = there.runner.placement()
    assert placement.complete
    assert "CPU" in placement.device
    assert placement.multiply_adds == here.runner.placement().multiply_adds
    assert there.runner.info.device == device
