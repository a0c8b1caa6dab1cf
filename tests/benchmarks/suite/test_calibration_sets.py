"""Subsets are drawn apart from the photos that judge them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_effnet.benchmarks.suite import calibration_sets
from edge_effnet.errors import UsageError
from edge_effnet.model import Model
from support import tflite_models as small

pytest.importorskip("onnxruntime", reason="int8 files are made by the extra 'export'")


@pytest.fixture(scope="module")
def model() -> Model:
    return small.model_of(small.LITE)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Twelve photos of noise with labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(1)
    rows = ["file,label"]
    for number in range(12):
        picture = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((12, 12, 1)))
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{number}.png,{number % small.CLASSES}")
    labels = folder / "labels.csv"
    labels.write_text("\n".join(rows) + "\n")
    return folder, labels


def test_every_size_and_format_has_its_subsets(model: Model, photos: tuple[Path, Path]) -> None:
    spreads = calibration_sets.measure(
        model, *photos, sizes=(3, 6), subsets=2, formats=("tflite", "onnx"), recipe="default"
    )
    assert {(item.format, item.photos) for item in spreads} == {
        (name, size) for name in ("tflite", "onnx") for size in (3, 6)
    }
    for item in spreads:
        assert len(item.agreement) == len(item.drop) == 2
        left = 12 - item.photos
        for share in item.agreement:  # a share of the photos that the subset left
            assert share * left / 100 == pytest.approx(round(share * left / 100))
        assert len(item.sqnr_db) == 2
    headers = [str(column.header) for column in calibration_sets.table(spreads, "").columns]
    assert headers[2:] == ["agreement %", "drop, points", "SQNR, dB"]


def test_subsets_of_some_photos_are_judged_by_all_others(
    model: Model, photos: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by photos that calibrated it, a file would look better than it is."""
    judged: list[list[str]] = []
    evaluate = calibration_sets.evaluate

    def watched(*args: Any, **options: Any) -> Any:
        evaluation = evaluate(*args, **options)
        judged.append([photo.path.name for photo in evaluation.photos])
        return evaluation

    monkeypatch.setattr(calibration_sets, "evaluate", watched)
    options: dict[str, Any] = {"sizes": (2,), "subsets": 2, "formats": ("onnx",)}
    calibration_sets.measure(model, *photos, draw="1*", **options)
    assert judged == [[f"{number}.png" for number in (0, *range(2, 10))]] * 2
    with pytest.raises(UsageError, match=r"3 photos 1\*; subsets of 4"):
        calibration_sets.measure(model, *photos, draw="1*", sizes=(4,))


def test_a_subset_leaves_photos_to_judge_on(model: Model, photos: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="12 photos; subsets of 12"):
        calibration_sets.measure(model, *photos, sizes=(12,))
