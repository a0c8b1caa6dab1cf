"""``edge-effnet bench results``: resumed without repeating work; missing packages; bad input."""

from __future__ import annotations

import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_effnet.benchmarks.suite.results import network_run
from edge_effnet.benchmarks.suite.results.measure import measure
from edge_effnet.benchmarks.suite.results.network_run import NetworkRun
from edge_effnet.benchmarks.suite.results.random_network import random_network
from edge_effnet.benchmarks.suite.results.settings import Settings
from edge_effnet.benchmarks.sweep.plan import Cell
from edge_effnet.benchmarks.sweep.tasks import Accuracy
from edge_effnet.checkpoints.canonical import save
from edge_effnet.converters.vendors import VENDORS
from edge_effnet.errors import CheckpointError, ImageError, MissingExtra, UsageError
from support.command import call, needs_runtimes, refused, save_photos
from support.seeded_values import images

pytestmark = needs_runtimes
#: The smallest network of the family's kind.
VARIANT = "lite0-d0.2-w0.3-r64"
PHOTOS = 12


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Twelve photos with labels: six for calibration."""
    folder = save_photos(tmp_path_factory.mktemp("photos") / "all", PHOTOS)
    lines = [
        f"photo-{number}.jpg,{number},{'calibration' if number % 2 else 'evaluation'}"
        for number in range(PHOTOS)
    ]
    labels = folder.parent / "labels.csv"
    labels.write_text("\n".join(["file,label,split", *lines]) + "\n")
    return str(folder), str(labels)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Weights that stand for trained ones."""
    path = tmp_path_factory.mktemp("checkpoint") / "trained.safetensors"
    return str(save(random_network(VARIANT, None, images(64, 4)), path))


def settings(photos: tuple[str, str], **fields: Any) -> Settings:
    small: dict[str, Any] = {
        "formats": ("onnx",),
        "precisions": ("fp32", "int8"),
        "recipes": ("default",),
        "quantizers": ("onnxruntime",),
        "runs": 4,
        "rounds": 2,
        **fields,
    }
    return Settings(*photos, **small)


def run(cell: Cell, chosen: Settings, out: Path, notes: list[str]) -> Any:
    """The measured network; fails if it failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # six photos are few
        (measured,), failures = measure([cell], chosen, out, notify=notes.append)
    assert not failures
    return measured


@pytest.mark.slow
def test_an_interrupted_measurement_continues(
    photos: tuple[str, str], checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupted task is done again, and no other; the result is that of one run."""
    calls: Counter[str] = Counter()
    predict, export = Accuracy.do, network_run.export

    def counted_export(*args: Any, **options: Any) -> Any:
        calls["export"] += 1
        return export(*args, **options)

    def interrupted(task: Accuracy) -> Any:
        calls["predict"] += 1
        if calls["predict"] == 2:
            raise KeyboardInterrupt
        return predict(task)

    monkeypatch.setattr(network_run, "export", counted_export)
    monkeypatch.setattr(Accuracy, "do", interrupted)
    cell, chosen, out = Cell(VARIANT, weights=checkpoint), settings(photos), tmp_path / "out"
    notes: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        run(cell, chosen, out, notes)
    assert calls == {"export": 3, "predict": 2}  # all files, then the float file's predictions
    folder = out / cell.name
    assert not (folder / "results.json").exists()
    with open(folder / "journal.jsonl", "ab") as journal:
        journal.write(b'{"key": "accuracy')  # as a process that is killed while it writes

    first = run(cell, chosen, out, notes)
    assert calls == {"export": 3, "predict": 4}  # our int8 file's and the vendor's
    files = [(each.precision, each.quantizer) for each in first.results.records]
    assert files == [("fp32", None), ("int8", "edge-effnet"), ("int8", "onnxruntime")]
    for record in first.results.records:
        assert record.images == PHOTOS // 2
        assert record.latency_ms is not None
        assert record.drop is not None
    assert first.method.calibration_photos == PHOTOS // 2
    assert first.method.packages["onnxruntime"].startswith("onnxruntime")

    again = run(cell, chosen, out, notes)
    assert calls == {"export": 3, "predict": 4}
    assert again.results.records == first.results.records

    (folder / "default" / first.results.records[1].file.rpartition("/")[2]).write_bytes(b"other")
    run(cell, chosen, out, notes)  # a changed file is exported again: the same bytes, no new photo
    assert calls == {"export": 4, "predict": 4}
    assert not notes


