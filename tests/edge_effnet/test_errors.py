"""Errors: builtin bases, message and hint, and the way across processes."""

from __future__ import annotations

import ast
import copy
import inspect
import pickle
import re
from pathlib import Path

import pytest

import edge_effnet
from edge_effnet import errors
from edge_effnet.benchmarks.remote.measure import LostDeviceError
from edge_effnet.commands.argument_names import OPTIONS
from edge_effnet.commands.vocabulary import WORDS

BASES = {
    "UsageError": ValueError,
    "MissingExtra": ImportError,
    "CheckpointError": OSError,
    "ImageError": OSError,
    "ModelFileError": OSError,
    "OutputError": OSError,
    "QuantizationError": RuntimeError,
    "CameraError": RuntimeError,
    "DeviceError": RuntimeError,
    "DownloadError": RuntimeError,
}
ALL = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.EdgeEffNetError)
]
ROOT = Path(edge_effnet.__file__).parent.parent


def test_every_error_has_a_builtin_base() -> None:
    assert {error.__name__ for error in ALL} == {*BASES, "EdgeEffNetError"}
    for name, base in BASES.items():
        assert issubclass(getattr(errors, name), base)
        with pytest.raises(base, match="no such thing"):
            raise getattr(errors, name)("no such thing")


@pytest.mark.parametrize("error", [*ALL, LostDeviceError])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_errors_cross_processes(error: type[errors.EdgeEffNetError], protocol: int) -> None:
    for hint in ("", "give weights=FILE"):
        raised = error("it is broken") if error is LostDeviceError else error("bad", hint=hint)
        for twin in (pickle.loads(pickle.dumps(raised, protocol)), copy.copy(raised)):
            assert type(twin) is error
            assert (twin.message, twin.hint, str(twin)) == (
                raised.message,
                raised.hint,
                str(raised),
            )


def test_the_text_is_the_message_and_the_hint() -> None:
    error = errors.CheckpointError("a.pth holds no weights", hint="give weights=FILE")
    assert str(error) == "a.pth holds no weights; give weights=FILE"
    assert (error.message, error.hint) == ("a.pth holds no weights", "give weights=FILE")
    assert error.errno is None
    assert error.filename is None


def test_errors_pass_writers_and_readers_unchanged(tmp_path: Path) -> None:
    """What is an OSError too must not be taken for the system's own."""
    from edge_effnet.calibration.samples.photos import _read
    from edge_effnet.files import replacing
    from edge_effnet.preprocess import Preprocess

    def write() -> None:
        with replacing(tmp_path / "file") as temporary:
            temporary.write_bytes(b"x")
            raise errors.ImageError("no picture")

    with pytest.raises(errors.ImageError, match=r"^no picture$"):
        write()
    assert not list(tmp_path.iterdir())
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    reason = _read(Preprocess(32, 1.0), tmp_path / "broken.jpg")
    assert isinstance(reason, str)
    assert reason.endswith("is not an image that Pillow can decode")


def raised_texts() -> list[tuple[str, str, str]]:
    """(place, part, text) of every message and hint of our errors outside the commands."""
    names, found = {error.__name__ for error in ALL}, []
    for folder in ("edge_effnet", "calibration", "converters", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "commands" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
                if not call or node.func.id not in names:
                    continue
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                found += [(place, "message", ast.unparse(each)) for each in node.args]
                found += [(place, "hint", ast.unparse(each.value)) for each in node.keywords]
    return found


def test_messages_name_no_option_of_the_command_line() -> None:
    assert len(raised_texts()) > 150
    # A whole command is another thing.
    commands = re.compile(r"'edge-effnet |dask worker|npm |'python -m ")
    wrong = [
        (place, part, text)
        for place, part, text in raised_texts()
        if re.search(r"(?<![\w-])--[a-z]", text) and not commands.search(text)
    ]
    assert not wrong


def test_hints_name_arguments_of_the_public_verbs() -> None:
    known = {
        "input_shape",  # Keras's
        "dynamo",  # torch.onnx.export's
        "budget_ms",
        "max_size_mb",
        "max_rss_mb",
        "host",
        "port",
        "workers",
        "preview",
        "min_confidence",
        "smoothing",
        "on_answer",
    }
    for verb in edge_effnet.__all__:
        value = getattr(edge_effnet, verb)
        if inspect.isfunction(value):
            known |= set(inspect.signature(value).parameters)
    arguments = {
        (place, name)
        for place, part, text in raised_texts()
        if part == "hint"
        for name in re.findall(r"(?<![\w./{])([a-z_]+)=", text)
    }
    assert len(arguments) > 20
    assert not {(place, name) for place, name in arguments if name not in known}
    options = {word.split("/")[0].lstrip("-").replace("-", "_") for word in WORDS}
    untold = {(place, name) for place, name in arguments if name in options - set(OPTIONS)}
    assert not untold, "the command line does not write these as its options"
