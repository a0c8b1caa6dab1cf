"""Keras files of every kind: full models and weights, old and new layouts, and hostile ones."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from edge_effnet import export
from edge_effnet.checkpoints import load
from edge_effnet.errors import CheckpointError
from support import RECORDED
from support.evaluation import Evaluation
from support.keras_models import SIDE, answers, application, keras, pixels
from support.labelled_photos import DATA
from support.onnx_logits import relative, run

pytestmark = pytest.mark.slow

REAL = DATA / "weights" / "efficientnetv2-b0_imagenet_prototype-head.keras"


@pytest.fixture(scope="module")
def b0() -> Any:
    return application("EfficientNetB0", classes=7)


@pytest.fixture
def saved(b0: Any, tmp_path: Path) -> Callable[[str], Path]:
    def write(name: str) -> Path:
        path = tmp_path / name
        if name == "legacy_weights.h5":
            from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

            with h5py.File(path, "w") as file:
                save_weights_to_hdf5_group(file, b0)
        elif name.endswith(".weights.h5"):
            b0.save_weights(path)
        else:
            b0.save(path)
        return path

    return write


def refusal(path: Path, variant: str = "b0") -> str:
    with pytest.raises(CheckpointError) as caught:
        load(variant, path)
    return str(caught.value)


# Kinds of files


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5", "legacy_weights.h5"])
def test_kinds_of_files_are_read(b0: Any, saved: Callable[[str], Path], name: str) -> None:
    model = load("auto", saved(name), resolution=SIDE)
    assert (model.variant.short_name, model.classes) == ("b0", 7)
    assert model.info.source.kind == "keras"
    assert relative(run(model, pixels()), answers(b0, pixels())) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_backbone_with_a_head_of_ones_own(tmp_path: Path, suffix: str) -> None:
    """As in Keras's guide to fine-tuning: augmentation, a base partly frozen, BN, Dense."""
    base = application("EfficientNetB0", include_top=False)
    for layer in base.layers[:-20]:
        layer.trainable = False
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.RandomFlip("horizontal")(image)
    x = keras.layers.GlobalAveragePooling2D()(base(x, training=False))
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.3)(x)
    whole = keras.Model(image, keras.layers.Dense(5, name="pred")(x))
    norm = whole.layers[-3]
    rng = np.random.default_rng(3)
    norm.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in norm.get_weights()])
    whole.save(tmp_path / f"m.{suffix}")
    model = load("auto", tmp_path / f"m.{suffix}")
    assert model.classes == 5
    assert relative(run(model, pixels()), answers(whole, pixels())) < 1e-4


def test_the_second_rescaling_of_the_imagenet_weights(
    b0: Any, saved: Callable[[str], Path]
) -> None:
    """Their Normalization keeps the deviation as variance; the graph divides by its root again."""
    path = saved("m.weights.h5")
    with h5py.File(path, "r+") as file:
        variables = file["layers/normalization/vars"]
        variables["0"][...] = np.array([0.485, 0.456, 0.406]).reshape(variables["0"].shape)
        variables["1"][...] = np.array([0.229, 0.224, 0.225]).reshape(variables["1"].shape)
    pre = load("b0", path).info.preprocess
    np.testing.assert_allclose(pre.mean, (123.675, 116.28, 103.53), rtol=1e-6)
    np.testing.assert_allclose(pre.std, (58.395, 57.12, 57.375), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5"])
def test_a_graph_that_does_not_normalise_is_told_of(tmp_path: Path, name: str) -> None:
    """``include_preprocessing=False``: Keras asks for pixels in -1..1 then."""
    bare = application("EfficientNetV2B0", classes=4, include_preprocessing=False)
    path = tmp_path / name
    (bare.save_weights if ".weights" in name else bare.save)(path)
    told: list[str] = []
    model = load("auto", path, resolution=SIDE, notify=told.append)
    assert any("does not normalise its input: taken for" in text for text in told)
    images = model.info.preprocess.normalise(pixels())
    assert (images.min(), images.max()) == pytest.approx((-1, 1), abs=0.05)
    assert relative(run(model, pixels()), np.asarray(bare(images, training=False))) < 1e-4
    told.clear()
    given = load("auto", path, resolution=SIDE, mean=0.0, std=1.0, notify=told.append)
    assert given.info.preprocess.std == (1.0,) * 3
    assert not any("does not normalise" in text for text in told)


def test_a_graph_that_normalises_is_not_told_of(b0: Any, saved: Callable[[str], Path]) -> None:
    for name in ("m.keras", "m.h5", "m.weights.h5"):
        told: list[str] = []
        load("auto", saved(name), notify=told.append)
        assert not any("does not normalise" in text for text in told), name


def test_halves_are_read_as_floats(saved: Callable[[str], Path]) -> None:
    path = saved("m.weights.h5")
    _replace(path, "layers/dense/vars/0", lambda values: values.astype(np.float16))
    assert load("b0", path).weights["classifier.weight"].dtype == np.float32


def test_nan_is_warned_of_by_name(saved: Callable[[str], Path]) -> None:
    path = saved("m.weights.h5")
    _replace(path, "layers/dense/vars/1", lambda values: values * np.nan)
    with pytest.warns(UserWarning, match="NaN or infinity in .*dense|classifier"):
        load("b0", path)


# Refused


def test_integers_are_refused(saved: Callable[[str], Path]) -> None:
    path = saved("m.weights.h5")
    _replace(path, "layers/dense/vars/0", lambda values: values.astype(np.int8))
    assert "element type int8" in refusal(path)


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.98])
def test_truncated_files_are_refused(saved: Callable[[str], Path], name: str, kept: float) -> None:
    path = saved(name)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    assert str(path) in refusal(path)