@pytest.mark.slow
def test_the_command_writes_the_page_and_names_missing_vendors(
    photos: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nncf", "nncf-histogram"):
        monkeypatch.delitem(sys.modules, VENDORS[name].module, raising=False)
    monkeypatch.setitem(sys.modules, "nncf", None)
    folder, labels = photos
    page, report = tmp_path / "page.md", tmp_path / "report.json"
    line = ["bench", "results", f"{VARIANT}=random", "--images", folder, "--labels", labels]
    line += ["--formats", "onnx,openvino", "--precisions", "int8", "--recipes", "default"]
    line += ["--out", str(tmp_path / "out"), "--markdown", str(page), "--json", str(report)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = call(*line, "--quantizer", "onnxruntime", "--quantizer", "nncf")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{page}\n"
    assert [text for text in done.stderr.splitlines() if not text.startswith("note: ")] == []
    assert "nncf is left out: not installed" in done.stderr
    text = page.read_text()
    assert "NNCF: not installed" in " ".join(text.split())
    assert f"edge-effnet bench results efficientnet-{VARIANT}=random --images" in text
    row = next(each for each in text.splitlines() if "| ONNX |" in each)
    assert "`quantize_static` " in row
    (network,) = json.loads(report.read_text())["networks"]
    for record in network["records"]:
        assert record["agreement"] is record["top1"] is record["latency_ms"] is None
        assert record["images"] == PHOTOS // 2
    sqnr = [record["sqnr_db"] for record in network["records"][1:]]
    assert np.isfinite(sqnr).all()
    assert min(sqnr) > 0


def test_a_vendor_that_fails_is_named(
    photos: tuple[str, str], checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_effnet.converters.vendors import onnxruntime

    def fail(*args: Any) -> None:
        raise AssertionError("nothing fits")

    monkeypatch.setattr(onnxruntime, "quantize", fail)
    notes: list[str] = []
    chosen = settings(photos, precisions=("fp32",), timing=False)
    measured = run(Cell(VARIANT, weights=checkpoint), chosen, tmp_path, notes)
    assert "nothing fits" in measured.method.left_out["onnxruntime"]
    assert "nothing fits" in notes[0]
    assert [record.precision for record in measured.results.records] == ["fp32"]
    assert not measured.method.packages


def test_a_missing_package_of_a_format_fails_the_network(
    photos: tuple[str, str], checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise MissingExtra("onnx is not installed: pip install onnx")

    monkeypatch.setattr(network_run, "export", fail)
    chosen = settings(photos, precisions=("fp32",), quantizers=(), timing=False)
    measured, failures = measure([Cell(VARIANT, weights=checkpoint)], chosen, tmp_path)
    assert not measured
    assert failures == {VARIANT: "onnx is not installed: pip install onnx"}


def test_bad_input_is_refused_before_any_work(photos: tuple[str, str], tmp_path: Path) -> None:
    folder, labels = photos
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="for calibration is unknown"):
        Settings(folder)
    with pytest.raises(UsageError, match="unknown recipe 'fast'; choose from default, best"):
        Settings(folder, labels, recipes=("fast",))
    cells = [Cell(VARIANT, weights="random"), Cell("lite0", weights="missing.pth")]
    with pytest.raises(CheckpointError, match=r"missing\.pth"):
        measure(cells, settings(photos), out)
    unlabelled = Settings(folder, calibration=folder)
    with pytest.raises(UsageError, match="have no labels: the loss of accuracy cannot"):
        measure(cells[:1], unlabelled, out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="empty"):
        measure(cells[:1], settings((str(tmp_path / "empty"), labels)), out)
    assert not out.exists()
    line = ["bench", "results", VARIANT, "--images", folder, "--out", str(out)]
    assert "give --labels CSV" in refused(call(*line))


def test_one_failing_network_leaves_the_others(
    photos: tuple[str, str], checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished = NetworkRun.run

    def fail_once(self: NetworkRun, command: str) -> Any:
        if self.cell.weights == "random":
            raise UsageError("too large")
        return finished(self, command)

    monkeypatch.setattr(NetworkRun, "run", fail_once)
    cells = [Cell("lite0", 32, "random"), Cell(VARIANT, weights=checkpoint)]
    chosen = settings(photos, precisions=("fp32",), quantizers=(), timing=False)
    measured, failures = measure(cells, chosen, tmp_path)
    assert failures == {"lite0@32": "too large"}
    assert [each.method.network for each in measured] == [VARIANT]


def test_the_command_line_repeats_the_measurement(photos: tuple[str, str]) -> None:
    chosen = Settings("photos", "labels.csv", split="validation", timing=False, quantizers=())
    text = chosen.command([Cell("efficientnet-b1", 128, "random")], Path("out"))
    assert text == (
        "edge-effnet bench results efficientnet-b1@128=random --images photos --labels labels.csv "
        "--split validation --quantizer edge-effnet --no-latency --out out"
    )
