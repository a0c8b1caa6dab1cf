"""Text of strangers on the terminal and on pages: nothing in it controls either."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import edge_effnet
from edge_effnet.card import Source
from support import command
from support import tflite_models as small
from support.html_page import Page
from support.shared import shared

EVIL = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202egpj\n\nerror: <img src=x onerror=alert(1)>"
#: What rich writes: colours and styles. Labels must not add to it.
STYLES = re.compile(r"\x1b\[[\d;]*m")
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
ROOT = Path(edge_effnet.__file__).parent.parent
#: The modules that write on standard output or error, and child processes that write to a pipe.
WRITERS = {
    "edge_effnet/cli.py",
    "edge_effnet/commands/command.py",
    "edge_effnet/commands/terminal.py",
    "edge_effnet/progress.py",
    "apps/bundle/launcher.py",
}
CHILDREN = {
    "converters/foreign/probe.py",
    "edge_effnet/toolchains/scripts/imx500.py",
    "edge_effnet/checkpoints/keras/files.py",
    "edge_effnet/runtime/opening.py",
    "benchmarks/remote/agent.py",
    "benchmarks/remote/device.py",
    "benchmarks/remote/measure.py",
    "benchmarks/latency/litert_profiler.py",
    "benchmarks/suite/calibration_cost.py",
    "benchmarks/suite/training.py",
}


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """A tiny network's three fp32 files whose labels, name and source are hostile."""

    def export(out: Path) -> None:
        model = small.model_of(small.LITE)
        labels = tuple(f"{index} {EVIL}" for index in range(small.CLASSES))
        source = Source(f"{EVIL}.pth", EVIL, "")
        model = replace(model, info=replace(model.info, labels=labels, source=source))
        edge_effnet.export(model, out=out, precisions=["fp32"], notify=lambda text: None)

    folder = shared("hostile-labels", export)
    return sorted(path for path in folder.iterdir() if path.suffix in command.SUFFIXES)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos and a broken one whose names are hostile."""
    folder = command.save_photos(tmp_path / "photos", 2)
    name = EVIL.replace("/", "").replace("\n", "")
    (folder / "photo-0.jpg").rename(folder / f"{name}.jpg")
    (folder / f"broken{name}.jpg").write_bytes(b"no photo")
    return folder


@pytest.mark.parametrize("verb", ["info", "classify", "evaluate", "benchmark"])
@pytest.mark.parametrize("colours", [False, True])
def test_commands_on_hostile_files(
    verb: str, colours: bool, files: list[Path], photos: Path, tmp_path: Path
) -> None:
    env = {"FORCE_COLOR": "1", "TERM": "xterm-256color"} if colours else {}
    name = tmp_path / f"\x1b[31m{files[0].stem}{files[0].suffix}"
    path = command.copy_of(files[0], name)
    done = command.run(*command.verbs(path, photos)[verb], cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    for text in (done.stdout, done.stderr):
        assert not CONTROL.search(STYLES.sub("", text) if colours else text)
        assert not any(each.startswith("error: <img") for each in text.splitlines())
    if verb in ("classify", "info"):
        assert "\\u001b]0;owned\\u0007" in done.stdout


def test_the_report_shows_hostile_labels_as_text(
    files: list[Path], photos: Path, tmp_path: Path
) -> None:
    arguments = ("--images", photos, "--runs", "1", "--out", "report")
    done = command.run("compare", *files, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not CONTROL.search(done.stdout + done.stderr)
    page = Page((tmp_path / "report" / "report.html").read_text("utf-8"))
    assert not [attributes for tag, attributes in page.tags if "onerror" in attributes]


@pytest.mark.parametrize("stage", ["opening", "name"])
def test_messages_of_a_runtime(stage: str, tmp_path: Path) -> None:
    """Names of nodes and tensors reach the user through a runtime's message."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    weights = onnx.numpy_helper.from_array(np.zeros((5, 7), np.float32), f"w{EVIL}")
    node = helper.make_node("MatMul", ["x", weights.name], ["y"], name=EVIL)
    graph = helper.make_graph(
        [node],
        EVIL,
        [helper.make_tensor_value_info("x", kind, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, [1, 5])],
        [weights],
    )
    path = tmp_path / ("x.onnx" if stage == "opening" else "\x1b[31mx.onnx")
    onnx.save(helper.make_model(graph, ir_version=9), str(path))
    done = command.run("info", path, cwd=tmp_path)
    message = command.refused(done)
    assert not CONTROL.search(message)
    assert len(message) < 5000


@pytest.mark.parametrize("word", ["\x1b[31m", "a\rb", "x" * 100_000])
@pytest.mark.parametrize("verb", [["info"], ["classify"], ["export", "lite0", "--weights"], []])
def test_arguments_are_repeated_safely(word: str, verb: list[str]) -> None:
    done = command.call(*verb, word)
    assert done.returncode == 2
    assert not CONTROL.search(done.stdout + done.stderr)
    assert len(done.stderr) < 10_000


def test_one_place_writes_on_the_terminal() -> None:
    """Other modules return text, raise errors, or call `note`, `write` and `write_table`."""
    writing = set()
    for folder in ("edge_effnet", "apps", "benchmarks", "calibration", "converters"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and re.fullmatch(
                    r"print|click\.s?echo|sys\.std(out|err)(\.buffer)?\.write",
                    ast.unparse(node.func),
                ):
                    writing.add(path.relative_to(ROOT).as_posix())
    assert writing <= WRITERS | CHILDREN
