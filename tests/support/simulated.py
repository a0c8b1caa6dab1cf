"""Lite0 by a format whose writer judges its int8 file on a vendor's simulator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray

import edge_effnet
from edge_effnet.card import ModelCard
from edge_effnet.converters.formats import further
from edge_effnet.converters.formats.further import Int8Source

from .labelled_photos import LabelledPhotos

#: Number of photos that are simulated.
PHOTOS = 40


@dataclass(frozen=True)
class Simulated:
    """``file`` was written; the ``logits`` were simulated, ``expected`` ones are the float file's.

    Both are [photos, classes].
    """

    file: Path
    logits: NDArray[np.float32]
    expected: NDArray[np.float32]

    @property
    def agreement(self) -> float:
        """Top-1 agreement, 0 to 1."""
        return float((self.logits.argmax(1) == self.expected.argmax(1)).mean())

    @property
    def sqnr_db(self) -> float:
        """SQNR of the simulated logits in dB."""
        noise = np.square(self.logits - self.expected).sum()
        return float(10 * np.log10(np.square(self.expected).sum() / noise))


def lite0(
    writer: ModuleType, photos: LabelledPhotos, out: Path, monkeypatch: pytest.MonkeyPatch
) -> Simulated:
    """Export Lite0 by ``writer``, the module of a format, into ``out``, and a float .onnx file."""
    model = edge_effnet.load("efficientnet-lite0")
    logits: list[NDArray[np.float32]] = []
    judged: list[NDArray[np.uint8]] = []
    write = writer.write_int8

    def keep(source: Int8Source, card: ModelCard, folder: Path) -> NDArray[np.float32]:
        judged.append(source.judged)
        logits.append(write(source, card, folder))
        return logits[-1]

    monkeypatch.setattr(writer, "write_int8", keep)
    monkeypatch.setattr(further, "_MOST_JUDGED", PHOTOS)
    (file,) = edge_effnet.export(
        model,
        formats=writer.__name__.rpartition(".")[2],
        precisions="int8",
        calibration=photos.paths("calibration"),
        out=out,
        progress=False,
    )
    (float_file,) = edge_effnet.export(model, formats="onnx", precisions="fp32", out=out / "float")
    expected = edge_effnet.open(float_file).logits_of_batch(list(judged[0]))
    return Simulated(file, logits[0], expected)
