"""TensorFlow's own checkpoints: real files that TensorFlow writes, read without it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.calibration.passes.fold import fold_batch_norm
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.canonical import save as save_ours
from edge_effnet.checkpoints.tensorflow.bundle import Bundle, Entry, open_bundle
from edge_effnet.checkpoints.tensorflow.official import read
from edge_effnet.converters.formats import onnx
from edge_effnet.errors import CheckpointError, UsageError
from edge_effnet.labels import imagenet_labels
from edge_effnet.model import Model
from support.onnx_logits import relative
from support.tensorflow_models import RELEASES, Network, as_trained, pictures, save, tf

ort = pytest.importorskip("onnxruntime")
SIDE = 64
QUICK = ("b0", "lite2", "edgetpu-s", "v2-b0")


def run(model: Model, images: Any) -> Any:
    """Logits of our ONNX file for normalised images NHWC."""
    folded = fold_batch_norm(model)
    proto = onnx.build(folded.graph, folded.weights, batch="n")
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {folded.graph.input: images.transpose(0, 3, 1, 2)})
    return logits


def quiet(path: Path, **options: Any) -> Model:
    return load("auto", path, resolution=SIDE, notify=lambda text: None, **options)


@pytest.fixture(scope="module")
def lite() -> Network:
    return Network(RELEASES["lite0"])


@pytest.fixture(scope="module")
def saved(lite: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a training run of TensorFlow leaves it."""
    folder = tmp_path_factory.mktemp("run")
    save(folder / "model.ckpt-109000", as_trained(lite.variables))
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "/home/someone/run/model.ckpt-109000"\n'
    )
    return folder


@pytest.mark.parametrize("name", ["b0", "lite0"])
def test_a_grey_network(name: str, tmp_path: Path) -> None:
    """Lite's normalisation is the same for all channels; ImageNet's must be replaced by one."""
    network = Network(RELEASES[name], channels=1)
    save(tmp_path / "model.ckpt", as_trained(network.variables))
    options: dict[str, Any] = {}
    if name == "b0":
        with pytest.raises(CheckpointError, match="takes one grey channel"):
            quiet(tmp_path / "model.ckpt")
        options = {"mean": 127.5, "std": 127.5}
    model = quiet(tmp_path / "model.ckpt", **options)
    grey = pictures(SIDE)[..., :1]
    assert relative(run(model, grey.repeat(3, axis=3)), network(grey)) < 1e-4


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.exhaustive) for n in RELEASES]
)
@pytest.mark.parametrize("side", [SIDE, SIDE - 1])
def test_logits_are_those_of_tensorflow(name: str, side: int, tmp_path: Path) -> None:
    network = Network(RELEASES[name])
    save(tmp_path / "model.ckpt", as_trained(network.variables))
    model = load("auto", tmp_path / "model.ckpt", resolution=side, notify=lambda text: None)
    assert model.variant.short_name == name
    assert model.info.source is not None
    assert model.info.source.kind == "tensorflow"
    expected = network(pictures(side))
    assert expected.std() > 0.05
    error = relative(run(model, pictures(side)), expected)
    assert error < 1e-4
    assert error < relative(expected[0], expected[1]) / 20, "the pictures themselves must matter"


def test_every_way_to_name_a_checkpoint(saved: Path, lite: Network) -> None:
    expected = lite.variables["efficientnet-lite0/stem/conv2d/kernel"]
    prefix = saved / "model.ckpt-109000"
    files = [prefix.with_name(prefix.name + end) for end in (".index", ".data-00000-of-00001")]
    for path in (saved, prefix, *files):
        found = read(path)
        assert np.array_equal(found.tensors["stem/conv2d/kernel"], expected)
        assert found.words["model"] == "efficientnet-lite0"
        assert sorted(found.files) == sorted(files)


def test_every_tensor_is_what_tensorflow_reads(saved: Path) -> None:
    prefix = saved / "model.ckpt-109000"
    bundle, theirs = open_bundle(prefix.with_name(prefix.name + ".index")), None
    theirs = tf.train.load_checkpoint(str(prefix))
    assert set(bundle.entries) == set(theirs.get_variable_to_shape_map())
    for name in bundle.entries:
        assert np.array_equal(bundle.array(name), theirs.get_tensor(name)), name


