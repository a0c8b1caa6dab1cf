"""compare: which files it takes, and what it refuses before it measures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edge_effnet.benchmarks import compare
from edge_effnet.errors import MissingExtra, OutputError, UsageError
from support.colour_models import photos

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")


def test_model_files(tmp_path: Path) -> None:
    for name in ("b.onnx", "a.xml", "a.bin", "c.TFLITE", "d.txt", "stray.xml"):
        (tmp_path / name).write_text("")
    found = compare.model_files(["x.onnx", tmp_path])
    assert found == ["x.onnx", *(str(tmp_path / n) for n in ("a.xml", "b.onnx", "c.TFLITE"))]
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no model file"):
        compare.model_files([tmp_path / "empty"])


def test_an_unwritable_folder_is_found_before_measuring(tmp_path: Path) -> None:
    photos(tmp_path / "p", 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        compare.compare([tmp_path / "none.onnx"], tmp_path / "p", out=tmp_path / "file" / "r")


def test_a_missing_extra_is_named_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtra, match=r".*\[report\]"):
        compare.compare([tmp_path / "none.onnx"], tmp_path / "p", out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_imports_are_light() -> None:
    code = (
        "import sys, edge_effnet.benchmarks; light = set(sys.modules);"
        "import edge_effnet.benchmarks.compare, edge_effnet.benchmarks.reporting.table;"
        "heavy = {'matplotlib', 'jinja2', 'onnxruntime', 'openvino', 'ai_edge_litert', 'rich'};"
        "assert 'numpy' not in light; assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
