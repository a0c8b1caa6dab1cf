"""doctor: the preprocessing that a file was made for is found among the known ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_effnet import environment, installation
from edge_effnet.benchmarks.accuracy.conventions import NORMALISATIONS
from edge_effnet.benchmarks.accuracy.doctor import Diagnosis, diagnose
from edge_effnet.preprocess import Preprocess
from support.colour_models import LABELS, SIZE, labels_csv, model, photos, weights
from support.command import call, done, installed, refused, run

LITE = Preprocess(SIZE, 1.0, "nearest")
IMAGENET = replace(LITE, mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
UNIT = replace(LITE, mean=(0.0,) * 3, std=(255.0,) * 3)


def diagnosed(
    folder: Path, trained: Preprocess, card: Preprocess | None, *, bgr: bool = False, shift: int = 0
) -> Diagnosis:
    """A network that answers rightly to photos prepared as ``trained``, in a file of ``card``."""
    matrix = weights(seed=3)
    rows = []
    for path in photos(folder / "photos", 80):
        values = trained.normalise(trained.pixels(path)).mean(axis=(0, 1))
        answer = int(np.argmax((values[::-1] if bgr else values) @ matrix))
        rows.append((path.name, str(answer + shift)))
    rows = [row for row in rows if 0 <= int(row[1]) < len(LABELS)]
    labels = labels_csv(folder / "labels.csv", rows)
    path = folder / "net.onnx"
    if card is None:
        model(path, matrix, card=False)
    else:
        model(path, matrix, preprocess=card)
    return diagnose(path, folder / "photos", labels, threads=1)


def test_a_right_card(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, LITE, LITE)
    assert found.declared_fits
    assert found.best.top1 == 1.0
    assert found.summary.startswith("the file's own preprocessing fits: 100.0% top-1")
    tried = {trial.convention for trial in found.trials}
    assert len(tried) == len(found.trials) > 2 * len(NORMALISATIONS)
    assert {trial.step for trial in found.trials} == {
        "normalisation",
        "crop",
        "interpolation",
        "classes",
    }


@pytest.mark.parametrize("card", [LITE, None])
def test_what_a_wrong_card_or_none_should_say(card: Preprocess | None, tmp_path: Path) -> None:
    found = diagnosed(tmp_path, IMAGENET, card)
    assert (found.declared is None) == (card is None)
    convention = found.best.convention
    assert convention.preprocess.mean == pytest.approx(
        IMAGENET.mean, abs=1
    )  # Keras's are a little other
    assert (convention.bgr, convention.shift, found.best.top1) == (False, 0, 1.0)
    assert " --mean 123.6" in found.summary
    assert not found.declared_fits


def test_crop_modes_are_tried_on_photos_that_are_not_square(tmp_path: Path) -> None:
    trained = Preprocess(SIZE, 1.0, "bilinear", crop_mode="squash")
    matrix, rows = weights(seed=3), []
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(80):  # the colours beside the central square decide
        strips = rng.integers(0, 256, (1, 9, 3), np.uint8)
        size = (SIZE * 2, SIZE * 2) if index % 4 == 0 else (SIZE * 6, SIZE * 2)
        path = tmp_path / "photos" / f"{index:02}.png"
        Image.fromarray(strips).resize(size, Image.Resampling.NEAREST).save(path)
        values = trained.normalise(trained.pixels(path)).mean(axis=(0, 1))
        rows.append((path.name, str(np.argmax(values @ matrix))))
    labels = labels_csv(tmp_path / "labels.csv", rows)
    card = replace(trained, crop_mode="center")
    path = model(tmp_path / "net.onnx", matrix, preprocess=card)
    found = diagnose(path, tmp_path / "photos", labels, threads=1)
    assert found.best.convention.preprocess == trained
    assert found.best.top1 == 1.0
    assert not found.declared_fits
    assert "--crop 1 --crop-mode squash --interpolation bilinear" in found.summary
    modes = {trial.convention.preprocess.crop_mode for trial in found.trials}
    assert modes == {"center", "squash", "border"}


def test_one_sigmoid_output(tmp_path: Path) -> None:
    matrix = weights(seed=3, classes=1)
    rows = []
    for path in photos(tmp_path / "photos", 60):
        z = LITE.normalise(LITE.pixels(path)).mean(axis=(0, 1)) @ matrix
        rows.append((path.name, "yes" if z[0] > 0 else "no"))
    labels = labels_csv(tmp_path / "labels.csv", rows)
    path = model(tmp_path / "net.onnx", matrix, labels=("no", "yes"), activation="sigmoid")
    found = diagnose(path, tmp_path / "photos", labels, threads=1)
    assert {label for _, label in rows} == {"yes", "no"}
    assert found.best.top1 == 1.0
    assert found.declared_fits


def test_swapped_colours(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, LITE, LITE, bgr=True)
    assert found.best.convention.bgr
    assert found.best.top1 == 1.0
    assert "it wants its colours as BGR" in found.summary


def test_answers_that_are_one_class_off(tmp_path: Path) -> None:
    found = diagnosed(tmp_path, LITE, LITE, shift=-1)
    assert found.best.convention.shift == 1
    assert found.best.top1 == 1.0
    assert "all predictions are one class off" in found.summary


def test_labels_that_have_nothing_to_do_with_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [(path.name, str(rng.integers(7))) for path in photos(tmp_path / "photos", 80)]
    labels = labels_csv(tmp_path / "labels.csv", rows)
    found = diagnose(model(tmp_path / "net.onnx"), tmp_path / "photos", labels, threads=1)
    assert found.near_chance
    assert found.summary.startswith("no known preprocessing makes sense")


def test_photos_are_few_and_spread(tmp_path: Path) -> None:
    photos(tmp_path / "photos", 40)
    rows = [(f"photo{n:03d}.png", "1") for n in range(40)]
    labels = labels_csv(tmp_path / "labels.csv", rows)
    path = model(tmp_path / "net.onnx")
    assert diagnose(path, tmp_path / "photos", labels, photos=7, threads=1).photos == 7
    assert diagnose(path, tmp_path / "photos", labels, photos=900, threads=1).photos == 40


def test_the_command(tmp_path: Path) -> None:
    diagnosed(tmp_path, LITE, UNIT)
    given = ("--images", tmp_path / "photos", "--labels", tmp_path / "labels.csv")
    result = done(run("doctor", tmp_path / "net.onnx", *given))
    assert "normalisation" in result
    assert "the file's own" in result
    assert "--mean 127" in result.splitlines()[-1]
    told = json.loads(done(run("doctor", tmp_path / "net.onnx", *given, "--json", "-")))
    assert told["best"]["top1"] == 1.0
    assert told["own_fits"] is False
    assert told["verdict"] in result


def test_bad_use(tmp_path: Path) -> None:
    assert "takes labelled photos: --images" in refused(call("doctor", "net.onnx"))
    assert "name one" in refused(call("doctor", "--images", tmp_path))
    photos(tmp_path / "photos", 2)
    path = model(tmp_path / "net.onnx")
    message = refused(call("doctor", path, "--images", tmp_path / "photos"))
    assert "have no labels" in message
    assert "there is no file none.onnx" in refused(
        call("doctor", "none.onnx", "--images", tmp_path)
    )


def test_what_is_installed() -> None:
    text = done(call("doctor"))
    told = json.loads(done(call("doctor", "--json", "-")))
    extras = {extra["extra"]: extra for extra in told["extras"]}
    assert {"litert", "onnx", "openvino", "export", "torch"} <= set(extras)
    assert not {"dev", "all"} & set(extras)
    for name in extras:
        assert name in text
    assert extras["torch"]["ready"] == installed("torch")
    (package,) = extras["openvino"]["packages"]
    assert extras["openvino"]["ready"] == (package["version"] is not None)


def test_a_missing_and_a_broken_package(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy>=1.24",
        'edge-effnet[low]; extra == "high"',
        'pytest>=7; extra == "high"',
        'no-such-package>=1; extra == "low"',
        'pytest; extra == "dev"',
        'not-for-here; platform_machine == "pdp11" and extra == "low"',
        'numpy; platform_machine != "pdp11" and extra == "low"',
    ]
    high, low = environment.read(lines)
    assert (high.name, high.includes, low.name) == ("high", ("low",), "low")
    assert [package.name for package in low.packages] == ["no-such-package", "numpy"]
    (lacking,) = environment.missing(high, (high, low))
    assert (lacking.name, lacking.version) == ("no-such-package", None)
    assert high.install == installation.pip_line("high")
    monkeypatch.setitem(environment.RUNTIMES, "numpy", "no.such.module")
    assert "No module named" in str(environment.look_at("numpy").fault)
    assert not environment.look_at("numpy").ready
