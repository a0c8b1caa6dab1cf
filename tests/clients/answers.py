"""Fifty photos, what we answer to them, and what a client answered, in one form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import edge_effnet
from clients import environments
from edge_effnet.preprocess import Preprocess

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Answer:
    """A client's guess: the class's name and index, and the score in the client's own terms."""

    label: str
    index: int
    score: float


@dataclass(frozen=True)
class Ours:
    """Our logits float32 [n, classes] and the classes' names."""

    logits: np.ndarray
    labels: tuple[str, ...]

    def probabilities(self) -> np.ndarray:
        """Softmax of the logits."""
        powers = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def same_top1(self, answers: Sequence[Sequence[Answer]]) -> int:
        """To how many photos a client gives one of our best classes, by index and by name.

        Integer logits can tie; any of the tied classes is right then.
        """
        assert len(answers) == len(self.logits)
        return sum(
            bool(row[best.index] == row.max()) and best.label == self.labels[best.index]
            for row, (best, *_) in zip(self.logits, answers, strict=True)
        )


def prepare(photos: Sequence[Path], preprocess: Preprocess, folder: Path) -> list[Path]:
    """The photos cropped and resized as we do, as PNG files that any client decodes alike."""
    paths = [folder / f"{path.stem}.png" for path in photos]
    for photo, path in zip(photos, paths, strict=True):
        Image.fromarray(preprocess.pixels(photo)).save(path)
    return paths


def ours(file: Path, photos: Sequence[Path]) -> Ours:
    """What `edge_effnet.open` computes from the original photos."""
    classify = edge_effnet.open(file, threads=1)
    return Ours(classify.logits(photos), classify.card.labels)


def ask(client: str, script: str, file: Path, photos: Sequence[Path], *options: str) -> list:
    """A client's answers, best first, one list a photo; ``script`` runs in its environment."""
    python = environments.environment(client) / "python"
    output = environments.run([python, HERE / script, *options, file, *photos])
    rows = json.loads(output.splitlines()[-1])
    return [[Answer(*answer) for answer in row] for row in rows]
