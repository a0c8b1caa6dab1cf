"""Only networks whose checkpoint is there are recommended; better ones come with their command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_effnet.benchmarks.records import Host, Latency, Record, Results
from edge_effnet.benchmarks.selection import finalists
from edge_effnet.benchmarks.selection.checkpoints_at_hand import CheckpointAtHand, built_in, find
from edge_effnet.benchmarks.selection.explain import explain, refusal
from edge_effnet.benchmarks.selection.prediction_errors import prediction_errors
from edge_effnet.benchmarks.selection.select import Limits
from edge_effnet.checkpoints import load
from edge_effnet.checkpoints.canonical import save
from edge_effnet.errors import CheckpointError, UsageError
from support.command import call, done, finding, refused
from support.latency_models import latency_model, runtime

MODEL = latency_model(
    runtime(pointwise__multiply_adds=0.01, depthwise3s1__moved=0.1),
    runtime("fp32", pointwise__multiply_adds=0.03, depthwise3s1__moved=0.1),
)
LITE0 = CheckpointAtHand("efficientnet-lite0", "run/best.safetensors", 192, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What training leaves: two epochs of one network, another network, and other files."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "v2").mkdir()
    one = load("lite0", "random", classes=3, resolution=64)
    save(one, folder / "best.safetensors")
    save(one, folder / "last.safetensors")
    save(load("b1", "random", classes=3), folder / "v2" / "b1.safetensors")
    (folder / "optimizer.pt").write_bytes(b"no checkpoint")
    (folder / "exported.bin").write_bytes(b"OpenVINO")
    (folder / "exported.xml").write_bytes(b"OpenVINO")
    return folder


def test_find(folder: Path) -> None:
    notes: list[str] = []
    found = find([folder], notes.append)
    assert [(c.variant, c.resolution, c.classes) for c in found] == [
        ("efficientnet-lite0", 64, 3),
        ("efficientnet-b1", 240, 3),
    ]
    assert [Path(c.weights).name for c in found] == ["best.safetensors", "b1.safetensors"]
    assert len(notes) == 2
    assert f"left out {folder / 'optimizer.pt'}" in notes[0] + notes[1]
    assert "last.safetensors is the same network as" in notes[0] + notes[1]


def test_what_cannot_be_found(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"optimizer\.pt"):  # named, so never left out
        find([folder / "optimizer.pt"], print)
    with pytest.raises(UsageError, match="has no checkpoint of an EfficientNet"):
        find([tmp_path], print)
    with pytest.raises(CheckpointError, match="missing"):
        find([tmp_path / "missing.pth"], print)


def test_the_choice_is_at_hand() -> None:
    limits = Limits(10)
    anything = finalists.choose(MODEL, limits, confirm=0)[0].choice
    found = finalists.choose_at_hand(MODEL, limits, [LITE0], confirm=0)
    assert anything is not None
    assert found.choice is not None
    assert found.to_train is not None
    assert found.choice.record.variant == "efficientnet-lite0"
    assert found.choice.record.resolution == 192
    assert found.to_train.record == anything.record
    assert found.command(found.choice) == (
        "edge-effnet export run/best.safetensors --formats tflite --precisions fp32"
    )
    short = anything.record.file.partition("@")[0]
    command = f"edge-effnet train photos/ --variant {short} --weights CHECKPOINT --out run/"
    assert "Get a checkpoint of" in explain(found)
    assert found.command(found.to_train) == command
    assert command in explain(found)
    assert json.loads(json.dumps(found.as_json()))["commands"]["to_train"] == command


def test_training_begins_with_packaged_weights_where_there_are_some() -> None:
    b1 = CheckpointAtHand("efficientnet-b1", "b1.pth", 96, 10)
    found = finalists.choose_at_hand(MODEL, Limits(3.755), [b1], confirm=0)
    assert found.to_train is not None
    assert found.to_train.record.variant == "efficientnet-lite0"
    assert "Train it: edge-effnet train photos/ --variant lite0 --out run/" in explain(found)


def test_a_run_of_training_is_one_checkpoint(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "first"
    run.mkdir(parents=True)
    save(load("lite0", "random", classes=3, resolution=64), run / "model.safetensors")
    (run / "head.safetensors").write_bytes(b"the state of training")
    (run / "run.json").write_text("{}")
    for path in (run, tmp_path / "runs"):
        notes: list[str] = []
        (found,) = find([path], notes.append)
        assert (found.weights, found.classes) == (str(run), 3)
        assert notes == []
    (tmp_path / "runs" / "second").mkdir()
    (tmp_path / "runs" / "second" / "run.json").write_text("{}")
    assert len(find([tmp_path / "runs"], notes.append)) == 1
    assert "has no network yet" in notes[0]


def test_another_side_is_exported_with_it() -> None:
    found = finalists.choose_at_hand(MODEL, Limits(2), [LITE0], (0.5,), confirm=0)
    assert found.choice is not None
    assert found.choice.record.resolution == 96
    assert "--resolution 96 " in str(found.command(found.choice))


def test_nothing_better_to_train() -> None:
    everything = [
        CheckpointAtHand(record.variant, f"{record.variant}.pth", record.resolution or 0, 1000)
        for record in finalists.predicted(MODEL)
        if record.precision == "int8"
    ]
    found = finalists.choose_at_hand(MODEL, Limits(10), everything, confirm=0)
    assert found.choice is not None
    assert found.to_train is None
    assert "train" not in explain(found)


def test_no_checkpoint_at_hand() -> None:
    found = finalists.choose_at_hand(MODEL, Limits(10), [], confirm=0)
    assert found.choice is None
    assert found.to_train is not None
    assert "no checkpoint at hand fits" in refusal(found)
    assert f"fine-tune it: {found.command(found.to_train)}" in refusal(found)
    found = finalists.choose_at_hand(MODEL, Limits(0.001), [], confirm=0)
    assert (found.choice, found.to_train) == (None, None)
    assert "the nearest is" in refusal(found)


def test_finalists_have_their_prediction_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, int] = {}

    def timed(records, threads, runs, progress, monitor, classes):  # type: ignore[no-untyped-def]
        asked.update(classes)
        half = [record.latency_ms.median / 2 for record in records]
        return [
            r.with_(latency_ms=Latency(t, t, t, t, t)) for r, t in zip(records, half, strict=True)
        ]

    monkeypatch.setattr(finalists, "_timed", timed)
    found = finalists.choose_at_hand(MODEL, Limits(10), [LITE0], confirm=2)
    assert set(asked.values()) == {5}
    assert len(found.predictions) == 2
    assert all(item.relative == pytest.approx(1, abs=1e-3) for item in found.predictions)
    text = explain(found)
    assert text.count("(+100.0 %)") == 2
    assert "prediction error of 2 files: median 100.0 %, largest 100.0 %" in text


def test_measured_files_have_their_prediction_beside(tmp_path: Path) -> None:
    here = replace(MODEL, host=Host(cpu="one", machine="x86_64"))
    predicted = finalists.predicted(here)[:2]
    times = [1.1 * (record.latency_ms.median if record.latency_ms else 0) for record in predicted]
    records = tuple(
        record.with_(file=f"{number}.tflite", latency_ms=Latency(t, t, t, t, t))
        for number, (record, t) in enumerate(zip(predicted, times, strict=True))
    )
    others = (
        Record("two.tflite", "efficientnet-lite0", "tflite", "int8", threads=2,
               latency_ms=records[0].latency_ms),
        Record("mine.onnx", "mine", "onnx", "int8", threads=1, latency_ms=records[0].latency_ms),
    )  # fmt: skip
    errors = prediction_errors(here, (*records, *others))
    assert [item.file for item in errors] == ["0.tflite", "1.tflite"]
    assert all(item.relative == pytest.approx(1 / 1.1 - 1, abs=1e-3) for item in errors)
    model, path = here.save(tmp_path / "m.json"), tmp_path / "r.json"
    path.write_text(Results(here.host, records).to_json())
    both = ("select", "--results", path, "--budget-ms", 1000, "--latency-model")
    assert "prediction error of 2 files: median 9.1 %" in done(call(*both, model))
    content = json.loads(done(call(*both, model, "--json", "-")))
    assert [item["file"] for item in content["predictions"]] == ["0.tflite", "1.tflite"]
    other = replace(here, host=Host(cpu="two", machine="x86_64")).save(tmp_path / "o.json")
    assert "of another machine (two)" in refused(call(*both, other))


def test_command(folder: Path, tmp_path: Path) -> None:
    path = MODEL.save(tmp_path / "m.json")
    options = ("select", "--latency-model", path, "--budget-ms")
    answer = call(*options, 100, "--weights", folder / "best.safetensors")
    assert f"export it  edge-effnet export {folder / 'best.safetensors'} --formats" in done(answer)
    message = finding(call(*options, 4, "--weights", folder / "v2"))
    assert "no checkpoint at hand fits a median of 4 ms" in message
    assert "edge-effnet train photos/ --variant" in message
    assert "random" in refused(call(*options, 5, "--weights", "random"))
    names = [get.name for get in built_in()]
    assert f"checkpoints at hand: {', '.join(names) or 'none'}" in call(*options, 100).stderr
    unconfirmed = call(*options, 100, "--confirm", 0).stderr
    assert "latencies are predicted: nothing is measured to confirm them" in unconfirmed