def test_a_lambda_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.layers.Lambda(
        lambda t: (open(ran, "w").close(), t)[1], output_shape=(SIDE, SIDE, 3), name="sneaky"
    )(image)
    base = keras.applications.EfficientNetB0(
        weights=None, include_top=False, pooling="avg", input_shape=(SIDE, SIDE, 3)
    )
    keras.Model(image, keras.layers.Dense(3)(base(x))).save(tmp_path / "m.keras")
    Path(ran).unlink(missing_ok=True)
    text = refusal(tmp_path / "m.keras")
    assert "'sneaky' is a Lambda" in text
    assert not Path(ran).exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_name": "Swirl", "registered_name": "mine>Swirl"}, "mine>Swirl"),
        ({"class_name": "GlobalMaxPooling2D"}, "GlobalMaxPooling2D"),
    ],
)
def test_unknown_layers_are_refused_by_name(
    saved: Callable[[str], Path], change: dict[str, str], said: str
) -> None:
    path = saved("m.keras")
    members = _members(path)
    config = json.loads(members["config.json"])
    layer = next(x for x in config["config"]["layers"] if x["class_name"] == "Dropout")
    layer.update(change)
    members["config.json"] = json.dumps(config).encode()
    _zip(path, members)
    assert said in refusal(path)


def test_a_network_without_a_head_is_told(tmp_path: Path) -> None:
    application("EfficientNetB0", include_top=False).save(tmp_path / "m.keras")
    assert "include_top=False" in refusal(tmp_path / "m.keras")


def test_a_path_that_leaves_the_archive_is_refused(saved: Callable[[str], Path]) -> None:
    path = saved("m.keras")
    _zip(path, _members(path) | {"../../evil.txt": b"x"})
    assert "points out of the file" in refusal(path)
    assert not (path.parent.parent / "evil.txt").exists()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    members = {"config.json": b"{}", "model.weights.h5": bytes(200 << 20)}
    _zip(path, members, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "zip bomb" in refusal(path)


def test_an_hdf5_bomb_is_refused(saved: Callable[[str], Path]) -> None:
    path = saved("m.weights.h5")
    with h5py.File(path, "r+") as file:
        variables = file["layers/dense/vars"]
        del variables["0"]
        variables.create_dataset("0", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024))
    assert "claim far more bytes" in refusal(path)


@pytest.mark.parametrize("kind", ["link", "storage"])
def test_other_files_are_never_read(
    saved: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    path, secret = saved("m.weights.h5"), tmp_path / "secret"
    secret.write_bytes(bytes(1280 * 7 * 4))
    with h5py.File(path, "r+") as file:
        variables = file["layers/dense/vars"]
        del variables["0"]
        if kind == "link":
            variables["0"] = h5py.ExternalLink(str(secret), "/x")
        else:
            place = [(str(secret), 0, h5py.h5f.UNLIMITED)]
            variables.create_dataset("0", (1280, 7), "f4", external=place)
    assert "do not use it" in refusal(path)


def test_an_hdf5_file_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["temperatures"] = np.zeros(4)
    assert "without Keras weights" in refusal(tmp_path / "m.h5")


# The real one


def test_no_framework_is_imported() -> None:
    _real()
    script = (
        "import sys, edge_effnet; edge_effnet.load('v2-b0', weights=sys.argv[1]); "
        "assert not {'keras', 'tensorflow', 'torch'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", script, REAL], check=True)


def test_the_normalisation_inside_the_graph_is_the_preprocessing() -> None:
    pre = load("v2-b0", _real()).info.preprocess
    assert pre.mean == (123.675, 116.28, 103.53)
    assert pre.std == (58.395, 57.12, 57.375)


@pytest.mark.exhaustive
def test_the_real_network_is_as_accurate_as_in_keras(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """``right_in_keras`` is what keras.Model answers to the same pixels.

    The other formats are compared with ONNX on fewer photos: the same logits give the same answers.
    """
    expected = json.loads((RECORDED / "expected_accuracy.json").read_text())
    measured = expected["keras"]["efficientnetv2-b0"]
    paths = export(load("v2-b0", _real()), precisions=["fp32"], out=tmp_path)
    (onnx,) = (path for path in paths if path.suffix == ".onnx")
    logits, targets = evaluation.logits(onnx, "validation"), evaluation.targets("validation")
    assert len(logits) == measured["count"]
    assert abs(int((logits.argmax(1) == targets).sum()) - measured["right_in_keras"]) <= 1
    first, *others = (evaluation.logits(path, "fourth") for path in paths)
    assert len(others) == 2
    for other in others:
        assert np.abs(other - first).max() < 1e-3


def _real() -> Path:
    if not REAL.is_file():
        pytest.skip(f"there is no {REAL}; set EDGE_EFFNET_DATA to the data")
    return REAL


def _replace(path: Path, place: str, change: Callable[[Any], Any]) -> None:
    with h5py.File(path, "r+") as file:
        values = file[place][()]
        del file[place]
        file[place] = change(values)


def _members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zip(path: Path, members: dict[str, bytes], how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
