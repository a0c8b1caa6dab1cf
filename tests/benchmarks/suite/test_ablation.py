"""``edge-effnet bench ablation``: each step switches one method on, and the table lists them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_effnet.calibration.recipes import RECIPES
from edge_effnet.calibration.samples.photos import read_samples
from support import tflite_models as small
from support.command import call, photos, refused

pytest.importorskip("onnxruntime", reason="int8 files are made by the extra 'export'")


def test_steps_end_at_the_released_recipes() -> None:
    from edge_effnet.benchmarks.suite.ablation import STEPS

    by_name = {step.name: step for step in STEPS}
    for name in ("default", "best"):
        for field in ("method", "positions", "fused_gates", "ranges", "refined_ranges"):
            assert getattr(by_name[name], field) == getattr(RECIPES[name], field)


def test_a_step_changes_the_file_and_the_last_is_the_default(tmp_path: Path) -> None:
    from edge_effnet.benchmarks.suite import ablation

    model = small.model_of(small.SWISH)
    samples = read_samples(photos(), model.info.preprocess)
    steps = [step for step in ablation.STEPS if step.name in ("min-max", "gptq", "default")]
    results = ablation.measure(model, samples, photos(), steps=steps, formats=("onnx",))
    assert [item.name for item in results] == ["min-max", "gptq", "default"]
    sqnr = [record.sqnr_db for item in results for record in item.records]
    assert len(set(sqnr)) == 3
    assert np.isfinite([value or np.nan for value in sqnr]).all()
    assert ablation.table(results, "").row_count == 3


def test_an_unknown_step_is_refused() -> None:
    folder = photos()
    message = refused(
        call("bench", "ablation", "--calibration", folder, "--images", folder, "--steps", "nope")
    )
    assert "there is no step 'nope'; choose from min-max" in message
