"""The folder of a training: what is written is read again, and damage is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_effnet.apps.training.run import Run, is_run
from edge_effnet.apps.training.samples import Finding, Sample, TrainingData
from edge_effnet.apps.training.settings import Settings
from edge_effnet.errors import ModelFileError, UsageError

CLASSES = ("ein, Apfel", "ünder_10")


def run_in(folder: Path) -> Run:
    settings = Settings(str(folder / "photos"), "efficientnet-lite0")
    return Run(folder, settings, CLASSES, weights_sha256="ab", versions={"numpy": "2"}).write()


def data_in(folder: Path) -> TrainingData:
    photos = folder / "photos"
    names = ("a/1.jpg", 'b/"2", x.jpg', "b/3.jpg")
    splits = ("train", "val", "test")
    samples = tuple(
        Sample(photos / name, name, index % 2, split)  # type: ignore[arg-type]
        for index, (name, split) in enumerate(zip(names, splits, strict=True))
    )
    findings = (Finding("grey", "1 photo is grey.", ("a/1.jpg",)),)
    return TrainingData(photos, CLASSES, samples, findings)


def test_a_run_is_read_as_written(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    assert Run.open(tmp_path) == run
    later = run.with_state(stage="fine_tuning", epoch=3, seconds={"head": 2.5})
    assert Run.open(tmp_path) == later
    assert is_run(tmp_path)


def test_data_is_read_as_written(tmp_path: Path) -> None:
    run, data = run_in(tmp_path), data_in(tmp_path)
    run.write_data(data)
    assert run.data() == data
    assert data.findings[0].files == ("a/1.jpg",)
    assert data.counts() == (2, 1)
    assert data.counts("val") == (0, 1)
    assert [sample.name for sample in data.of("test")] == ["b/3.jpg"]
    assert data.labels("test").tolist() == [0]


@pytest.mark.parametrize("text", ["{", "[{}]", '[{"kind": "odd", "message": ""}]'])
def test_damaged_findings_are_named(tmp_path: Path, text: str) -> None:
    run = run_in(tmp_path)
    run.write_data(data_in(tmp_path))
    run.findings_file.write_text(text)
    with pytest.raises(ModelFileError, match=r"findings\.json"):
        run.data()


@pytest.mark.parametrize(
    "text",
    ["", "file,label\n", "file,label,split\na.jpg,nobody,train\n", "file,label,split\na,b\n"],
)
def test_damaged_data_is_named(tmp_path: Path, text: str) -> None:
    run = run_in(tmp_path)
    run.data_file.write_text(text)
    with pytest.raises(ModelFileError, match=r"data\.csv"):
        run.data()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert not is_run(tmp_path)
    with pytest.raises(UsageError, match="not a training run"):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match=r"there is no folder .*nothing"):
        Run.open(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": 1}'])
def test_a_damaged_run_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ModelFileError, match=r"run\.json"):
        Run.open(tmp_path)


def test_a_newer_run_is_refused(tmp_path: Path) -> None:
    run_in(tmp_path)
    content = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**content, "schema": 2}))
    with pytest.raises(ModelFileError, match="newer release"):
        Run.open(tmp_path)


@pytest.mark.parametrize("schema", [[], None, "1", True, 1.5])
def test_a_schema_of_another_type_is_named(tmp_path: Path, schema: object) -> None:
    run_in(tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": schema}))
    with pytest.raises(ModelFileError, match=r"schema is .* not a whole number") as caught:
        Run.open(tmp_path)
    assert str(caught.value).count("run.json") == 1


def test_a_run_without_a_network_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resume=True"):
        run_in(tmp_path).model()
