"""Runs on the emulated Pi and, for comparison, on this machine: MODEL FOLDER OUT.npz.

Writes the pixels and logits of every photo of FOLDER and, in bytes, the memory that the process
holds after a few runs: all of it, and without the emulator's own share.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np

import edge_effnet
from edge_effnet import digest
from edge_effnet.photo_files import list_images
from edge_effnet.runtime import known_files


def resident() -> tuple[int, int]:
    """Bytes of this process in memory: (all, those of the program itself).

    Under user-mode emulation /proc/self/maps lists the program's memory alone, /proc/self/smaps
    the emulator's too (its translated code, mostly).
    """
    own = [_span(line) for line in Path("/proc/self/maps").read_text().splitlines()]
    total = program = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            start, end = _span(line)
            inside = any(start < last and first < end for first, last in own)
        elif line.startswith("Rss:"):
            size = int(line.split()[1]) * 1024
            total += size
            program += size * inside
    return total, program


def _span(line: str) -> tuple[int, int]:
    first, last = line.split()[0].split("-")
    return int(first, 16), int(last, 16)


def main(model: str, folder: str, out: str) -> None:
    """Run ``model`` on every photo."""
    # The emulator cannot start a second emulated program, so the file is not checked in a child.
    path = Path(model)
    beside = path.with_suffix(".bin").read_bytes() if path.suffix == ".xml" else b""
    known_files.trust(digest.verify(path.read_bytes(), beside) or "")
    classifier = edge_effnet.open(model, threads=2)
    blank = np.zeros((classifier.card.preprocess.size,) * 2 + (3,), np.uint8)
    for _ in range(5):
        classifier.logits_of_pixels(blank)
    memory = resident()
    pixels = [classifier.card.preprocess.pixels(photo) for photo in list_images(folder)]
    logits = [classifier.logits_of_pixels(image) for image in pixels]
    np.savez(out, pixels=np.stack(pixels), logits=np.stack(logits), memory=np.array(memory))


if __name__ == "__main__":
    main(*sys.argv[1:])
