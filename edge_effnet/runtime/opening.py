"""Opening of exported files of any format as a `Classifier`.

A file is checked before a runtime of this process reads it. If the file has a digest, the digest
must match. Anyone can compute a digest, and a file can crash the runtime or run for hours.
Therefore, a file is first opened in a child process with `limits`, unless it passed before
(`known_files`).
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from edge_effnet import digest, limits, pairs, reading
from edge_effnet.card import ModelCard
from edge_effnet.classifier import Classifier
from edge_effnet.errors import EdgeEffNetError, MissingExtra, ModelFileError, UsageError, require
from edge_effnet.files import missing
from edge_effnet.formats import companion_path, format_of, not_a_model
from edge_effnet.labels import default_labels
from edge_effnet.preprocess import Preprocess
from edge_effnet.runtime import known_files, operators
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices.device import AUTO, CPU
from edge_effnet.threads import check_threads, default_threads

#: Suffix -> module of the runtime, and the extra that it comes with.
_RUNTIMES = {
    ".tflite": ("ai_edge_litert.interpreter", "litert"),
    ".onnx": ("onnxruntime", "onnx"),
    ".xml": ("openvino", "openvino"),
}
_TORCH = 64 << 20  # as a file of this size: ExecuTorch loads torch, whose CUDA build takes 0.8 GB
#: Exit codes of the child process that opens a file for a check.
_PROBE_ERRORS: dict[int, type[EdgeEffNetError]] = {2: ModelFileError, 3: MissingExtra}


def open_model(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | None = None,
    precision: str = "f32",
    bare: Callable[[int], Preprocess] | None = None,
    allow_operators: Sequence[str] = (),
    device: str = CPU,
    device_options: Mapping[str, str] | None = None,
) -> Classifier:
    """Open an exported .tflite, .onnx, .xml or .pte file; on a Rockchip board also an .rknn file.

    On another device than the CPU, the file is first tried in a child process with a time limit,
    because drivers can crash or hang.

    Args:
        path: Path of the file. OpenVINO's .xml needs its .bin beside it.
        threads: Compute threads; by default one per core.
        preprocess: Preprocessing from a photo to the file's input. Replaces the card's
            preprocessing. A file without a card needs it, or ``bare``.
        labels: Names of the classes. Replace the card's labels.
        precision: OpenVINO's inference precision.
        bare: Function that returns the preprocessing for an input resolution in pixels. It replaces
            ``preprocess`` for a file without a card.
        allow_operators: Operators that image classifiers do without and that the file may have. An
            opened file is remembered, and needs this once.
        device: "cpu"; "gpu", "npu" or "edgetpu" for the first hardware device of that kind; "auto"
            for the fastest hardware device with the CPU's results; the exact name of a device, as
            'edge-effnet device' lists them; or the path of a TFLite delegate's library.
        device_options: Settings of the device's driver, by name.

    Returns:
        A `Classifier`, to be called with a photo.

    Raises:
        ModelFileError: The file is missing, truncated or altered, or has no card while
            ``preprocess`` is None.
        DeviceError: There is no such device, its driver crashes or hangs, or it runs none of the
            file's multiply-adds.
        MissingExtra: The runtime is not installed.
        UsageError: The suffix is unknown, or ``threads`` is below 1 or far above the
            number of cores.

    Example:
        >>> open_model("out/efficientnet-lite0-int8.tflite")("cat.jpg", top=3)  # doctest: +SKIP
    """
    path = Path(path)
    threads = default_threads() if threads is None else check_threads(threads)
    options = dict(device_options or {})
    if path.suffix.lower() == ".rknn":
        return _open_rknn(path, device, options, preprocess, labels)
    if device == CPU and options:
        raise UsageError(
            f"the CPU has no driver settings, but {', '.join(options)} was given",
            hint="select the accelerator that they are for with device=",
        )
    data, companion, sealed = read_for_device(path, device, allow_operators)
    device, choice = _working(path, device, options, threads)
    runner = create_runner(
        path, data, companion, threads, precision, device=device, device_options=options
    )
    text = runner.card_text()
    if not sealed:
        refuse_card(path, runner)
    if text is None:
        if preprocess is None and bare is not None:
            preprocess = bare(runner.input.size[0])
        card = _bare_card(path, runner, preprocess, labels)
    else:
        card = _card(text, preprocess, labels)
    _check_size(path, card, runner)
    return Classifier(runner, card, str(path), choice)


def _open_rknn(
    path: Path,
    device: str,
    options: Mapping[str, str],
    preprocess: Preprocess | None,
    labels: Sequence[str] | None,
) -> Classifier:
    """Open a file that is compiled for a Rockchip NPU, which alone can run it."""
    from edge_effnet.runtime.devices.rknn import DEVICE, RknnRunner

    if device not in (CPU, AUTO, DEVICE):
        raise UsageError(f"{path.name} is compiled for a Rockchip NPU and cannot run on {device!r}")
    runner = RknnRunner(path, options)
    card = _card(runner.card_text() or "", preprocess, labels)
    _check_size(path, card, runner)
    return Classifier(runner, card, str(path))


def _card(text: str, preprocess: Preprocess | None, labels: Sequence[str] | None) -> ModelCard:
    """The card of a file's JSON ``text``, with another preprocessing or labels if given."""
    card = ModelCard.from_json(text)
    if preprocess is not None:
        card = card.with_(preprocess=preprocess)
    return card if labels is None else card.with_(labels=tuple(labels))


