"""The page of a run: whole, self-contained, escaped, and readable for runs of every shape."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from edge_effnet.apps.training.metrics import Prediction, write_rows
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.samples import Finding
from edge_effnet.benchmarks.records import write_results
from edge_effnet.commands.train import sheet
from edge_effnet.errors import ModelFileError, UsageError
from support.html_page import Page
from support.result_records import WHOLE
from support.training_runs import colour_run

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
from edge_effnet.apps.training.run_page.page import write_page
from edge_effnet.apps.training.run_page.plots import tick_label

NAMES = ("<b>rose</b>", 'tul"ip & co', "µ $daisy$ {{ 7 * 7 }}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return colour_run(tmp_path_factory.mktemp("run"), NAMES, wrong=3, noise=60.0)


@pytest.fixture(scope="module")
def source(run: Run) -> str:
    return write_page(run).read_text("utf-8")


def text_of(run: Run) -> str:
    return Page(write_page(run).read_text("utf-8")).text


def test_the_page_is_whole_and_self_contained(source: str) -> None:
    page = Page(source)
    tags = {tag for tag, _ in page.tags}
    assert not {"script", "link", "iframe", "object", "form"} & tags
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    pictures = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert len(pictures) == 4
    for picture in pictures:
        assert set((picture["aria-labelledby"] or "").split()) <= set(ids)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/jpeg;base64,")
            assert attributes["alt"]
    assert "url(http" not in source
    assert "#0101" not in source  # every colour became a variable


def test_names_are_escaped(source: str) -> None:
    page = Page(source)
    for name in NAMES:
        assert name in page.text
    assert "<b>rose</b>" not in source
    assert "49" not in {word.strip(".,()") for word in page.text.split("daisy$")[1][:20].split()}


def test_the_numbers_are_those_of_the_run(run: Run, source: str) -> None:
    text = Page(source).text
    test = run.metrics().of("fine_tuning", "test")
    head = run.metrics().of("head", "test")
    assert test is not None
    assert head is not None
    assert f"{100 * test.top1:.1f} % of 24 test photos classified correctly" in text
    assert f"± {100 * head.standard_error:.1f}" in text
    assert f"ECE {100 * test.ece:.1f} %" in text
    assert "36 training photos" in text
    wrong = sum(
        one.prediction != one.label
        for one in run.predictions()
        if (one.stage, one.split) == ("fine_tuning", "test")
    )
    assert wrong > 1
    assert f"Of the {wrong} wrong predictions on test photos" in text
    assert f"edge-effnet export {run.folder} --out out/" in text


def test_the_page_is_the_same_every_time(run: Run, source: str) -> None:
    assert write_page(run).read_text("utf-8") == source


def test_photos_that_were_moved_have_a_placeholder(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(run.folder / "photos" / "000")
    try:
        page = Page(write_page(run).read_text("utf-8"))
    finally:
        shutil.copytree(tmp_path / "run" / "photos" / "000", run.folder / "photos" / "000")
    assert "could not be read" in page.text
    assert any(tag == "img" for tag, _ in page.tags)


def test_without_test_photos_the_validation_photos_are_quoted_with_a_warning(
    tmp_path: Path,
) -> None:
    text = text_of(colour_run(tmp_path, parts=("train", "val")))
    assert "of 12 validation photos classified correctly" in text
    assert "There are no test photos" in text


def test_three_photos(tmp_path: Path) -> None:
    text = text_of(colour_run(tmp_path, parts=("train",), repeats=1, stages=("head",)))
    assert "of 3 training photos" in text
    assert "not its accuracy on new photos" in text


def test_a_class_without_test_photos_is_named(tmp_path: Path) -> None:
    run = colour_run(tmp_path, ("rose", "tulip", "daisy"))
    rows = [one for one in run.predictions() if (one.label, one.split) != ("tulip", "test")]
    write_rows(run.predictions_file, Prediction, rows)
    assert "1 class without test photos: tulip." in text_of(run)


def test_a_thousand_classes(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(1000)]
    run = colour_run(tmp_path, names, ("train", "test"), repeats=1, stages=("head",), steps=3)
    source = write_page(run).read_text("utf-8")
    text = Page(source).text
    assert "30 of 1,000 classes" in text
    assert "The most frequent mistakes on test photos" in text
    assert "The first 200 suspected photos" in text
    assert len(source) < 400_000


def test_exported_files_side_by_side(run: Run, tmp_path: Path) -> None:
    assert "Float against int8" not in text_of(run)
    write_results(WHOLE, run.folder / "results.json")
    try:
        text = text_of(run)
        (run.folder / "results.json").write_text("{")
        with pytest.raises(UsageError, match=r"results\.json"):
            write_page(run)
    finally:
        (run.folder / "results.json").unlink()
    assert "Float against int8" in text
    assert "efficientnet-lite0-int8.tflite" in text
    assert "99.1" in text


def test_training_photos_are_judged_out_of_fold(tmp_path: Path) -> None:
    """By the rows of label_check.csv, whatever the trained network predicts for them."""
    run = colour_run(tmp_path, noise=1.0)
    assert "None: no photo is put into another class" in text_of(run)
    rows = [one for one in run.predictions() if (one.stage, one.split) == ("head", "train")]
    odd = replace(rows[0], prediction="tulip", probability=1.0, label_probability=0.0)
    write_rows(run.label_check_file, Prediction, [odd, *rows[1:]])
    text = text_of(run)
    assert "The network puts 1 photo into another class" in text
    assert f"{odd.file} training {odd.label} tulip 100 %" in text
    assert "fitted without them" in text


def test_findings_have_their_files(tmp_path: Path) -> None:
    findings = (
        Finding("grey", "2 photos are grey.", ("a/<i>.jpg", "b.jpg")),
        Finding("tiny-class", "The class rose has 3 photos.", ()),
    )
    text = text_of(colour_run(tmp_path, findings=findings))
    assert "2 photos are grey. a/<i>.jpg, b.jpg The class rose has 3 photos." in text


def test_an_unfinished_run_has_its_curves(tmp_path: Path) -> None:
    run = colour_run(tmp_path)
    run.predictions_file.unlink()
    run.metrics_file.unlink()
    source = write_page(run.with_state(stage="fine_tuning")).read_text("utf-8")
    assert "The training has not measured a network yet" in Page(source).text
    assert 'id="losses"' in source


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    run = colour_run(tmp_path)
    run.predictions_file.write_text("file,split\n1,2\n")
    with pytest.raises(ModelFileError, match=r"predictions\.csv"):
        write_page(run)
    assert not run.page_file.exists()


def test_an_accuracy_without_spread_has_no_standard_error(tmp_path: Path) -> None:
    run = colour_run(tmp_path)
    metrics = run.metrics()
    splits = tuple(replace(each, top1=1.0, standard_error=0.0) for each in metrics.splits)
    perfect = replace(metrics, splits=splits)
    perfect.write(run.metrics_file)
    text = text_of(run)
    assert "±" not in text.split("How each figure was taken")[0]
    assert "test top-1; ECE" in text
    assert "±" not in sheet(run, perfect)
    assert "±" in sheet(run, metrics)


def test_logarithmic_axes_have_plain_decimals() -> None:
    values = (2e-05, 2.0000000000000002e-05, 0.0001, 0.005, 1.0, 20.0)
    labels = [tick_label(value) for value in values]
    assert labels == ["0.00002", "0.00002", "0.0001", "0.005", "1", "20"]


def test_shares_of_classes_are_not_rounded_to_whole_percent(tmp_path: Path) -> None:
    run = colour_run(tmp_path, noise=60.0, repeats=20, parts=("train", "val", "test", "test"))
    rows = [one for one in run.predictions() if one.split == "test"]
    names = {one.label for one in rows}
    shares = [
        sum(one.label == one.prediction == name for one in rows if one.stage == "fine_tuning")
        / sum(one.label == name for one in rows if one.stage == "fine_tuning")
        for name in names
    ]
    assert any(100 * share % 1 for share in shares)
    source = write_page(run).read_text("utf-8")
    for share in shares:
        assert f"<td>{100 * share:.1f}</td>" in source
