"""One process of a training under torchrun; writes its weights and the files that it made.

Arguments: folder of the photos, folder for the results.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_effnet.apps.training.fine_tuning.fine_tune import fine_tune
from edge_effnet.apps.training.fine_tuning.recipes import RECIPES
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.model import Model
from support.small_training import network, photos


def train(data: TrainingData, state: Path) -> Model:
    """Two epochs of a recipe whose only randomness are views and their order."""
    RECIPES["default"] = replace(RECIPES["default"], batch=8, dropout=0.0, drop_connect=0.0)
    return fine_tune(network(), data, FineTuneSettings(epochs=2, threads=1), state=state)


if __name__ == "__main__":
    source, out, rank = Path(sys.argv[1]), Path(sys.argv[2]), os.environ["RANK"]
    # Of the same crops, which process 0 and the test wrote before.
    model = train(photos(source / rank), out / f"state-{rank}.pt")
    np.savez(out / f"weights-{rank}.npz", **model.weights)
