from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_effnet.benchmarks.remote import measure, ssh
from edge_effnet.benchmarks.remote.device import describe
from edge_effnet.errors import DeviceError, UsageError
from support.command import call, done, exported, refused, run
from support.sshd import Server, serving

FILE = "tiny-lite-int8.onnx"
PYTHON = sys.executable


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving() as running:
        target = ssh.parse(running.url, str(running.config))
        try:
            target.run([PYTHON, "-c", "import numpy, PIL, onnxruntime"])
        except DeviceError as error:
            pytest.skip(f"the test's user cannot use this Python: {error}")
        yield running


def target_of(server: Server) -> ssh.Target:
    return ssh.parse(server.url, str(server.config))


def options(server: Server) -> tuple[str, ...]:
    return ("--host", server.url, "--ssh-config", str(server.config), "--python", PYTHON)


def test_benchmark_over_ssh(server: Server, tmp_path: Path) -> None:
    files = [exported() / FILE, exported() / "tiny-lite-fp32.xml"]
    out = tmp_path / "results.json"
    text = done(run("benchmark", *files, "--runs", 4, *options(server), "--json", out))
    assert "ONNX" in text
    content = json.loads(out.read_text())
    assert [record["file"] for record in content["records"]] == [str(file) for file in files]
    for record in content["records"]:
        assert record["error"] is None
        assert len(record["samples_ms"]) == 4
        assert record["end_to_end_ms"]["total"] > 0
    assert content["host"]["cpu"]
    assert content["conditions"]["seconds"] >= 0
    assert server.left_behind() == []


@pytest.mark.slow
def test_device_over_ssh_is_as_here(server: Server) -> None:
    there = json.loads(done(run("device", *options(server), "--json", "-")))
    here = describe()
    assert there["host"]["cpu"] == here["host"]["cpu"]
    assert there["runtimes"] == here["runtimes"]
    assert server.left_behind() == []


@pytest.mark.slow
def test_profile_over_ssh(server: Server, tmp_path: Path) -> None:
    """The layers are made and timed there; the profile predicts here; nothing stays behind."""
    for module in ("ai_edge_litert", "flatbuffers", "tflite"):
        pytest.importorskip(module, reason="the extra 'export'")
    out = tmp_path / "p.json"
    said = call(
        "profile", "--formats", "tflite", "--precisions", "int8", "--check", "lite0@96",
        "--out", out, *options(server), "--json", "-",
    )  # fmt: skip
    ((name, checked),) = json.loads(done(said))["checked"].items()
    assert name == "tflite int8 lite0@96"
    assert 0.05 < checked["predicted"] / checked["measured"] < 20  # the machine may be busy
    assert json.loads(out.read_text())["host"]["cpu"] == describe()["host"]["cpu"]
    assert "lite0" in done(call("predict", "lite0", "--latency-model", out))
    assert server.left_behind() == []


def test_profile_of_a_machine_that_lacks_what_it_takes(server: Server, tmp_path: Path) -> None:
    out = tmp_path / "p.json"
    message = refused(call("profile", "--threads", 999, "--out", out, *options(server)))
    assert "999 threads cannot be timed" in message
    nobody = ("--host", "ssh://nobody@127.0.0.1:9")
    assert "cannot reach 127.0.0.1" in refused(call("profile", "--out", out, *nobody))
    assert not out.exists()
    assert server.left_behind() == []


@pytest.mark.slow
def test_keep_leaves_the_folder_and_the_next_run_is_at_once(server: Server) -> None:
    target = target_of(server)
    first = measure.measure_on_device(target, [exported() / FILE], runs=3, python=PYTHON, keep=True)
    assert len(server.left_behind()) == 1
    again = measure.measure_on_device(target, [exported() / FILE], runs=3, python=PYTHON)
    assert again.records == first.records  # found, not measured again
    assert server.left_behind() == []


