"""The training demo: class folders of crops, and all of it from photos to measured files."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from edge_effnet.apps.training.dataset.read import read_training_data
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.settings import Settings
from edge_effnet.benchmarks.demo.training import (
    CLASSES,
    CROPS,
    _remove_earlier,
    write_class_folders,
)
from edge_effnet.benchmarks.records import read_results
from edge_effnet.errors import UsageError
from support.command import done, run
from support.html_page import Page
from support.training_runs import colour_run


def test_crops_of_each_class_can_be_trained_on(tmp_path: Path) -> None:
    write_class_folders(tmp_path / "first")
    data = read_training_data(tmp_path / "first")
    assert data.class_names == tuple(CLASSES)
    assert data.counts() == (CROPS,) * len(CLASSES)
    assert not {"broken", "copy", "contradiction"} & {finding.kind for finding in data.findings}
    write_class_folders(tmp_path / "second")
    for path in sorted((tmp_path / "first").rglob("*.jpg")):
        same = tmp_path / "second" / path.relative_to(tmp_path / "first")
        assert path.read_bytes() == same.read_bytes()


def test_a_run_of_the_user_is_not_replaced(tmp_path: Path) -> None:
    from edge_effnet.benchmarks.demo.training import run as run_demo

    mine = colour_run(tmp_path / "run")
    with pytest.raises(UsageError, match="holds a training already"):
        run_demo(tmp_path, progress=lambda *step: None, notify=lambda text: None)
    assert Run.open(mine.folder) == mine


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_demo(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    text = done(run("demo", "--train", "--out", tmp_path, cwd=tmp_path, timeout=1100))
    trained = Run.open(tmp_path / "run")
    assert f"page: {trained.page_file}" in text
    assert "camera" in text
    results = read_results(trained.results_file)
    assert {record.precision for record in results.records} == {"fp32", "int8"}
    for record in results.records:
        assert record.top1 is not None
        assert record.top1 > 0.8  # crops of seven photos
    assert "Float against int8" in Page(trained.page_file.read_text("utf-8")).text


def test_an_earlier_run_is_removed_although_its_path_has_a_symbolic_link(tmp_path: Path) -> None:
    crops, folder = tmp_path / "link" / "photos", tmp_path / "link" / "run"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    crops.mkdir()
    folder.mkdir()
    Run(folder, Settings(str(crops), "efficientnet-lite0")).write()
    _remove_earlier(folder, crops)
    assert not folder.exists()
