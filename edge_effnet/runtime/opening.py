"""open(path): a Classifier over any exported file.

A file is handed to a runtime only after a check: one that carries our digest must match it; any
other is first opened in a child process, for a damaged file can crash the runtime outright.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_effnet import digest
from edge_effnet.card import ModelCard
from edge_effnet.classifier import Classifier
from edge_effnet.errors import EdgeEffNetError, ModelFileError, UsageError
from edge_effnet.labels import default_labels
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime.base import Runner

SUFFIXES = (".tflite", ".onnx", ".xml")
_PROBE_SECONDS = 120


def open_model(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | None = None,
    precision: str = "f32",
) -> Classifier:
    """Open an exported .tflite, .onnx or .xml file.

    ``threads`` is the number of compute threads, by default one a core. ``preprocess`` and
    ``labels`` override the card's; a file without a card needs ``preprocess``. ``precision`` is
    OpenVINO's inference precision. Raises `ModelFileError` for a missing, truncated or altered
    file, `MissingExtra` if the runtime is not installed.
    """
    path = Path(path)
    threads = _default_threads() if threads is None else threads
    if threads < 1:
        raise UsageError(f"a runner needs at least 1 thread, not {threads}")
    data, companion = read_model_files(path)
    trusted = digest.verify(data, companion, str(path))
    if not trusted:
        _probe(path)
    runner = create_runner(path, data, companion, threads, precision)
    text = runner.card_text()
    if text is not None and not trusted:
        raise ModelFileError(
            f"{path} carries a model card without its digest: it was altered after it was "
            "exported; copy it again or export it anew"
        )
    if text is None:
        card = _bare_card(path, runner, preprocess, labels)
    else:
        card = ModelCard.from_json(text)
        if preprocess is not None:
            card = card.with_(preprocess=preprocess)
        if labels is not None:
            card = card.with_(labels=tuple(labels))
    size = card.preprocess.size
    if runner.input.size != (size, size):
        raise ModelFileError(
            f"{path} takes {runner.input.size} pixels but its preprocessing makes {(size, size)}"
        )
    return Classifier(runner, card, str(path))


def read_model_files(path: Path) -> tuple[bytes, bytes]:
    """The bytes of a model file and of its companion (an .xml's .bin, else empty)."""
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path} is none of {', '.join(SUFFIXES)}; give an exported model file")
    try:
        data = path.read_bytes()
        companion = path.with_suffix(".bin").read_bytes() if path.suffix.lower() == ".xml" else b""
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no file {error.filename}") from None
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}") from error
    if not data:
        raise ModelFileError(f"{path} is empty; export it again")
    return data, companion


def create_runner(
    path: Path, data: bytes, companion: bytes, threads: int, precision: str = "f32"
) -> Runner:
    """The Runner for a file by its suffix. Call only with bytes that were checked."""
    suffix = path.suffix.lower()
    if suffix == ".tflite":
        from edge_effnet.runtime.litert import LiteRTRunner

        return LiteRTRunner(data, threads, str(path))
    if suffix == ".onnx":
        from edge_effnet.runtime.onnxruntime import OnnxRuntimeRunner

        return OnnxRuntimeRunner(data, threads, str(path))
    from edge_effnet.runtime.openvino import OpenVinoRunner

    return OpenVinoRunner(data, companion, threads, str(path), precision)


def _probe(path: Path) -> None:
    """Open and run ``path`` once in a child process; raises `ModelFileError` if that fails."""
    command = [sys.executable, "-m", "edge_effnet.runtime.opening", str(path)]
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=_PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelFileError(
            f"{path} did not open within {_PROBE_SECONDS} s; is it damaged?"
        ) from None
    if done.returncode == 0:
        return
    if done.returncode == 2:
        raise ModelFileError(done.stderr.strip().splitlines()[-1])
    raise ModelFileError(
        f"{path} crashes its runtime (exit {done.returncode}): it is damaged; "
        "copy or export it again"
    )


def _probe_main(path: Path) -> int:
    import numpy as np

    try:
        runner = create_runner(path, *read_model_files(path), threads=1)
        spec = runner.input
        shape = (1, *spec.size, 3) if spec.layout == "NHWC" else (1, 3, *spec.size)
        runner.run(np.zeros(shape, spec.dtype))
    except EdgeEffNetError as error:
        print(str(error).replace("\n", " "), file=sys.stderr)
        return 2
    return 0


def _bare_card(
    path: Path, runner: Runner, preprocess: Preprocess | None, labels: Sequence[str] | None
) -> ModelCard:
    """A card for a file that has none, from explicit arguments only."""
    if preprocess is None:
        raise ModelFileError(
            f"{path} carries no model card, so how to preprocess photos for it is unknown; "
            "say it: open(path, preprocess=Preprocess(size, crop, interpolation, mean, std))"
        )
    if labels is None:
        import numpy as np

        spec = runner.input
        shape = (1, *spec.size, 3) if spec.layout == "NHWC" else (1, 3, *spec.size)
        labels = default_labels(runner.run(np.zeros(shape, spec.dtype)).shape[-1])
    return ModelCard(
        variant="unknown", preprocess=preprocess, labels=tuple(labels), input="normalised"
    )


def _default_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(_probe_main(Path(sys.argv[1])))
