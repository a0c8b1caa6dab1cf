"""Memory of a network on Sony's IMX500, from the converter's report in an .imx500.zip file."""

from __future__ import annotations

import re
import zipfile
import zlib
from pathlib import Path

from edge_effnet.benchmarks.operator_support.support import OperatorSupport
from edge_effnet.errors import ModelFileError
from edge_effnet.files import missing

TARGET = "imx500"
_PARAMETERS = "dnnParams.xml"
_LARGEST = 1 << 20  # bytes of the parameters; Lite0's are 1.4 kB
_MEMORY = re.compile(rb"<l2memory ([^<>]*)/>")
_ATTRIBUTE = re.compile(rb'(\w+)="(\d{1,12})"')
_RELEASE = re.compile(rb'"Release Version": "([0-9.]{1,20})"')
_MANIFEST = "manifest.json"


def check(path: Path) -> OperatorSupport:
    """Memory that the network of an .imx500.zip file takes; the sensor runs all of its operators.

    Raises:
        ModelFileError: The file is missing, or the converter did not write it.
    """
    if not path.is_file():
        raise ModelFileError(missing(path))
    try:
        with zipfile.ZipFile(path) as archive:
            parameters, manifest = (_read(archive, name) for name in (_PARAMETERS, _MANIFEST))
    except (OSError, KeyError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error):
        raise _damaged(path) from None
    memory, release = _MEMORY.search(parameters), _RELEASE.search(manifest)
    if memory is None or release is None:
        raise _damaged(path)
    sizes = {name.decode(): int(size) for name, size in _ATTRIBUTE.findall(memory[1])}
    try:
        weights, runtime = sizes["coefficientsSize"], sizes["networksRuntimeSize"]
        used, total = weights + runtime + sizes["reservedMemorySize"], sizes["totalSize"]
    except KeyError:
        raise _damaged(path) from None
    estimates = {
        "MiB of weights": weights / 2**20,
        "MiB of activations": runtime / 2**20,
        "MiB in all": used / 2**20,
    }
    share, capacity = used / max(total, 1), total / 2**20
    note = f"{share:.0%} of the sensor's {capacity:.2f} MiB. It runs every operator."
    judge = f"imx500-converter {release[1].decode()}"
    return OperatorSupport(str(path), TARGET, judge, "", (), estimates, (note,))


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as file:
        content = file.read(_LARGEST + 1)
    if len(content) > _LARGEST:
        raise ValueError(f"{name} is too large")
    return content


def _damaged(path: Path) -> ModelFileError:
    return ModelFileError(
        f"{path} is no file of Sony's converter for the IMX500",
        hint="export it with formats='imx500'",
    )