@pytest.mark.slow
def test_a_lost_connection_resumes(server: Server) -> None:
    target, cut = target_of(server), threading.Event()

    def lose(what: str, done: int, total: int) -> None:
        if not cut.is_set():
            cut.set()
            server.stop()
            threading.Timer(2.0, server.start).start()

    found = measure.measure_on_device(
        target, [exported() / FILE], runs=4000, python=PYTHON, progress=lose
    )
    assert cut.is_set()
    assert found.records[0].error is None
    assert len(found.records[0].samples_ms) == 4000
    assert server.left_behind() == []


@pytest.mark.slow
def test_a_device_that_dies_keeps_what_was_measured(server: Server) -> None:
    target = target_of(server)

    killed: list[Path] = []

    def die(what: str, done: int, total: int) -> None:
        if what == "timing" and not killed:  # the first results have come
            killed.extend(server.home.glob(".edge-effnet*"))
            os.killpg(int((killed[0] / "pid").read_text()), 9)

    with pytest.raises(measure.LostDeviceError, match="measuring process ended") as caught:
        measure.measure_on_device(
            target, [exported() / FILE], runs=300_000, python=PYTHON, progress=die
        )
    assert caught.value.partial is not None
    (record,) = caught.value.partial.records
    assert record.file == str(exported() / FILE)
    assert record.latency_ms is not None
    assert server.left_behind() == []


def test_an_unknown_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(server.config.read_text().replace("/known", "/nobody"))
    message = refused(
        run("device", "--host", server.url, "--ssh-config", config, "--python", PYTHON)
    )
    assert "host key is not known" in message


def test_a_changed_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    other = (server.folder / "client.pub").read_text().split()
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{server.port} {other[0]} {other[1]}\n")
    config = tmp_path / "config"
    config.write_text(server.config.read_text().replace(f"{server.folder}/known", str(known)))
    message = refused(run("device", "--host", server.url, "--ssh-config", config))
    assert "host key CHANGED" in message


def test_a_stranger_is_refused(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(server.config.read_text().replace(f"{server.folder}/client", "/nonexistent"))
    message = refused(run("device", "--host", server.url, "--ssh-config", config))
    assert "install a key" in message


def test_a_machine_without_python(server: Server) -> None:
    with pytest.raises(DeviceError, match="no-such-python"):
        measure.describe_device(target_of(server), "no-such-python")


def test_a_machine_without_numpy_or_space(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = f"{PYTHON} -S -I"  # no site-packages
    with pytest.raises(DeviceError, match="lacks numpy"):
        measure.describe_device(target_of(server), bare)
    monkeypatch.setattr(measure, "_FREE_MARGIN", 10**18)
    with pytest.raises(DeviceError, match="free some space"):
        measure.describe_device(target_of(server), PYTHON)
    assert server.left_behind() == []


def test_nothing_listens(server: Server) -> None:
    message = refused(run("device", "--host", "ssh://127.0.0.1:1", "--ssh-config", server.config))
    assert "nothing listens on that port" in message


@pytest.mark.parametrize(
    "text",
    ["", "pi", "http://pi", "ssh://", "ssh://-oProxyCommand=x", "ssh://pi:x", "ssh://pi/path",
     "ssh://a:secret@pi", "ssh://-l@pi", "ssh://pi:99999"],
)  # fmt: skip
def test_what_is_no_device(text: str) -> None:
    with pytest.raises(UsageError, match="is no device"):
        ssh.parse(text)
    assert "is no device" in refused(call("device", "--host", text))


@pytest.mark.parametrize(
    ("name", "message"),
    [("/dev/zero", "it is a device"), ("none", "No such file"), ("large", "larger than 1 MB")],
)
def test_ssh_configurations(tmp_path: Path, name: str, message: str) -> None:
    """ssh read /dev/zero into 20 GB of memory within a minute."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(UsageError, match=message):
        ssh.parse("ssh://pi", str(tmp_path / name))


def test_the_command_is_one_argument_for_a_shell() -> None:
    target = ssh.parse("ssh://pi@board:22")
    words = target.command(["python3", "-c", "print('a b'); x = $HOME"])
    assert words[-2:] == ["board", """python3 -c 'print('"'"'a b'"'"'); x = $HOME'"""]
    assert (target.user, target.port) == ("pi", 22)
