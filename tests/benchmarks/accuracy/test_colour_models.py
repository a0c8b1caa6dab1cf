"""The small classifiers that the tests of benchmarks measure."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_effnet.runtime.opening import open_model
from support.colour_models import LABELS, model, photos


def test_the_colour_model_runs(tmp_path: Path) -> None:
    classifier = open_model(model(tmp_path / "m.onnx"), threads=1)
    logits = classifier.logits([photos(tmp_path / "photos", 1)[0]])
    assert logits.shape == (1, len(LABELS))
    assert np.ptp(logits) > 0
