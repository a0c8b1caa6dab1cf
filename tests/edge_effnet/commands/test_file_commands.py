"""classify, evaluate, benchmark, compare and camera on exported files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest

from edge_effnet.cli import cli
from edge_effnet.commands.options import without_weights
from support import command
from support.command import (
    DESCRIBED,
    contents,
    done,
    exported,
    file,
    needs_runtimes,
    photos,
    refused,
    run,
)


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
        done(
            run(
                *("evaluate", "net 1.xml", "--images", "фото"),
                *("--reference", file("fp32", ".onnx"), "--json", "-"),
                cwd=folder,
            )
        )
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
    assert ".bin is none of" in refused(run("classify", xml.with_suffix(".bin"), photo))


@pytest.mark.slow
@needs_runtimes
def test_compare_writes_the_report(tmp_path: Path) -> None:
    result = run("compare", command.exported(), "--images", photos(), "--runs", "1", cwd=tmp_path)
    assert done(result).splitlines()[-1] == "report: report/report.html"
    assert contents(tmp_path) == ["report/report.html", "report/results.json"]
    told = json.loads((tmp_path / "report" / "results.json").read_text())
    assert told["schema"] == 3
    assert len(told["records"]) == 6
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<html" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
