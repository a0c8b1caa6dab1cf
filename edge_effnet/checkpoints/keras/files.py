"""Layers and config of a .keras or .h5 file, read in a child process with `limits`.

libhdf5 follows the file's links and heaps unchecked: a damaged file makes it loop, or allocate as
much as the file claims. The child's output is a line of JSON, then the arrays as float32.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from edge_effnet import json_text, limits, reading
from edge_effnet.checkpoints.readers.damage import DAMAGE, most_unpacked
from edge_effnet.checkpoints.readers.hdf5 import Layer, read_layers
from edge_effnet.errors import CheckpointError, MissingExtra

CONFIG = "config.json"
_WEIGHTS = "model.weights.h5"
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ERRORS: dict[int, type[CheckpointError | MissingExtra]] = {2: CheckpointError, 3: MissingExtra}
_BROKEN = "it is damaged or cut off; fetch it or save it again"


def is_keras(path: Path) -> bool:
    """Whether a zip file has the members of a .keras file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {CONFIG, _WEIGHTS} <= set(archive.namelist())
    except (OSError, *DAMAGE):
        return False


def read_file(path: Path) -> tuple[list[Layer], str | None]:
    """The layers in ``path``, and the model's config as JSON if the file has one.

    Raises:
        CheckpointError: The file is no Keras file, is damaged, or costs more than `limits` allow.
        MissingExtra: h5py is not installed.
        OSError: The file cannot be opened.
    """
    reading.check_regular(path)
    with path.open("rb"):  # the errors of the system, in this process
        size = path.stat().st_size
    try:
        done = limits.run(__name__, (str(path),), size)
    except subprocess.TimeoutExpired as late:
        raise CheckpointError(f"it was {limits.slowness(size, late)}") from None
    if done.returncode in _ERRORS:
        message = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise _ERRORS[done.returncode](message)
    if done.returncode != 0:
        raise CheckpointError(_BROKEN)
    return _unpacked(done.stdout)


def _main(path: Path) -> int:
    """Print the layers of ``path``; an error is one line on standard error and an exit code."""
    try:
        layers, config = _read(path)
    except (CheckpointError, MissingExtra) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return next(code for code, kind in _ERRORS.items() if isinstance(error, kind))
    except (OSError, MemoryError, *DAMAGE):  # h5py raises OSError for most damage
        print(_BROKEN, file=sys.stderr)
        return 2
    records = [
        (
            each.kind,
            each.name,
            each.model,
            each.numbered,
            {n: a.shape for n, a in each.variables.items()},
        )
        for each in layers
    ]
    output = sys.stdout.buffer
    output.write(json.dumps({"config": config, "layers": records}).encode() + b"\n")
    for each in layers:
        for values in each.variables.values():
            output.write(np.ascontiguousarray(values, "<f4").data)
    output.flush()
    return 0


def _read(path: Path) -> tuple[list[Layer], str | None]:
    size = path.stat().st_size
    with path.open("rb") as file:
        if file.read(2) == b"PK":
            return _read_zip(path, size)
        return read_layers(file, most_unpacked(size))


def _read_zip(path: Path, size: int) -> tuple[list[Layer], str]:
    """Layers and config from a .keras file, read in memory; nothing is unpacked to disk."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        limit = most_unpacked(size)
        if unpacked > limit:
            raise CheckpointError(
                f"it is a zip bomb: {size} bytes that claim to unpack to {unpacked}; do not use it"
            )
        astray = [m.filename for m in members if m.filename[:1] in "/\\" or ".." in m.filename]
        if astray:
            raise CheckpointError(f"{astray[0]!r} in it points out of the file; do not use it")
        missing = {CONFIG, _WEIGHTS} - set(archive.namelist())
        if missing:
            raise CheckpointError(
                f"it is a zip archive without {' and '.join(sorted(missing))}; save the model with "
                "model.save('model.keras')"
            )
        if any(archive.getinfo(name).compress_type not in _STORED for name in (CONFIG, _WEIGHTS)):
            raise CheckpointError(f"it is compressed in a way that Keras never uses; {_BROKEN}")
        config = archive.read(CONFIG).decode()
        weights = archive.read(_WEIGHTS)
    layers, _ = read_layers(io.BytesIO(weights), limit)
    return layers, config


def _unpacked(output: bytes) -> tuple[list[Layer], str | None]:
    """The layers and the config in the child's output."""
    start = output.index(b"\n") + 1
    header = json_text.parse(output[:start])
    layers = []
    for kind, name, model, numbered, shapes in header["layers"]:
        variables = {}
        for part, shape in shapes.items():
            count = math.prod(shape)
            values = np.frombuffer(output, "<f4", count, start).reshape(shape)
            variables[part] = values.astype(np.float32, copy=False)
            start += 4 * count
        layers.append(Layer(kind, name, variables, model, numbered))
    return layers, header["config"]


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
