"""Multi-label files and files of one output: evaluated, compared, diagnosed, reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.benchmarks.accuracy.classes import restrict
from edge_effnet.benchmarks.accuracy.doctor import diagnose
from edge_effnet.benchmarks.accuracy.evaluate import conclude, evaluate
from edge_effnet.benchmarks.accuracy.label_sets import mean_average_precision
from edge_effnet.benchmarks.accuracy.predictions import PredictionShard
from edge_effnet.benchmarks.compare import evaluate as evaluate_files
from edge_effnet.benchmarks.records import Latency, Results
from edge_effnet.benchmarks.reporting import formatting, page
from edge_effnet.benchmarks.selection import select
from edge_effnet.errors import UsageError
from support.colour_models import PREPROCESS, labels_csv, model, photos, weights

NAMES = ("red", "green", "blue", "dark")


def network(seed: int = 0) -> np.ndarray:
    return 3 * weights(seed, len(NAMES))


def material(folder: Path) -> tuple[list[Path], Path, np.ndarray]:
    """A float file, a noisy one, labels with some noise, and the float probabilities."""
    paths = photos(folder / "photos", 40)
    matrix = network()
    noisy = matrix + np.random.default_rng(5).normal(0, 1.5, matrix.shape)
    files = [
        model(folder / "a-fp32.onnx", matrix, labels=NAMES, activation="sigmoid"),
        model(folder / "a-int8.onnx", noisy, labels=NAMES, activation="sigmoid", precision="int8"),
    ]
    values = np.stack([PREPROCESS.normalise(PREPROCESS.pixels(p)).mean(axis=(0, 1)) for p in paths])
    scores = 1 / (1 + np.exp(-values @ matrix))
    rng = np.random.default_rng(2)
    sets = (scores >= 0.5) ^ (rng.random(scores.shape) < 0.1)
    rows = [
        (path.name, ";".join(name for name, has in zip(NAMES, row, strict=True) if has))
        for path, row in zip(paths, sets, strict=True)
    ]
    return files, labels_csv(folder / "labels.csv", rows), sets


def test_accuracy_agreement_and_drop(tmp_path: Path) -> None:
    files, labels, sets = material(tmp_path)
    found = evaluate(files, tmp_path / "photos", labels, threads=1)
    reference, quantized = found.records
    scores = [
        edge_effnet.open(file).probabilities(sorted((tmp_path / "photos").iterdir()))
        for file in files
    ]
    same = ((scores[0] >= 0.5) == (scores[1] >= 0.5)).all(axis=1)
    assert 0 < same.mean() < 1
    assert quantized.agreement == same.mean()
    wanted = [mean_average_precision(each, sets) for each in scores]
    assert [reference.mean_ap, quantized.mean_ap] == pytest.approx(wanted)
    assert quantized.drop == pytest.approx(100 * (wanted[0] - wanted[1]))
    assert quantized.top1 is quantized.top5 is None
    assert reference.is_reference
    assert (reference.agreement, reference.drop) == (1.0, 0.0)
    assert np.array_equal(found.label_sets, sets)
    stricter = evaluate(files, tmp_path / "photos", labels, threads=1, threshold=0.9).records[1]
    assert stricter.mean_ap == quantized.mean_ap
    assert stricter.f1 != quantized.f1
    assert stricter.threshold == 0.9
    with pytest.raises(UsageError, match="no probability above 0"):
        evaluate(files, tmp_path / "photos", labels, threshold=1.5)


def test_shards_survive_their_json(tmp_path: Path) -> None:
    files, labels, _ = material(tmp_path)
    from edge_effnet.benchmarks.accuracy.evaluate import Bench

    bench = Bench(files, tmp_path / "photos", labels, threads=1)
    whole = conclude([bench.run(0, 40)], bench.photos)
    texts = [json.dumps(bench.run(*ends).as_json()) for ends in ((0, 15), (15, 40))]
    shards = [PredictionShard.from_json(json.loads(text), NAMES) for text in texts]
    assert conclude(shards, bench.photos).records == whole.records


def test_results_and_report(tmp_path: Path) -> None:
    files, labels, _ = material(tmp_path)
    results = evaluate_files(files, tmp_path / "photos", labels, threads=1, progress=False)
    assert Results.from_json(results.to_json()) == results
    strict = evaluate_files(
        files, tmp_path / "photos", labels, threads=1, threshold=0.9, progress=False
    )
    assert {record.threshold for record in strict.records} == {0.9}
    assert strict.command.endswith("--threads 1 --threshold 0.9")
    assert "mAP" in repr(results.records[1])
    evaluation = evaluate(files, tmp_path / "photos", labels, threads=1)
    text = page.render(
        replace(results, records=tuple(formatting.order(results.records))), evaluation
    )
    assert "the same set of labels as the float32 reference" in text
    assert ">mAP</th>" in text
    assert "top-1" not in text
    assert "Top-1" not in text
    assert any(", " in answer.name for e in page.examples(evaluation) for answer in e.predictions)
    with pytest.raises(UsageError, match="no counts by class"):
        restrict(results, ["red"], "results.json")


def test_select_takes_the_mean_average_precision(tmp_path: Path) -> None:
    files, labels, _ = material(tmp_path)
    records = [
        record.with_(latency_ms=Latency(*(time,) * 5))
        for record, time in zip(
            evaluate(files, tmp_path / "photos", labels, threads=1).records, (2.0, 1.0), strict=True
        )
    ]
    chosen = select.select(records, select.Limits(3))
    assert chosen.measure == "mean_ap"
    assert chosen.choice is not None
    assert chosen.choice.record.file == str(files[0])


def test_without_labels_only_agreement(tmp_path: Path) -> None:
    files, _, _ = material(tmp_path)
    for record in evaluate(files, tmp_path / "photos", threads=1).records:
        assert record.mean_ap is record.drop is record.f1 is None
        assert record.agreement is not None


def test_one_class_and_sets_cannot_be_compared(tmp_path: Path) -> None:
    files, labels, _ = material(tmp_path)
    one = model(tmp_path / "one.onnx", network(), labels=NAMES)
    with pytest.raises(UsageError, match=r"predicts sets of labels and .*one.onnx one class"):
        evaluate([files[0], one], tmp_path / "photos", labels)


def test_the_doctor_reads_sets(tmp_path: Path) -> None:
    files, labels, _ = material(tmp_path)
    found = diagnose(files[0], tmp_path / "photos", labels, threads=1)
    assert found.declared_fits
    assert "photos whose most likely label applies" in found.summary
    wrong = replace(PREPROCESS, mean=(0.0,) * 3, std=(255.0,) * 3)
    bad = model(
        tmp_path / "bad.onnx", network(), labels=NAMES, activation="sigmoid", preprocess=wrong
    )
    found = diagnose(bad, tmp_path / "photos", labels, threads=1)
    assert not found.declared_fits
    assert max(found.best.convention.preprocess.mean) > 100


def test_one_sigmoid_output_is_two_classes(tmp_path: Path) -> None:
    matrix = 3 * weights(3, 1)
    paths = photos(tmp_path / "photos", 30)
    files = [
        model(tmp_path / "a.onnx", matrix, labels=("no", "yes"), activation="sigmoid"),
        model(
            *(tmp_path / "b.onnx", matrix @ [[-0.2]] + np.array([[9.0], [-9], [3]])),
            labels=("no", "yes"), activation="sigmoid", precision="int8",
        ),
    ]  # fmt: skip
    yes = [[edge_effnet.open(file)(path)[0][0] == "yes" for path in paths] for file in files]
    rows = [(path.name, "YES" if each else "no") for path, each in zip(paths, yes[0], strict=True)]
    labels = labels_csv(tmp_path / "labels.csv", rows)
    reference, quantized = evaluate(files, tmp_path / "photos", labels, threads=1).records
    same = np.mean(np.array(yes[0]) == np.array(yes[1]))
    assert 0 < same < 1
    assert (reference.top1, quantized.top1, quantized.agreement) == (1.0, same, same)
    assert quantized.drop == pytest.approx(100 * (1 - same))
