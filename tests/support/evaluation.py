"""The evaluation photos as networks see them, and what files answer, once a session each."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.opening import open_model

from .labelled_photos import LabelledPhotos
from .shared import shared

Logits = NDArray[np.float32]
#: All 1,025 photos; every fourth; the 650 of ImageNet's validation set.
Part = Literal["all", "fourth", "validation"]


@dataclass(frozen=True)
class Evaluation:
    """The photos of the split ``evaluation``."""

    photos: LabelledPhotos

    def rows(self, part: Part = "all") -> NDArray[np.intp]:
        """Indices of the photos of a part."""
        paths = self.photos.paths("evaluation")
        if part == "validation":
            return np.flatnonzero([path.name.startswith("val_") for path in paths])
        return np.arange(0, len(paths), 4 if part == "fourth" else 1)

    def targets(self, part: Part = "all") -> NDArray[np.int64]:
        """int64 [photos]: their class indices."""
        return np.array(self.photos.targets("evaluation"))[self.rows(part)]

    def pixels(self, preprocess: Preprocess) -> NDArray[np.uint8]:
        """uint8 [1025, side, side, 3]."""

        def fill(folder: Path) -> None:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                pixels = pool.map(preprocess.pixels, self.photos.paths("evaluation"))
                np.save(folder / "pixels.npy", np.stack(list(pixels)))

        how = hashlib.sha256(repr(preprocess).encode()).hexdigest()[:16]
        pixels: NDArray[np.uint8] = np.load(
            shared(f"pixels-{how}", fill) / "pixels.npy", mmap_mode="r"
        )
        return pixels

    def logits(self, path: Path, part: Part = "all") -> Logits:
        """float32 [photos, 1000] of the file at ``path``."""

        def fill(folder: Path) -> None:
            classifier = open_model(path, threads=1)
            pixels = self.pixels(classifier.card.preprocess)
            values = [classifier.logits_of_pixels(pixels[row]) for row in self.rows(part)]
            np.save(folder / "logits.npy", values)

        file = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        logits: Logits = np.load(shared(f"logits-{part}-{file}", fill) / "logits.npy")
        return logits
