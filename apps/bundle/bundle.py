"""Model files -> a folder or .tar.gz that runs on a board: models, launcher, pins, systemd unit.

On the board: ``python3 run.py install`` makes an environment and runs the self-test.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from edge_effnet.apps.archive import ARCHIVE, write_tree
from edge_effnet.apps.bundle import launcher, selftest, wheel
from edge_effnet.apps.bundle.boards import Target, suffixes_of, target_of
from edge_effnet.card import ModelCard
from edge_effnet.errors import UsageError
from edge_effnet.runtime.opening import open_model, read_model_files

#: Formats whose integer kernels were measured to give the same bits on x86-64 and on aarch64.
_IDENTICAL = (".tflite", ".onnx")
_RUN = "run.py"
_UNIT = """\
# cp edge-effnet.service /etc/systemd/system/ && systemctl enable --now edge-effnet
# Names each photo that is put in /opt/{name}/photos: journalctl -u edge-effnet -o cat
[Unit]
Description=Names what new photos show (edge-effnet)
After=local-fs.target

[Service]
WorkingDirectory=/opt/{name}
ExecStart=/opt/{name}/.venv/bin/python /opt/{name}/run.py watch /opt/{name}/photos
Restart=on-failure
RestartSec=5
DynamicUser=yes
NoNewPrivileges=yes
ProtectHome=yes

[Install]
WantedBy=multi-user.target
"""
_README = """\
# {name}
For {target}. Put this folder in /opt (the systemd unit expects it there), then:

    {needs}python3 run.py install
    python3 run.py classify photo.jpg

`install` makes .venv with the pinned packages and runs the self-test: known pixels must give the
logits that the exporting machine got. `edge-effnet.service` names every photo that is put in
`photos/`. The whole command line is there too: .venv/bin/edge-effnet --help
"""


def bundle(
    files: Sequence[str | os.PathLike[str]],
    target: str,
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
) -> Path:
    """Write the bundle of ``files`` for ``target`` to ``out``: a folder, or an archive (.tar.gz).

    The models are run here for the self-test. Raises `UsageError` for an unknown target or a
    format that does not run on it, `ModelFileError`, `MissingExtra` or `OutputError`.
    """
    board = target_of(target)
    paths = [Path(file) for file in files]
    if len({path.name for path in paths}) != len(paths):
        raise UsageError("two of the files have the same name; rename one")
    pins = board.pins(suffixes_of(paths))
    name = Path(out).name.removesuffix(ARCHIVE)
    models, expectations = {}, []
    for path in paths:
        data, companion = read_model_files(path)
        models[f"models/{path.name}"] = data
        if companion:
            models[f"models/{path.with_suffix('.bin').name}"] = companion
        classifier = open_model(path, threads=threads)
        exact = _must_match(classifier.card, path, board)
        expectations.append(selftest.expect(classifier, exact=exact).as_json())
    content = {
        "target": target,
        "system_packages": list(board.system),
        "models": expectations,
    }
    return write_tree(
        {
            **models,
            _RUN: Path(launcher.__file__).read_bytes(),
            "bundle.json": (json.dumps(content, indent=1) + "\n").encode(),
            "requirements.txt": "".join(
                f"{line}\n" for line in [*pins, f"./{wheel.NAME}"]
            ).encode(),
            wheel.NAME: wheel.pack(),
            "edge-effnet.service": _UNIT.format(name=name).encode(),
            "README.md": _README.format(name=name, target=target, needs=_needs(board)).encode(),
        },
        out,
        executable=frozenset([_RUN]),
    )


def _must_match(card: ModelCard, path: Path, board: Target) -> bool:
    """Whether the board's logits have to be the same bits: integers in runtimes of one age."""
    return card.precision == "int8" and path.suffix in _IDENTICAL and not board.system


def _needs(board: Target) -> str:
    packages = " ".join(["python3-venv", *board.system])
    return f"sudo apt install {packages}\n    "
