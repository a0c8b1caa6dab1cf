"""Qualcomm's HTP on its x86 simulator, in an environment of its own: placement and agreement."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from accelerators.networks import NETWORKS, files_of

from edge_effnet import evaluate
from edge_effnet.toolchains import environment
from edge_effnet.toolchains.registry import QNN
from support import command
from support.command import done, file
from support.labelled_photos import LabelledPhotos

PHOTOS = int(os.environ.get("EDGE_EFFNET_QNN_PHOTOS", "100"))
if not environment.is_supported(QNN):
    pytest.skip("the simulator is for Linux on x86-64", allow_module_level=True)

#: Least top-1 agreement with ONNX Runtime's CPU. Measured: 100 and 97 of 100 photos.
#: The CPU's two best logits nearly tie on the others.
LEAST = {"efficientnet-lite0": 0.97, "efficientnetv2-b0": 0.91}


@pytest.mark.parametrize("network", NETWORKS)
def test_int8_files_run_on_the_htp(
    network: str, imagenet_dev: LabelledPhotos, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in imagenet_dev.paths("evaluation")[:PHOTOS]:
        (folder / photo.name).symlink_to(photo)
    path = files_of(network, imagenet_dev)[("onnx", "int8")]
    (record,) = evaluate(path, folder, labels="none", reference=path, devices="qnn")
    print(f"{network}: {record.placement}; agreement {record.agreement}")
    assert record.placement is not None
    assert record.placement.software
    assert record.placement.share > 0.99
    assert record.agreement is not None
    assert record.agreement >= LEAST[network]


def test_check_names_what_falls_back() -> None:
    checked = command.run("check", file("int8", ".onnx"), "--target", "qnn", "--json", "-")
    assert checked.returncode in (0, 1), checked
    content = json.loads(checked.stdout)
    assert content["accelerator"] == "HTP"
    where = {operator["kind"]: operator["where"] for operator in content["placement"]}
    assert where["Conv"] == "HTP"
    assert "export" not in checked.stderr  # it is an int8 file already
    assert len(content["placement"]) == content["operators"] > content["elsewhere"]


def test_a_simulator_is_not_timed() -> None:
    path = file("int8", ".onnx")
    measured = done(command.run("benchmark", path, "--device", "qnn", "--json", "-"))
    (record,) = json.loads(measured)["records"]
    assert (record["device"], record["latency_ms"]) == ("qnn", None)
