"""Recipes, and the pictures that one of them generates."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.calibration.recipes import RECIPES, get
from edge_effnet.calibration.samples.dead_leaves import dead_leaves, samples_of_pictures
from edge_effnet.errors import UsageError
from edge_effnet.preprocess import Preprocess
from support import tflite_models as small
from support.evaluation import Evaluation
from support.labelled_photos import Files
from support.photo_statistics import paired


def test_recipes_are_data() -> None:
    assert list(RECIPES) == ["default", "best", "fast"]
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert recipe.summary
        assert type(recipe)(**{**asdict(recipe), "method": recipe.method}) == recipe
    assert get("best").positions > get("default").positions


def test_an_unknown_recipe_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="default, best, fast"):
        get("finest")


def test_pictures_are_reproducible_and_differ() -> None:
    pictures = dead_leaves(3, 48)
    assert pictures.shape == (3, 48, 48, 3)
    assert pictures.dtype == np.uint8
    assert np.array_equal(pictures, dead_leaves(3, 48))
    assert not np.array_equal(pictures, dead_leaves(3, 48, seed=1))
    assert not np.array_equal(pictures[0], pictures[1])


def test_pictures_have_flat_parts_and_edges() -> None:
    """Neighbours mostly alike, sometimes far apart: unlike noise, like photos."""
    steps = np.abs(np.diff(dead_leaves(8, 96).astype(int).mean(axis=-1), axis=2))
    assert np.median(steps) < 10
    assert np.quantile(steps, 0.98) > 40


def test_generated_samples_say_so() -> None:
    samples = samples_of_pictures(4, Preprocess(32, 1.0))
    assert samples.record.photos == 0
    assert samples.record.samples == 4
    assert any("generated" in warning for warning in samples.warnings)


def test_export_without_photos(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    model = small.model_of(small.LITE)
    with pytest.raises(UsageError, match="recipe='fast'"):
        edge_effnet.export(model, formats=["onnx"], precisions=["int8"], out=tmp_path)
    with pytest.warns(UserWarning, match="generated pictures"):
        (path,) = edge_effnet.export(
            model, formats=["onnx"], precisions=["int8"], recipe="fast", out=tmp_path
        )
    quantization = edge_effnet.open(path).card.quantization
    assert quantization is not None
    assert quantization.recipe == "fast"
    assert quantization.calibration is not None
    assert quantization.calibration.photos == 0


@pytest.mark.slow
def test_lite0_without_photos_loses_little(
    lite0_files: Files, evaluation: Evaluation, tmp_path: Path
) -> None:
    """At most a point on the evaluation photos; pictures of uniform noise cost three."""
    with pytest.warns(UserWarning, match="generated pictures"):
        (path,) = edge_effnet.export(
            edge_effnet.load("lite0"),
            formats=["onnx"],
            precisions=["int8"],
            recipe="fast",
            out=tmp_path,
        )
    files, targets = (lite0_files["onnx", "fp32"], path), evaluation.targets()
    right = [evaluation.logits(file).argmax(axis=1) == targets for file in files]
    assert paired(*right).at_most(1.0)
