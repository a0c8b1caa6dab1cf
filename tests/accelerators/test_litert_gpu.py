"""LiteRT's GPU accelerator on Chromium's software adapter: placement, agreement with XNNPACK."""

from __future__ import annotations

import json

import numpy as np
import pytest
from accelerators.networks import NETWORKS, files_of

from edge_effnet import open as open_file
from edge_effnet.errors import UsageError
from edge_effnet.runtime.devices import vulkan
from edge_effnet.runtime.devices.litert import SWIFTSHADER
from support import command
from support.command import done, file
from support.labelled_photos import LabelledPhotos

pytest.importorskip("ai_edge_litert.compiled_model", reason="the GPU accelerator is LiteRT 2's")
if vulkan.swiftshader() is None:
    pytest.skip("the software adapter comes with Chromium", allow_module_level=True)

#: Photos by precision; the software adapter takes seconds for a float photo, more for an int8 one.
PHOTOS = {"fp32": 20, "fp16": 20, "int8": 8}
#: Least top-1 agreement with XNNPACK by precision. Measured on 100 photos: 100 % in float; int8
#: files are computed in float there and round differently: 98 % with Lite0, so one of 8 may differ.
LEAST = {"fp32": 0.999, "fp16": 0.999, "int8": 0.87}


@pytest.mark.parametrize("precision", LEAST)
@pytest.mark.parametrize("network", NETWORKS)
def test_the_gpu_predicts_as_the_cpu(
    network: str, precision: str, imagenet_dev: LabelledPhotos
) -> None:
    photos = imagenet_dev.paths("evaluation")[: PHOTOS[precision]]
    path = files_of(network, imagenet_dev)[("tflite", precision)]
    here, there = open_file(path), open_file(path, device=SWIFTSHADER)
    placement = there.runner.placement()
    assert placement.complete, placement
    assert placement.software
    assert "SwiftShader" in placement.device
    expected, logits = here.logits(photos), there.logits(photos)
    agreement = float((expected.argmax(1) == logits.argmax(1)).mean())
    print(f"{network} {precision}: {placement}; agreement {agreement:.1%} of {len(photos)} photos")
    assert agreement >= LEAST[precision]
    if precision == "fp32":
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3)


def test_the_command_says_that_the_adapter_is_software() -> None:
    path = file("fp32", ".tflite")
    measured = done(command.run("benchmark", path, "--device", SWIFTSHADER, "--json", "-"))
    (record,) = json.loads(measured)["records"]
    assert record["device"] == SWIFTSHADER
    assert record["placement"]["software"]
    assert record["latency_ms"] is None
    table = done(command.run("benchmark", path, "--device", SWIFTSHADER))
    assert "software, not timed" in " ".join(table.split())


def test_nothing_is_logged() -> None:
    photo = next(iter(sorted(command.photos().iterdir())))
    classified = command.run("classify", file("int8", ".tflite"), photo, "--device", SWIFTSHADER)
    assert classified.returncode == 0
    assert classified.stderr == ""
    assert "INFO" not in classified.stdout


def test_an_unknown_option_is_refused() -> None:
    path = file("fp32", ".tflite")
    with pytest.raises(UsageError, match="no option 'speed'; it has precision"):
        open_file(path, device=SWIFTSHADER, device_options={"speed": "high"})
    opened = open_file(path, device=SWIFTSHADER, device_options={"precision": "f32"})
    assert opened.runner.info.kernels.endswith("float32")