def _check_size(path: Path, card: ModelCard, runner: Runner) -> None:
    """Raise `ModelFileError` if the card's preprocessing does not give the file's input size."""
    size, (height, width) = card.preprocess.size, runner.input.size
    if (height, width) != (size, size):
        raise ModelFileError(
            f"{path} takes {height} x {width} pixels but its preprocessing makes {size} x {size}",
            hint="give the size that the file takes in preprocess=Preprocess(...)",
        )


def read_for_device(
    path: Path, device: str, allow_operators: Sequence[str] = ()
) -> tuple[bytes, bytes, bool]:
    """As `read_safe_model_files`. The CPU cannot try a file that is compiled for the Edge TPU."""
    from edge_effnet.runtime import tflite_operators

    data, companion = read_model_files(path)
    if path.suffix.lower() != ".tflite" or not tflite_operators.is_for_edgetpu(data):
        return _checked(path, data, companion, allow_operators)
    if device in (CPU, AUTO):
        raise ModelFileError(
            f"{path} is compiled for the Coral Edge TPU, and the CPU cannot run it",
            hint="open it with device='edgetpu', or open the file that it was compiled from",
        )
    return data, companion, True  # the compiler rewrote the bytes, so the digest is the source's


def _working(
    path: Path, device: str, options: Mapping[str, str], threads: int
) -> tuple[str, tuple[str, ...]]:
    """The device after a trial of its driver, and for "auto" what was measured to select it.

    Raises:
        DeviceError: The device is missing, crashes or hangs, or runs no multiply-add of the file.
    """
    choice: tuple[str, ...] = ()
    if device == CPU:
        return device, choice
    from edge_effnet.runtime.devices import automatic, simulators, trial

    if device == AUTO:
        chosen = automatic.choose(path, options, threads)
        return chosen.device, chosen.trials
    simulators.prepare(device)  # takes longer than a trial may
    trial.attempt(path, device, options, threads).placement.require_use(str(path), device)
    return device, choice


def read_model_files(path: Path) -> tuple[bytes, bytes]:
    """Contents of a model file and of its companion file (the .bin of an .xml, else empty)."""
    if format_of(path) is None:
        if not path.exists():
            raise ModelFileError(missing(path))
        raise UsageError(not_a_model(path))
    weights = companion_path(path)
    try:
        if weights is None:
            data, beside = reading.read_bytes(path), b""
        else:
            data, beside = pairs.read(path, weights)
    except FileNotFoundError:
        if weights is not None and path.exists():
            raise ModelFileError(
                f"{path} is one of two files and {weights} is missing; copy both"
            ) from None
        raise ModelFileError(missing(path)) from None
    except OSError as error:
        raise ModelFileError(
            f"cannot read {error.filename}: {error.strerror}; give an exported model file"
        ) from error
    if not data:
        raise ModelFileError(f"{path} is empty; export it again")
    return data, beside


def read_safe_model_files(
    path: Path, allow_operators: Sequence[str] = ()
) -> tuple[bytes, bytes, bool]:
    """As `read_model_files`, for files that a runtime of this process opens next.

    Args:
        path: The file.
        allow_operators: As for `open_model`.

    Returns:
        The contents, and whether the file has a digest.

    Raises:
        ModelFileError: The file is missing or altered, or opening it crashes its runtime, takes too
            long or needs too much memory.
        MissingExtra: The runtime is not installed.
    """
    return _checked(path, *read_model_files(path), allow_operators)


def _checked(
    path: Path, data: bytes, companion: bytes, allow_operators: Sequence[str]
) -> tuple[bytes, bytes, bool]:
    """As `read_safe_model_files`, for files that were read."""
    stated = digest.verify(data, companion, str(path))
    identity = stated or digest.of(data, companion)
    if not known_files.is_known(identity):
        torch = _TORCH if path.suffix.lower() == ".pte" else 0
        _probe(path, identity, len(data) + len(companion) + torch, allow_operators)
        known_files.remember(identity)
    return data, companion, stated is not None


def create_runner(
    path: Path,
    data: bytes,
    companion: bytes,
    threads: int,
    precision: str = "f32",
    *,
    device: str = CPU,
    device_options: Mapping[str, str] | None = None,
) -> Runner:
    """Runner for a file by its suffix; ``data`` and ``companion`` must already be verified.

    The driver of another ``device`` than the CPU is loaded in this process.
    """
    suffix = path.suffix.lower()
    if device != CPU:
        from edge_effnet.runtime.devices.finding import open_here

        options = device_options or {}
        return open_here(str(path), data, device, options, threads, companion, precision)
    if suffix == ".tflite":
        from edge_effnet.runtime.litert import LiteRTRunner

        return LiteRTRunner(data, threads, str(path))
    if suffix == ".onnx":
        from edge_effnet.runtime.onnxruntime import OnnxRuntimeRunner

        return OnnxRuntimeRunner(data, threads, str(path))
    if suffix == ".pte":
        from edge_effnet.runtime.devices.executorch import ExecuTorchRunner

        return ExecuTorchRunner(data, threads, str(path))
    from edge_effnet.runtime.openvino import OpenVinoRunner

    return OpenVinoRunner(data, companion, threads, str(path), precision)


