"""Folders of any size: export and sweep work, in memory and time that the folder does not set."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge_effnet
from edge_effnet.calibration.calibrate import calibrate
from edge_effnet.calibration.plan import QuantPlan
from edge_effnet.calibration.samples.photos import MOST_PHOTOS, Samples, read_samples
from edge_effnet.card import CalibrationRecord
from edge_effnet.converters.onnx_engine import OnnxEngine
from edge_effnet.model import Model
from support import tflite_models as small
from support.command import call, done

pytest.importorskip("ai_edge_litert", reason="the extra 'export'")

SIZES = (1, 127, 128, 129, 300, 2000)
CLASSES = 10


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """A training folder of so many small photos in ten class folders; do not change it."""
    folders: dict[int, Path] = {}

    def of(count: int) -> Path:
        if count not in folders:
            root = folders[count] = tmp_path_factory.mktemp(f"photos{count}")
            rng = np.random.default_rng(count)
            for index in range(count):
                path = root / f"class{index % CLASSES}" / f"{index:05}.png"
                path.parent.mkdir(exist_ok=True)
                patches = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8))
                patches.resize((24, 24), Image.Resampling.BICUBIC).save(path)
        return folders[count]

    return of


@pytest.fixture(scope="module")
def lite() -> Model:
    return small.model_of(small.LITE)


def exported(model: Model, folder: Path, out: Path, **options: object) -> tuple[Path, list[str]]:
    said: list[str] = []
    (path,) = edge_effnet.export(
        model,
        formats=["tflite"],
        precisions=["int8"],
        calibration=folder,
        out=out,
        force=True,
        notify=said.append,
        **options,  # type: ignore[arg-type]
    )
    return path, said


def record_of(path: Path) -> CalibrationRecord:
    quantization = edge_effnet.open(path).card.quantization
    assert quantization is not None
    assert quantization.calibration is not None
    return quantization.calibration


@pytest.mark.parametrize("count", SIZES)
def test_export_says_how_many_were_used(
    count: int, lite: Model, folder_of: Callable[[int], Path], tmp_path: Path
) -> None:
    path, said = exported(lite, folder_of(count), tmp_path)
    record, used = record_of(path), min(count, MOST_PHOTOS)
    assert (record.photos, record.samples, record.given) == (used, used, count)
    assert len({name.partition("/")[0] for name, _ in record.manifest}) == min(count, CLASSES)
    notes = [text for text in said if text.startswith("calibrated on")]
    assert len(notes) == (count > MOST_PHOTOS)


@pytest.mark.slow
def test_memory_of_an_export_does_not_grow_with_the_folder(
    lite: Model, folder_of: Callable[[int], Path], tmp_path: Path
) -> None:
    """All of the 2,000 photos would be 25 MB of pixels and as many targets for each layer."""
    exported(lite, folder_of(1), tmp_path)  # what is imported and cached on the way
    peaks = {}
    for count in SIZES:
        folder = folder_of(count)
        gc.collect()
        tracemalloc.start()
        try:
            exported(lite, folder, tmp_path)
            peaks[count] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    for count in SIZES:
        assert peaks[count] < peaks[MOST_PHOTOS] + 2e7, peaks  # 4 MB without garbage


@pytest.mark.slow
@pytest.mark.parametrize("count", [129, 300])
@pytest.mark.parametrize(
    "options", [{"recipe": "best"}, {"recipe": "fast"}, {"max_drop": 0.05}], ids=str
)
def test_recipes_and_mixed_precision(
    options: dict[str, object], count: int, folder_of: Callable[[int], Path], tmp_path: Path
) -> None:
    path, _ = exported(small.model_of(small.SWISH), folder_of(count), tmp_path, **options)
    assert record_of(path).photos == MOST_PHOTOS
    quantization = edge_effnet.open(path).card.quantization
    assert quantization is not None
    assert quantization.recipe == options.get("recipe", "default")
    assert bool(quantization.float_layers) == ("max_drop" in options)


def test_weights_alone(lite: Model, folder_of: Callable[[int], Path], tmp_path: Path) -> None:
    (path,) = edge_effnet.export(
        lite,
        formats=["onnx"],
        precisions=["w8"],
        calibration=folder_of(300),
        out=tmp_path,
        notify=lambda text: None,
    )
    assert (record_of(path).photos, record_of(path).given) == (MOST_PHOTOS, 300)


def test_broken_photos_among_300_are_listed_and_replaced(lite: Model, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(300):
        Image.new("RGB", (8, 8), (index % 256, index // 2, 99)).save(folder / f"{index:03}.png")
    preprocess = lite.info.preprocess
    broken = [name for name, _ in read_samples(folder, preprocess).record.manifest[::20]]
    for name in broken:
        (folder / name).write_bytes(b"no picture")
    path, said = exported(lite, folder, tmp_path)
    listed = [text.split(":")[0] for text in said if text.startswith("left out")]
    named = [f"left out {name}" for name in broken[:5]]
    assert listed == [*named, f"left out {len(broken) - 5} more calibration photos"]
    assert record_of(path).photos == MOST_PHOTOS
    assert not set(broken) & {name for name, _ in record_of(path).manifest}


# Samples that Python code made: all are looked at


def plan_of(model: Model, pixels: np.ndarray) -> QuantPlan:
    record = CalibrationRecord(len(pixels), len(pixels), "")
    return calibrate(model, Samples(pixels, record), OnnxEngine(1)).plan


@pytest.mark.parametrize("count", [129, 136, 300])
def test_ranges_take_samples_beyond_those_of_the_layers(lite: Model, count: int) -> None:
    """The last sample alone is bright: only ranges of all samples hold what it excites."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(120, 136, (count, small.SIDE, small.SIDE, 3), np.uint8)
    dim = plan_of(lite, pixels)
    pixels[-1] = rng.integers(0, 256, pixels[-1].shape)
    bright = plan_of(lite, pixels)
    output = lite.graph.output
    assert bright.quant_params[output].scale > 1.05 * dim.quant_params[output].scale


