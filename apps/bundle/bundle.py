"""Bundle of model files for a board: models, launcher, pinned packages, self-test.

On the board, ``python3 run.py install`` creates an environment and runs the self-test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from edge_effnet import digest
from edge_effnet.apps.archive import ARCHIVE, write_files
from edge_effnet.apps.bundle import launcher, selftest, wheel
from edge_effnet.apps.bundle.boards import Board, board_of, suffixes_of
from edge_effnet.card import ModelCard
from edge_effnet.errors import UsageError
from edge_effnet.runtime.opening import open_model, read_model_files

#: Formats with bit-identical integer kernels on x86-64 and aarch64, as measured.
_IDENTICAL = (".tflite", ".onnx")
_RUN = "run.py"
_README = """\
# {name}
For {board}. In this folder, as an ordinary user:

    sudo apt install {packages}
    python3 run.py install              # .venv, the pinned packages, the self-test
    python3 run.py classify photo.jpg   # one JSON line

The self-test gives the models known pixels: their logits must be those that the exporting machine
got. `python3 run.py --help` lists the other commands: watch a folder{camera}, print a systemd unit.
The whole command line is there too: .venv/bin/edge-effnet --help
"""


def bundle(
    files: Sequence[str | os.PathLike[str]],
    board: str,
    out: str | os.PathLike[str],
    *,
    camera: bool = False,
    threads: int | None = None,
) -> Path:
    """Write the bundle of ``files`` for ``board`` to ``out``.

    Args:
        files: Exported files. Each file runs once on this machine to record the expected logits.
        board: A key of `edge_effnet.apps.bundle.boards.BOARDS`.
        out: A folder, or an archive whose name ends in ``.tar.gz``.
        camera: Whether to add the packages of the camera app and its preview page.
        threads: Compute threads on this machine; by default one per core.

    Returns:
        ``out`` as a path.

    Raises:
        UsageError: The board is unknown, or does not support a format or the camera.
        ModelFileError: One of ``files`` cannot be used.
        MissingExtra: The runtime of one of ``files`` is not installed here.
        OutputError: ``out`` cannot be written.
    """
    machine = board_of(board)
    paths = [Path(file) for file in files]
    if len({path.name for path in paths}) != len(paths):
        raise UsageError("two of the files have the same name; rename one")
    pins = machine.pins(suffixes_of(paths), camera=camera)
    name = Path(out).name.removesuffix(ARCHIVE)
    models, expectations, digests = {}, [], []
    for path in paths:
        data, companion = read_model_files(path)
        digests.append(digest.verify(data, companion, str(path)) or digest.of(data, companion))
        models[f"models/{path.name}"] = data
        if companion:
            models[f"models/{path.with_suffix('.bin').name}"] = companion
        classifier = open_model(path, threads=threads)
        exact = _must_match(classifier.card, path, machine)
        expectations.append(selftest.expect(classifier, exact=exact).as_json())
    content = {
        "board": board,
        "camera": camera,
        "system_packages": list(machine.system),
        "models": expectations,
        "digests": digests,
    }
    return write_files(
        {
            **models,
            _RUN: Path(launcher.__file__).read_bytes(),
            "bundle.json": (json.dumps(content, indent=1) + "\n").encode(),
            "requirements.txt": "".join(
                f"{line}\n" for line in [*pins, f"./{wheel.NAME}"]
            ).encode(),
            wheel.NAME: wheel.pack(),
            "README.md": _README.format(
                name=name,
                board=board,
                packages=" ".join(["python3-venv", *machine.system]),
                camera=" or a camera" if camera else "",
            ).encode(),
        },
        out,
        executable=frozenset([_RUN]),
    )


def _must_match(card: ModelCard, path: Path, board: Board) -> bool:
    """Whether the board's logits must be bit-identical: int8 file and same runtime version."""
    return card.precision == "int8" and path.suffix.lower() in _IDENTICAL and not board.system