def refuse_card(path: Path, runner: Runner) -> None:
    """Raise `ModelFileError` for a file with a card but without a digest."""
    if runner.card_text() is not None:
        text = "carries a model card without its digest: it was altered after it was exported"
        raise ModelFileError(f"{path} {text}; copy it again or export it anew")


def _probe(path: Path, identity: str, size: int, allow_operators: Sequence[str]) -> None:
    """Open and run ``path`` once in a child process with `limits`, which a crash or a limit ends.

    Args:
        path: The file.
        identity: Its `digest.of`; the child must read the same bytes.
        size: Number of its bytes.
        allow_operators: As for `open_model`.

    Raises:
        ModelFileError: The file cannot be opened, or was changed in the meantime.
        MissingExtra: The runtime is not installed.
    """
    arguments = (str(path), identity, *allow_operators)
    try:
        done = limits.run(__name__, arguments, size, lambda: _import_runtime(path))
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be checked: no child process can be started ({error.strerror}); raise "
            "the limits of this process, or open the file on another machine"
        ) from error
    except subprocess.TimeoutExpired as late:
        raise ModelFileError(f"{path} was {limits.slowness(size, late)}") from None
    if done.returncode in _PROBE_ERRORS:
        raise _error_of(done.stderr.decode("utf-8", "replace"), _PROBE_ERRORS[done.returncode])
    if done.returncode != 0:
        raise ModelFileError(
            f"{path} crashes its runtime (exit {done.returncode}) or needs more than "
            f"{limits.memory_for(size) >> 20:,} MB: it is damaged; copy or export it again"
        )


def _import_runtime(path: Path) -> None:
    """Import the runtime of ``path``; the child process reports one that cannot be imported."""
    if path.suffix.lower() in _RUNTIMES:
        with suppress(Exception):  # missing native libraries raise various exceptions
            require(*_RUNTIMES[path.suffix.lower()])


def _probe_main(path: Path, identity: str, *allow_operators: str) -> int:
    try:
        data, companion = read_model_files(path)
        if (digest.verify(data, companion, str(path)) or digest.of(data, companion)) != identity:
            return _say(f"{path} was changed while it was opened; open it again", 2)
        operators.check(path, data, companion, frozenset(allow_operators))
        _blank_run(create_runner(path, data, companion, threads=1))
    except MissingExtra as error:
        return _say(error, 3)
    except EdgeEffNetError as error:
        return _say(error, 2)
    except MemoryError:
        return _say(f"{path} needs more memory than its size allows; do not use it", 2)
    except Exception as error:  # errors of runtimes have no other common base
        return _say(f"{path} cannot be run ({error}); copy it again or export it anew", 2)
    return 0


def _say(error: EdgeEffNetError | str, code: int) -> int:
    """Print an error for `_error_of`, as the last line of standard error; returns ``code``."""
    words = [error, ""] if isinstance(error, str) else [error.message, error.hint]
    print(json.dumps(words), file=sys.stderr)
    return code


def _error_of(output: str, kind: type[EdgeEffNetError]) -> EdgeEffNetError:
    """The error that `_say` printed."""
    message, hint = json.loads(output.strip().rpartition("\n")[2])
    return kind(" ".join(message.split()), hint=hint)


def _blank_run(runner: Runner) -> int:
    """Run a black image; returns the number of classes."""
    import numpy as np

    blank = np.zeros(runner.input.image_shape, runner.input.dtype)
    return int(runner.run(blank).shape[-1])


def _bare_card(
    path: Path, runner: Runner, preprocess: Preprocess | None, labels: Sequence[str] | None
) -> ModelCard:
    """A card for a file that has none, from explicit arguments only.

    An integer input without a scale is assumed to hold pixels.
    """
    if preprocess is None:
        raise ModelFileError(
            f"{path} carries no model card, so its preprocessing is unknown",
            hint="say it with preprocess=Preprocess(...)",
        )
    return ModelCard(
        variant="unknown",
        preprocess=preprocess,
        labels=default_labels(_blank_run(runner)) if labels is None else tuple(labels),
        input="normalised" if runner.input.dtype == "float32" or runner.input.scale else "pixels",
    )


if __name__ == "__main__":
    gc.disable()  # parsing makes many objects and no garbage; memory is limited
    sys.modules["openvino.tools"] = None  # type: ignore[assignment]  # its converter: 60 ms
    status = _probe_main(Path(sys.argv[1]), *sys.argv[2:])
    os._exit(status)  # a runtime takes its time to end