@pytest.mark.slow
def test_channel_values_are_bounded_beyond_one_position_a_sample() -> None:
    from edge_effnet.calibration.activations.quantizers import channels_to_sample
    from edge_effnet.calibration.activations.statistics import collect_statistics

    model = small.model_of(small.SWISH)
    pixels = np.zeros((3000, small.SIDE, small.SIDE, 3), np.uint8)
    names = channels_to_sample(model.graph)
    statistics = collect_statistics(
        model, pixels, OnnxEngine(1), target_samples=8, channel_tensors=names
    )
    assert {statistics.channel_values[name].shape[1] for name in names} == {1500}


# The command line


@pytest.mark.slow
def test_commands_take_a_training_folder(folder_of: Callable[[int], Path], tmp_path: Path) -> None:
    what = ("--weights", "random", "--formats", "tflite", "--precisions", "int8")
    photos = ("--calibration", folder_of(2000), "--out", tmp_path)
    result = call("export", "lite0", "--resolution", 32, *what, *photos)
    done(result)
    assert "calibrated on 128 of 2,000 photos" in result.stderr
    file = tmp_path / "efficientnet-lite0-int8.tflite"
    assert "calibrated on    128 of 2,000 photos\n" in done(call("info", file))
    card = json.loads(done(call("info", file, "--json", "-")))["card"]
    assert card["quantization"]["calibration"]["given"] == 2000


@pytest.mark.slow
@pytest.mark.parametrize("count", [129, pytest.param(2000, marks=pytest.mark.exhaustive)])
def test_a_sweep_takes_a_training_folder(
    count: int, folder_of: Callable[[int], Path], tmp_path: Path
) -> None:
    pytest.importorskip("jinja2", reason="the report")
    result = call(
        *("sweep", "lite0@32", "--weights", "random", "--formats", "tflite"),
        *("--precisions", "int8", "--calibration", folder_of(count), "--runs", 2),
        *("--workers", 1, "--out", tmp_path),
    )
    done(result)
    assert f"calibrated on 128 of {count:,} photos" in result.stderr
    (file,) = tmp_path.rglob("*.tflite")
    assert record_of(file).given == count
