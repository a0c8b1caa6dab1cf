"""The command as a user runs it, and small exported files to run it on."""

from __future__ import annotations

import importlib.util
import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edge_effnet
from edge_effnet import cli
from edge_effnet.card import Source

from . import tflite_models as small
from .shared import shared

SCRIPT = Path(sys.executable).with_name("edge-effnet")
SUFFIXES = (".tflite", ".onnx", ".xml")
SIDE = small.SIDE
#: How the small files' photos are prepared, as options.
DESCRIBED = ("--resolution", str(SIDE), "--mean", "127", "--std", "128")

_BLOCK = "import os, sys; sys.modules.update(dict.fromkeys(os.environ['BLOCKED'].split()))"


def run(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    blocked: Sequence[str] = (),
    timeout: float = 400,
) -> subprocess.CompletedProcess[str]:
    """Run ``edge-effnet`` in a process of its own, in which ``blocked`` modules do not exist.

    It is killed after ``timeout`` seconds.
    """
    variables = {**os.environ, "COLUMNS": "80", **(env or {})}
    if blocked:
        variables.update(PYTHONPATH=str(_blocker()), BLOCKED=" ".join(blocked))
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        cwd=cwd,
        env=variables,
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
    )


def call(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same within this process: quicker, for what needs no runtime and does not end early."""
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    words = [str(argument) for argument in arguments]
    try:
        with redirect_stdout(out), redirect_stderr(err):
            cli.main(words)
    except SystemExit as end:
        return subprocess.CompletedProcess(
            words, int(end.code or 0), out.getvalue(), err.getvalue()
        )
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    raise AssertionError("main always exits")


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one message of a run that ended as bad input must: exit code 2 and nothing else said."""
    assert done.returncode == 2, done
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    notes = [line for line in lines if line.startswith("note: ")]
    assert len(lines) == len(notes) + 1, done.stderr
    assert lines[-1].startswith("error: "), done.stderr
    return lines[-1].removeprefix("error: ")


def finding(result: subprocess.CompletedProcess[str]) -> str:
    """The answer of a run that did its work and found something missing: exit code 1."""
    assert result.returncode == 1, result
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("finding: "), result.stderr
    return lines[0].removeprefix("finding: ")


def done(result: subprocess.CompletedProcess[str]) -> str:
    """The output of a run that worked."""
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    return result.stdout


def installed(module: str) -> bool:
    """Whether ``module`` could be imported."""
    return importlib.util.find_spec(module) is not None


def contents(folder: Path) -> list[str]:
    """The names of all files under ``folder``, hidden ones too; none if it does not exist."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def save_photos(folder: Path, count: int) -> Path:
    """``count`` JPEG photos of smooth random colours."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(count)
    for number in range(count):
        patches = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        patches.resize((120, 90), Image.Resampling.BICUBIC).save(folder / f"photo-{number}.jpg")
    return folder


@cache
def photos() -> Path:
    """A folder of four photos; do not change it."""
    return shared("photos", lambda folder: save_photos(folder, 4))


@cache
def exported() -> Path:
    """A folder with a tiny network's six files: fp32 and int8 in every format; do not change it."""
    model = small.model_of(small.LITE)
    model = replace(model, info=replace(model.info, source=Source("random", "random", "")))
    return shared(
        "tiny-lite",
        lambda out: edge_effnet.export(
            model, calibration=photos(), out=out, notify=lambda text: None
        ),
    )


def file(precision: str, suffix: str) -> Path:
    """One of `exported`."""
    return exported() / f"tiny-lite-{precision}{suffix}"


def verbs(path: object, images: Path) -> dict[str, tuple[object, ...]]:
    """Every command that opens an exported file, with its arguments."""
    return {
        "classify": ("classify", path, images),
        "info": ("info", path),
        "evaluate": ("evaluate", path, "--images", images),
        "benchmark": ("benchmark", path, "--runs", "1"),
        "compare": ("compare", path, "--images", images, "--runs", "1", "--out", "report"),
    }


def copy_of(source: Path, target: Path) -> Path:
    """``source`` under another name, with its companion."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    if source.suffix == ".xml":
        shutil.copy(source.with_suffix(".bin"), target.with_suffix(".bin"))
    return target


def without_card(source: Path, target: Path) -> Path:
    """A copy whose card and digest nobody finds: what another toolkit's file looks like."""
    copy_of(source, target)
    data = source.read_bytes()
    renamed = data.replace(b"edge_effnet", b"other_tools")
    assert renamed != data
    target.write_bytes(without_digest(renamed))
    return target


def without_digest(data: bytes) -> bytes:
    """The marker of the digest made illegible."""
    assert data.count(b"edge-effnet:sha256:") == 1
    return data.replace(b"edge-effnet:sha256:", b"edge-effnet:sha255:")


needs_runtimes = pytest.mark.skipif(
    any(not installed(name) for name in ("openvino", "onnxruntime", "ai_edge_litert")),
    reason="exporting needs the extra 'export'",
)


@cache
def _blocker() -> Path:
    return shared("blocker", lambda folder: (folder / "sitecustomize.py").write_text(_BLOCK + "\n"))
