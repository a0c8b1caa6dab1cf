"""check --target imx500: memory from the converter's figures, and files that are not its own."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from edge_effnet.benchmarks.operator_support.check import check
from edge_effnet.errors import ModelFileError, UsageError
from support.command import call, done, refused

PARAMETERS = (
    '<?xml version="1.0"?><dnnParams><networks/><l2memory totalSize="8388480" '
    'coefficientsSize="5012864" reservedMemorySize="1024" networksRuntimeSize="1517664"/>'
    "</dnnParams>"
)
MANIFEST = '{"Release Version": "3.19.1", "Target": "IMX500"}'


def written(folder: Path, parameters: str = PARAMETERS, manifest: str = MANIFEST) -> Path:
    path = folder / "tiny-int8.imx500.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("dnnParams.xml", parameters)
        archive.writestr("manifest.json", manifest)
    return path


def test_memory_is_reported(tmp_path: Path) -> None:
    """The figures of a real Lite0 file, whose converter reported 4.78, 1.45 and 6.23 MB, 78 %."""
    support = check(written(tmp_path), "imx500")
    assert support.judge == "imx500-converter 3.19.1"
    assert [f"{value:.2f}" for value in support.estimates.values()] == ["4.78", "1.45", "6.23"]
    assert support.notes[0].startswith("78% of the sensor's 8.00 MiB")
    assert not support.elsewhere


def test_the_command(tmp_path: Path) -> None:
    path = str(written(tmp_path))
    content = json.loads(done(call("check", path, "--target", "imx500", "--json", "-")))
    assert round(content["figures"]["MiB in all"], 2) == 6.23
    assert "6.229 MiB in all" in done(call("check", path, "--target", "imx500"))


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no archive"),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        lambda path: written(path.parent, parameters="<dnnParams/>"),
        lambda path: written(path.parent, parameters='<l2memory totalSize="1"/>'),
        lambda path: written(path.parent, manifest="{}"),
        lambda path: written(path.parent, parameters=PARAMETERS + " " * (2 << 20)),
        lambda path: zipfile.ZipFile(path, "w").close(),
    ],
)
def test_other_archives_are_refused(damage: object, tmp_path: Path) -> None:
    path = written(tmp_path)
    damage(path)  # type: ignore[operator]
    with pytest.raises(ModelFileError, match="no file of Sony's converter"):
        check(path, "imx500")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"imx500 takes \.imx500\.zip files, not a\.tflite"):
        check(tmp_path / "a.tflite", "imx500")
    with pytest.raises(ModelFileError):
        check(tmp_path / "missing.imx500.zip", "imx500")
    refused(call("check", str(tmp_path / "missing.imx500.zip"), "--target", "imx500"))
