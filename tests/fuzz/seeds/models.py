"""Exported files of the tiny network, with and without a card."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from edge_effnet import digest
from fuzz import tiny
from fuzz.seeds import Seed

_PRECISIONS = ("fp32", "int8")
#: Whether .pte files can be made and read.
WITH_EXECUTORCH = find_spec("executorch") is not None
_CARD, _FOREIGN = b"edge_effnet", b"other_tools"


def sealed(suffix: str) -> list[Seed]:
    """Files with a card and a digest."""
    if suffix == ".pte":
        return [{"net.pte": data} for data in _programs()]
    return [_files(precision, suffix) for precision in _PRECISIONS]


def bare(suffix: str) -> list[Seed]:
    """The same files under another toolkit's name for the card: neither is found."""
    return [
        {name: _anonymous(data) if name.endswith(suffix) else data for name, data in seed.items()}
        for seed in sealed(suffix)
    ]


def redigested(seed: Seed) -> Seed:
    """The files with a digest that is right: anyone can compute one."""
    (name, data), *beside = seed.items()
    marker = digest._PREFIX.encode()
    parts = data.split(marker)
    if len(parts) != 2 or len(parts[1]) < 64:
        return seed
    blank = marker.join((parts[0], b"0" * 64 + parts[1][64:]))
    companion = beside[0][1] if beside else b""
    return {name: digest.stamp(blank, companion), **dict(beside)}


def quantized() -> list[Seed]:
    """A quantized model that was saved."""
    return [{"net.safetensors": _quantized()}]


def _anonymous(data: bytes) -> bytes:
    return data.replace(_CARD, _FOREIGN).replace(b"edge-effnet:sha256:", b"edge-effnet:sha255:")


@cache
def _folder() -> dict[str, bytes]:
    from edge_effnet import calibrate, export

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = calibrate(tiny.model(), _photos(folder), notify=_ignore)
        export(plan, precisions=_PRECISIONS, out=folder / "out", force=True, notify=_ignore)
        plan.save(folder / "out" / "plan.safetensors")
        return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def _photos(folder: Path) -> Path:
    from PIL import Image

    rng = np.random.default_rng(1)
    photos = folder / "photos"
    photos.mkdir()
    for number in range(4):
        photo = rng.integers(0, 256, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(photo).save(photos / f"{number}.png")
    return photos


@cache
def _programs() -> list[bytes]:
    """.pte files. PyTorch's exporter starts threads, and a process with threads must not fork."""
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([sys.executable, "-m", __name__, name], check=True, capture_output=True)
        return [path.read_bytes() for path in sorted(Path(name).glob("*.pte"))]


def _write_programs(folder: Path) -> None:
    from edge_effnet import calibrate, export

    tiny.install()
    plan = calibrate(tiny.model(), _photos(folder), notify=_ignore)
    export(plan, formats="executorch", precisions=_PRECISIONS, out=folder, notify=_ignore)


def _files(precision: str, suffix: str) -> Seed:
    stem = f"{tiny.NAME}-{precision}"
    suffixes = (".xml", ".bin") if suffix == ".xml" else (suffix,)
    return {f"net{each}": _folder()[stem + each] for each in suffixes}


def _quantized() -> bytes:
    return _folder()["plan.safetensors"]


def _ignore(text: str) -> None:
    """Nobody reads the notes on a random network."""


if __name__ == "__main__":
    _write_programs(Path(sys.argv[1]))