def test_tensorflow_is_not_imported(saved: Path) -> None:
    code = (
        "import sys; from edge_effnet.checkpoints import load; "
        f"load('lite0', {str(saved)!r}); assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def test_raw_variables_where_no_averages_are(lite: Network, tmp_path: Path) -> None:
    save(tmp_path / "m", as_trained(lite.variables, averages=False))
    assert relative(run(quiet(tmp_path / "m"), pictures(SIDE)), lite(pictures(SIDE))) < 1e-4


def test_object_based_checkpoints(lite: Network, tmp_path: Path) -> None:
    """tf.train.Checkpoint keeps the variables' names in a graph of objects."""
    variables = [tf.Variable(value, name=name) for name, value in lite.variables.items()]
    path = tf.train.Checkpoint(model=variables).save(str(tmp_path / "ckpt"))
    for given_path in (Path(path), tmp_path):
        assert relative(run(quiet(given_path), pictures(SIDE)), lite(pictures(SIDE))) < 1e-4


def test_background(tmp_path: Path) -> None:
    network = Network(RELEASES["edgetpu-s"], classes=1001)
    save(tmp_path / "m", network.variables)
    told: list[str] = []
    model = load("auto", tmp_path / "m", resolution=SIDE, notify=told.append)
    assert (model.classes, model.info.labels[0]) == (1001, "background")
    assert any("classes=1000" in text for text in told)
    assert model.info.preprocess.mean == (127.0,) * 3
    without = quiet(tmp_path / "m", classes=1000)
    assert without.info.labels == imagenet_labels()
    expected = network(pictures(SIDE))[:, 1:]
    assert relative(run(without, pictures(SIDE)), expected) < 1e-4
    with pytest.raises(UsageError, match="has 1001 classes"):
        quiet(tmp_path / "m", classes=900)
    # Where the stride is goes with our own file.
    again = quiet(save_ours(without, tmp_path / "ours.safetensors"))
    assert relative(run(again, pictures(SIDE)), expected) < 1e-4
    early = load("edgetpu-s", "random", resolution=SIDE).graph
    assert without.graph.multiply_adds > early.multiply_adds


@pytest.mark.parametrize("folder", ["advprop", "plain"])
def test_the_other_preprocessing_is_told_by_its_path(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    save(tmp_path / folder / "m", Network(RELEASES["b0"]).variables)
    model = quiet(tmp_path / folder / "m")
    halved = model.info.preprocess.mean == (127.5,) * 3
    assert (model.info.source.kind, halved) == (
        ("tensorflow-advprop", True) if folder == "advprop" else ("tensorflow", False)
    )
    assert (
        quiet(tmp_path / folder / "m", source="tensorflow-advprop").info.preprocess.mean
        == (127.5,) * 3
    )


def test_narrow_and_wide_floats(lite: Network, tmp_path: Path) -> None:
    types = dict(zip(lite.variables, [tf.float16, tf.bfloat16, tf.float64] * 999, strict=False))
    save(tmp_path / "m", lite.variables, types)
    tensors = read(tmp_path / "m").tensors
    for name, dtype in types.items():
        got = tensors[name.removeprefix("efficientnet-lite0/")]
        assert got.dtype == np.float32
        assert np.array_equal(got, tf.cast(tf.cast(lite.variables[name], dtype), tf.float32))


def test_integers_are_refused(lite: Network, tmp_path: Path) -> None:
    save(tmp_path / "m", lite.variables, {"efficientnet-lite0/stem/conv2d/kernel": tf.int8})
    with pytest.raises(CheckpointError, match="integers where weights belong: stem/conv2d/kernel"):
        quiet(tmp_path / "m")


def test_nan_is_warned_of_by_name(lite: Network, tmp_path: Path) -> None:
    name = "efficientnet-lite0/blocks_3/conv2d_1/kernel"
    save(tmp_path / "m", lite.variables | {name: lite.variables[name] * np.nan})
    with pytest.warns(UserWarning, match=r"NaN or infinity in stages\.2\.blocks\.0\.project"):
        load("auto", tmp_path / "m")


def test_condconv_is_refused_by_name(lite: Network, tmp_path: Path) -> None:
    name = "efficientnet-lite0/blocks_10/cond_conv2d/kernel"
    save(tmp_path / "m", lite.variables | {name: np.zeros((4, 2048), np.float32)})
    with pytest.raises(CheckpointError, match="CondConv"):
        quiet(tmp_path / "m")


def test_other_networks_are_told(tmp_path: Path) -> None:
    save(tmp_path / "m", {"resnet/conv2d/kernel": np.zeros((3, 3, 3, 8), np.float32)})
    with pytest.raises(CheckpointError, match="should hold one stem/conv2d/kernel and holds none"):
        quiet(tmp_path / "m")


def test_folders_without_one_checkpoint(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / name, {"x": np.zeros(1, np.float32)})
    with pytest.raises(CheckpointError, match=r"not one checkpoint but a\.index, b\.index"):
        quiet(tmp_path)


def test_a_missing_data_file(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "m.index").write_bytes((saved / "model.ckpt-109000.index").read_bytes())
    with pytest.raises(CheckpointError, match=r"m\.data-00000-of-00001 is not beside it"):
        quiet(tmp_path / "m")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("end", ["index", "data-00000-of-00001"])
def test_cut_off_files(saved: Path, tmp_path: Path, end: str, share: float) -> None:
    for part in ("index", "data-00000-of-00001"):
        data = (saved / f"model.ckpt-109000.{part}").read_bytes()
        if part == end:
            data = data[: int(len(data) * share)]
        (tmp_path / f"m.{part}").write_bytes(data)
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        read(tmp_path / "m")


def test_random_damage(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A damaged index is read or refused; nothing else ever happens."""
    folder = tmp_path_factory.mktemp("damage")
    save(folder / "m", {f"n/{part}/kernel": np.zeros((2, 3), np.float32) for part in "abcdef"})
    index = (folder / "m.index").read_bytes()

    @given(st.lists(st.tuples(st.integers(0, len(index) - 1), st.integers(0, 255)), min_size=1))
    def damage(changes: list[tuple[int, int]]) -> None:
        data = bytearray(index)
        for place, value in changes:
            data[place] = value
        (folder / "m.index").write_bytes(data)
        with pytest.raises(CheckpointError):  # no stem in it, damaged or not
            read(folder / "m")

    damage()


def test_the_checkpoint_record_never_leaves_its_folder(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text(f'model_checkpoint_path: "{saved}/model.ckpt-109000"\n')
    with pytest.raises(CheckpointError, match="not one checkpoint but none"):
        read(tmp_path)


def test_only_the_averages_are_read(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """14 MB of the 54 MB: reading takes no longer than it must."""
    sizes: list[int] = []
    read_bytes = Bundle._bytes

    def counted(self: Bundle, entry: Entry) -> bytes:
        sizes.append(entry.size)
        return read_bytes(self, entry)

    monkeypatch.setattr(Bundle, "_bytes", counted)
    read(saved)
    whole = (saved / "model.ckpt-109000.data-00000-of-00001").stat().st_size
    assert 0.2 * whole < sum(sizes) < 0.4 * whole
