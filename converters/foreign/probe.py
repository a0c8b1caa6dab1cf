"""Check of a foreign .onnx file in a child process with `limits`, before this process reads it.

ONNX's checker and shape inference, ONNX Runtime and OpenVINO can crash, or take hours, on a damaged
or hostile file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_effnet import limits
from edge_effnet.errors import CheckpointError, EdgeEffNetError, MissingExtra, UsageError
from edge_effnet.protobuf import varint

_ERRORS: dict[int, type[EdgeEffNetError]] = {2: CheckpointError, 3: MissingExtra, 4: UsageError}
#: The key "location" of a tensor's external data in protobuf, up to the length of its value.
_LOCATION = b"\x0a\x08location\x12"


def check(path: Path, resolution: int | None, formats: Sequence[str]) -> None:
    """Read, open and run ``path`` once in a child process.

    Args:
        path: The .onnx file. A missing or unreadable one is left to the reader.
        resolution: Side of the input in pixels, for files without a fixed side.
        formats: Formats to be written; their converters read the file too.

    Raises:
        CheckpointError: The file cannot be converted.
        UsageError: The file does not accept the resolution.
        MissingExtra: A package is not installed.
    """
    from edge_effnet.converters.foreign.onnx_file import LARGEST

    if not path.is_file() or path.stat().st_size > LARGEST:
        return
    arguments = (str(path), str(resolution or 0), *sorted({"openvino"} & {*formats}))
    size = _size(path)
    try:
        done = limits.run(__name__, arguments, size)
    except subprocess.TimeoutExpired as late:
        raise CheckpointError(f"{path} was {limits.slowness(size, late)}") from None
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be checked: no child process can be started ({error.strerror}); raise "
            "the limits of this process, or export on another machine"
        ) from error
    if done.returncode in _ERRORS:
        message, hint = json.loads(done.stderr.strip().rpartition(b"\n")[2])
        raise _ERRORS[done.returncode](message, hint=hint)
    if done.returncode != 0:
        raise CheckpointError(
            f"{path} crashes its runtime (exit {done.returncode}) or needs more than "
            f"{limits.memory_for(size) >> 20:,} MB; export it again"
        )


def _size(path: Path) -> int:
    """Bytes of the file, and of the file beside it with the external data of its tensors."""
    content = path.read_bytes()
    location = content.find(_LOCATION)
    if location < 0:
        return len(content)
    try:
        length, start = varint(content, location + len(_LOCATION))
        beside = os.path.join(os.fsencode(path.parent), content[start : start + length])
        return len(content) + os.path.getsize(beside)
    except (IndexError, OSError, ValueError):  # the reader says what is wrong with it
        return len(content)


def _main(path: Path, resolution: int | None, *converters: str) -> int:
    """Exit code; an error is the last line of standard error, as JSON."""
    try:
        _open(path, resolution, bool(converters))
    except EdgeEffNetError as error:
        code = next((code for code, kind in _ERRORS.items() if isinstance(error, kind)), 2)
        print(json.dumps([error.message, error.hint]), file=sys.stderr)
        return code
    except Exception as error:  # errors of runtimes have no other common base
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        print(
            json.dumps([f"{path} cannot be run ({reason}); export it again", ""]), file=sys.stderr
        )
        return 2
    return 0


def _open(path: Path, resolution: int | None, with_openvino: bool) -> None:
    import numpy as np

    from edge_effnet.converters.foreign.onnx_file import read
    from edge_effnet.runtime.onnxruntime import OnnxRuntimeRunner

    network = read(path, resolution)
    blank = np.zeros(network.input.image_shape, np.float32)
    for data in (network.original, network.proto.SerializeToString()):
        OnnxRuntimeRunner(data, 1, str(path)).run(blank)
    if with_openvino:
        from edge_effnet.converters.formats.openvino import ov

        core = ov.Core()
        compiled = core.compile_model(core.read_model(network.proto.SerializeToString()), "CPU")
        compiled(blank)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), int(sys.argv[2]) or None, *sys.argv[3:]))
