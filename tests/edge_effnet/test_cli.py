"""The command line: imports, help, usage errors, JSON and pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edge_effnet.commands import COMMANDS, GROUPS
from edge_effnet.variants import VARIANTS
from edge_effnet.version import VERSION
from support import command
from support.command import call, contents, done, file, needs_runtimes, photos, refused, run

HEAVY = {
    *("ai_edge_litert", "cv2", "flatbuffers", "matplotlib", "nncf", "onnx", "onnxruntime"),
    *("openvino", "scipy", "tensorflow", "tflite", "torch"),
}


def imported(code: str) -> set[str]:
    """The top-level modules that are loaded after ``code`` ran in a process of its own."""
    shown = "import sys; print('\\n' + '\\n'.join({name.split('.')[0] for name in sys.modules}))"
    ended = f"try:\n  {code}\nexcept SystemExit: pass\n{shown}"
    result = subprocess.run([sys.executable, "-c", ended], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.splitlines())


def test_importing_the_package_loads_next_to_nothing() -> None:
    loaded = imported("import edge_effnet")
    assert "edge_effnet" in loaded
    assert not loaded & (HEAVY | {"numpy", "PIL", "rich", "click", "safetensors"})


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["export", "--help"], ["list"]])
def test_what_is_quick_loads_no_numpy(arguments: list[str]) -> None:
    loaded = imported(f"from edge_effnet import cli; cli.main({arguments!r})")
    assert "click" in loaded
    assert not loaded & (HEAVY | {"numpy", "PIL", "safetensors"})


def test_names_of_the_package() -> None:
    import edge_effnet

    for name in edge_effnet.__all__:
        assert getattr(edge_effnet, name) is not None
    assert edge_effnet.__version__ == VERSION
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = edge_effnet.nothing


def test_help_names_every_command() -> None:
    text = done(call("--help"))
    listed: dict[str, list[str]] = {}
    for section in text.split("\n\n"):
        heading, *lines = section.splitlines()
        listed[heading.removesuffix(":")] = [line.split()[0] for line in lines if line]
    assert {heading: listed[heading] for heading in GROUPS} == {
        heading: list(group) for heading, group in GROUPS.items()
    }
    assert done(call()) == text == done(call("-h"))
    for name in COMMANDS:
        assert f"Usage: edge-effnet {name}" in done(call(name, "--help"))
    assert done(call("--version")).split()[-1] == VERSION


def test_usage_errors_are_one_line() -> None:
    assert refused(call("nope")) == "no such command 'nope'; see 'edge-effnet --help'"
    assert refused(call("exprot")) == (
        "no such command 'exprot', did you mean 'export'? see 'edge-effnet --help'"
    )
    assert "--json? see 'edge-effnet list --help'" in refused(call("list", "--jsn"))
    assert refused(call("export")) == (
        "Missing argument 'VARIANT|CHECKPOINT'; see 'edge-effnet export --help'"
    )
    assert "no such option" in refused(call("list", "--nope"))
    assert "'--json' requires an argument" in refused(call("list", "--json"))


# JSON


@needs_runtimes
def test_pure_json_on_standard_output(tmp_path: Path) -> None:
    models = [file("fp32", ".tflite"), file("int8", ".xml")]
    for arguments in (
        ("list",),
        ("info", "lite0"),
        ("classify", models[1], photos()),
        ("evaluate", *models, "--images", photos()),
        ("benchmark", models[0], "--runs", "2"),
        ("compare", models[0], "--images", photos(), "--runs", "1", "--out", tmp_path),
    ):
        result = run(*arguments, "--json", "-")
        json.loads(done(result))
        expected = f"report: {tmp_path}/report.html\n" if arguments[0] == "compare" else ""
        # A busy machine is said in notes of their own.
        said = [line for line in result.stderr.splitlines(True) if not line.startswith("note: ")]
        assert "".join(said) == expected


def test_json_into_a_new_folder_and_beside_the_table(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b c" / "liste é.json"
    table = done(call("list", "--json", target))
    assert "efficientnet-lite0" in table
    assert len(json.loads(target.read_text())) == len(VARIANTS)
    assert contents(tmp_path) == ["a/b c/liste é.json"]


def test_json_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    message = refused(run("info", "lite0", "--json", tmp_path / "file" / "x.json"))
    assert "cannot" in message
    assert (tmp_path / "file").read_text() == "mine"
    for special in (tmp_path, "/dev/null", "/dev/full"):
        assert f"--json {special} is not a file" in refused(call("list", "--json", special))
    assert Path("/dev/null").is_char_device()
    assert json.loads(done(run("list", "--json", "/dev/stdout")))
    assert Path("/dev/stdout").is_symlink()


# Pipes


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{command.SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["list", "list --json -", "info lite0"])
def test_a_reader_that_goes_away(arguments: str, unbuffered: str, tmp_path: Path) -> None:
    for reader in ("head -1", "true", "(exec <&-; sleep 0.01)"):
        line = f"PYTHONUNBUFFERED={unbuffered} edge-effnet {arguments} | {reader}"
        result = shell(line, tmp_path)
        assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("arguments", ["list", "list --json -", "info lite0"])
def test_standard_output_on_a_full_disk(arguments: str, tmp_path: Path) -> None:
    result = shell(f"edge-effnet {arguments} > /dev/full", tmp_path)
    assert "cannot write to standard output: No space left" in refused(result)


def test_ctrl_c_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """click.Abort is a RuntimeError, which other exceptions are caught as."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise click.Abort

    monkeypatch.setattr("edge_effnet.cli.cli.main", interrupted)
    ended = call("list")
    assert ended.returncode == 130
    assert ended.stderr.strip() == "interrupted: nothing half-written was left"


def test_ctrl_c_before_the_command_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge_effnet.cli.system_limits.outlive", interrupted)
    ended = call("list")
    assert (ended.returncode, ended.stdout) == (130, "")
    assert ended.stderr.strip() == "interrupted: nothing half-written was left"
