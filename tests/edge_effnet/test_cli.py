"""The command line: what it prints and where, in any terminal, pipe, folder and language."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edge_effnet.cli import cli
from edge_effnet.commands import COMMANDS, GROUPS
from edge_effnet.commands.options import without_weights
from edge_effnet.variants import VARIANTS
from edge_effnet.version import VERSION
from support import command
from support.command import (
    DESCRIBED,
    SUFFIXES,
    call,
    contents,
    done,
    exported,
    file,
    photos,
    refused,
    run,
)

HEAVY = {
    *("ai_edge_litert", "cv2", "flatbuffers", "matplotlib", "nncf", "onnx", "onnxruntime"),
    *("openvino", "scipy", "tensorflow", "tflite", "torch"),
}

needs_runtimes = pytest.mark.skipif(
    any(not command.installed(name) for name in ("openvino", "onnxruntime", "ai_edge_litert")),
    reason="exporting needs the extra 'export'",
)


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


# list and info


def test_list_as_json() -> None:
    rows = json.loads(done(call("list", "--json", "-")))
    assert [row["name"] for row in rows] == list(VARIANTS)
    lite0 = next(row for row in rows if row["short_name"] == "lite0")
    assert (lite0["params"], lite0["flops"], lite0["input_size"]) == (4652008, 385187552, 224)
    for row in rows:
        assert row["params"] > 4e6
        assert row["flops"] > 3e8
        assert row["published_source"]


def test_list_shows_whole_names_at_80_columns() -> None:
    lines = done(run("list")).splitlines()
    shown = [line.split()[0] for line in lines if "lite" in line]
    assert shown == [name for name in VARIANTS if "lite" in name]
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("columns", ["60", "72", "200"])
def test_list_in_other_widths(columns: str) -> None:
    text = done(run("list", env={"COLUMNS": columns}))
    assert max(len(line) for line in text.splitlines()) <= int(columns)
    assert "…" not in text
    assert "lite4" in text


@pytest.mark.parametrize(
    "env",
    [
        {"TERM": "dumb"},
        {"NO_COLOR": "1"},
        {"TERM": "dumb", "FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
    ],
)
def test_list_in_plain_terminals(env: dict[str, str]) -> None:
    text = done(run("list", env=env))
    assert "efficientnet-lite4" in text
    assert "\x1b[3" not in text
    if "PYTHONIOENCODING" in env:
        assert text.isascii()
        assert "\\u" not in text


def test_info_of_a_variant() -> None:
    text = done(call("info", "lite1"))
    assert text.startswith("efficientnet-lite1  (lite1)\n")
    assert "240 x 240 RGB" in text
    small, large = (
        json.loads(done(call("info", "lite0", *options, "--json", "-")))
        for options in (("--resolution", "96"), ())
    )
    assert (small["input_size"], large["input_size"]) == (96, 224)
    assert small["params"] == large["params"]
    assert small["flops"] < large["flops"] / 4
    assert "outside 32..2048" in refused(call("info", "lite0", "--resolution", "16"))


def test_info_of_what_is_neither_variant_nor_model(tmp_path: Path) -> None:
    assert "unknown variant 'lite'" in refused(call("info", "lite"))
    (tmp_path / "photo.jpg").write_bytes(b"")
    assert f"cannot read {tmp_path}: it is a folder" in refused(call("info", tmp_path))
    assert "photo.jpg" in refused(call("info", tmp_path / "photo.jpg"))
    assert "there is no file lite0.onnx" in refused(call("info", "lite0.onnx"))


@needs_runtimes
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_info_of_a_file(suffix: str) -> None:
    path = file("int8", suffix)
    text = done(call("info", path))
    assert text.splitlines()[:3] == [
        str(path),
        "  variant          tiny-lite, int8",
        "  input            64 x 64 RGB, pixels",
    ]
    assert "calibrated on    4 photos\n" in text
    assert "10: class 0, class 1, class 2, ..." in text
    told = json.loads(done(call("info", path, "--json", "-")))
    assert told["file"] == str(path)
    assert told["card"]["labels"] == [f"class {n}" for n in range(10)]
    assert told["runtime"]["name"]


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


# The verbs that need runtimes


@needs_runtimes
def test_classify(tmp_path: Path) -> None:
    path = file("int8", ".tflite")
    photo = photos() / "photo-0.jpg"
    lines = done(run("classify", path, photo, "--top", "3")).splitlines()
    assert lines[0] == str(photo)
    assert len(lines) == 4
    shares = [float(line.split("%")[0]) for line in lines[1:]]
    assert shares == sorted(shares, reverse=True)
    (answer,) = json.loads(done(run("classify", path, photo, "--top", "2", "--json", "-")))
    assert answer["file"] == str(photo)
    assert [list(entry) for entry in answer["top"]] == [["label", "probability"]] * 2
    assert f"{shares[0]:.1f}" == f"{100 * answer['top'][0]['probability']:.1f}"
    told = done(run("classify", path, photos(), "--json", tmp_path / "x.json"))
    assert len(told.splitlines()) == 4 * 6
    assert len(json.loads((tmp_path / "x.json").read_text())) == 4


@pytest.mark.slow
@needs_runtimes
def test_names_in_any_script_and_none(tmp_path: Path) -> None:
    """Spaces, other scripts, and bytes that are no text at all."""
    folder = tmp_path / "Mes modèles" / "型"
    command.copy_of(file("int8", ".xml"), folder / "net 1.xml")
    images = command.save_photos(folder / "фото", 1)
    (images / "photo-0.jpg").rename(images / os.fsdecode(b"bad-\xff name.jpg"))
    for env in ({}, {"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        result = run("classify", "net 1.xml", "фото", cwd=folder, env=env)
        assert "class" in done(result)
        assert "name.jpg" in result.stdout
    (answer,) = json.loads(done(run("classify", "net 1.xml", "фото", "--json", "-", cwd=folder)))
    assert os.fsencode(answer["file"]) == "фото/".encode() + b"bad-\xff name.jpg"
    told = json.loads(
        done(run("evaluate", "net 1.xml", "--images", "фото", "--json", "-", cwd=folder))
    )
    assert told["records"][0]["images"] == 1


@needs_runtimes
def test_evaluate_two_files(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"photo-{n}.jpg,{n},{'odd' if n % 2 else 'even'}" for n in range(4)]
    table.write_text("\n".join(["file,label,split", *rows]) + "\n")
    arguments = ("evaluate", file("fp32", ".onnx"), file("int8", ".tflite"), "--images", photos())
    text = done(run(*arguments, "--labels", table))
    assert "4 photos of" in text
    assert "TFLite int8" in text
    told = json.loads(done(run(*arguments, "--labels", table, "--split", "odd", "--json", "-")))
    reference, quantized = told["records"]
    assert (reference["images"], quantized["images"]) == (2, 2)
    assert reference["agreement"] == 1.0
    assert 0 <= quantized["agreement"] <= 1
    assert 0 <= quantized["top1"] <= 1
    assert quantized["variant"] == "tiny-lite"
    assert (quantized["format"], quantized["precision"]) == ("tflite", "int8")
    assert quantized["size_bytes"] == file("int8", ".tflite").stat().st_size
    options = ("--reference", file("fp32", ".onnx"), *DESCRIBED, "--crop", "0.5")
    other = json.loads(done(run(*arguments, *options, "--json", "-")))["records"]
    assert other[1]["reference"] == str(file("fp32", ".onnx"))


@needs_runtimes
def test_benchmark_two_files() -> None:
    result = run("benchmark", file("fp32", ".tflite"), file("int8", ".xml"), "--runs", "3")
    text = done(result)
    assert "latency at batch 1 on 1 thread(s)" in text
    assert "TFLite fp32" in text
    assert "OpenVINO int8" in text


@needs_runtimes
def test_one_bad_file_does_not_stop_the_timing_of_others(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    arguments = ("benchmark", tmp_path / "net.onnx", file("fp32", ".tflite"), "--runs", "1")
    bad, good = json.loads(done(run(*arguments, "--json", "-")))["records"]
    assert "net.onnx" in bad["error"]
    assert bad["latency_ms"] is None
    assert good["latency_ms"]["median"] > 0


def test_weights_beside_their_xml_are_skipped() -> None:
    paths = (
        "a/net.bin",
        "a/net.xml",
        "a/net.tflite",
        "b/net.bin",
        "b/NET.XML",
        "c.bin",
        "c-int8.xml",
    )
    assert without_weights(paths) == (
        *("a/net.xml", "a/net.tflite", "b/net.bin", "b/NET.XML", "c.bin", "c-int8.xml"),
    )


@pytest.mark.parametrize("verb", ["evaluate", "benchmark", "compare", "camera", "bundle"])
def test_commands_skip_weights_beside_their_xml(verb: str) -> None:
    needed = {"bundle": ["--board", "linux-aarch64"], "benchmark": [], "camera": []}
    arguments = ["out/net.bin", "out/net.xml", *needed.get(verb, ["--images", "photos"])]
    subcommand = cli.get_command(click.Context(cli), verb)
    assert subcommand is not None
    parsed = subcommand.make_context(verb, arguments).params
    assert parsed.get("files", parsed.get("paths")) == ("out/net.xml",)


@needs_runtimes
def test_camera_with_all_files_of_a_glob() -> None:
    """The shell's ``out/*int8*`` gives the .bin beside its .xml, which is no file of its own."""
    pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")
    files = sorted(exported().glob("*int8*"))
    models = [str(path) for path in files if path.suffix != ".bin"]
    assert len(files) == len(models) + 1
    options = ("--source", photos(), "--preview", "none", "--max-frames", 1, "--json", "-")
    told = json.loads(done(run("camera", *files, *options)))
    assert [model["file"] for model in told["models"]] == models


@needs_runtimes
def test_classify_with_both_files_of_openvino() -> None:
    """As a shell's ``net-int8.*`` gives them: the .bin comes first."""
    xml, photo = file("int8", ".xml"), photos() / "photo-0.jpg"
    alone = done(run("classify", xml, photo))
    assert done(run("classify", xml.with_suffix(".bin"), xml, photo)) == alone
    assert "net.bin is none of" in refused(run("classify", "net.bin", photo))


@pytest.mark.slow
@needs_runtimes
def test_compare_writes_the_report(tmp_path: Path) -> None:
    result = run("compare", command.exported(), "--images", photos(), "--runs", "1", cwd=tmp_path)
    assert done(result).splitlines()[-1] == "report: report/report.html"
    assert contents(tmp_path) == ["report/report.html", "report/results.json"]
    told = json.loads((tmp_path / "report" / "results.json").read_text())
    assert told["schema"] == 1
    assert len(told["records"]) == 6
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<html" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
