"""Exported files of the tiny network, with and without a card."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from edge_effnet import digest
from fuzz import tiny
from fuzz.seeds import Seed

_PRECISIONS = ("fp32", "int8")
_CARD, _FOREIGN = b"edge_effnet", b"other_tools"


def sealed(suffix: str) -> list[Seed]:
    """Files with a card and a digest."""
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

    rng = np.random.default_rng(1)
    photos = [rng.integers(0, 256, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(4)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        from PIL import Image

        (folder / "photos").mkdir()
        for number, photo in enumerate(photos):
            Image.fromarray(photo).save(folder / "photos" / f"{number}.png")
        plan = calibrate(tiny.model(), folder / "photos", notify=_ignore)
        export(plan, precisions=_PRECISIONS, out=folder / "out", force=True, notify=_ignore)
        plan.save(folder / "out" / "plan.safetensors")
        return {path.name: path.read_bytes() for path in (folder / "out").iterdir()}


def _files(precision: str, suffix: str) -> Seed:
    stem = f"{tiny.NAME}-{precision}"
    suffixes = (".xml", ".bin") if suffix == ".xml" else (suffix,)
    return {f"net{each}": _folder()[stem + each] for each in suffixes}


def _quantized() -> bytes:
    return _folder()["plan.safetensors"]


def _ignore(text: str) -> None:
    """Nobody reads the notes on a random network."""
