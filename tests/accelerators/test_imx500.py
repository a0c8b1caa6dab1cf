"""IMX500 files: Sony's simulation agrees with the float network, which fits the sensor."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest

from edge_effnet.benchmarks.operator_support.check import check
from edge_effnet.converters.formats import imx500
from edge_effnet.toolchains import environment
from edge_effnet.toolchains.registry import IMX500
from support import simulated
from support.labelled_photos import LabelledPhotos

if not environment.is_supported(IMX500):
    pytest.skip("Sony's toolchain is for Linux on x86-64", allow_module_level=True)
if shutil.which("java") is None:
    pytest.skip("Sony's converter needs Java 17", allow_module_level=True)


def test_simulated_accuracy_and_memory(
    imagenet_dev: LabelledPhotos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on 300 photos: 99 % agreement, 22.7 dB, 6.23 MiB."""
    network = simulated.lite0(imx500, imagenet_dev, tmp_path, monkeypatch)
    support = check(network.file, "imx500")
    print(f"{network.agreement:.1%} agreement, {network.sqnr_db:.1f} dB; {support.estimates}")
    assert network.agreement >= 0.95
    assert network.sqnr_db > 20
    assert support.estimates["MiB in all"] < 7
    with zipfile.ZipFile(network.file) as archive:
        parameters = archive.read("dnnParams.xml").decode()
    tensor = parameters[parameters.index("<inputTensor ") :].partition(">")[0]
    assert 'scale="0.0078125"' in tensor  # the pixels minus 128, as int8
    assert 'format="signed"' in tensor
