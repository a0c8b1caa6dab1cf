"""The supervisor tells apart what ends a worker; mutants and seeds are deterministic."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fuzz import supervisor
from fuzz.outcome import Outcome
from support import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc and process groups")

#: A worker whose mutants 1 to 4 raise, end the process, hang, and take memory.
WORKER = """
import os, sys, time
from pathlib import Path
from fuzz import worker
from edge_effnet.errors import UsageError

def read(path):
    match int(path.name):
        case 1: raise LookupError("no such thing")
        case 2: os.abort()
        case 3: time.sleep(90)
        case 4: held = b"x" * (1200 << 20)
        case 5: raise UsageError("said in a sentence")
        case 6: sys.exit(3)

print("ready", flush=True)
kind, start, stop = sys.argv[2].split(":")
for number in range(int(start), int(stop)):
    print(worker.observe(kind, number, Path(str(number)), read).to_line(), flush=True)
"""


@pytest.fixture
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    popen = subprocess.Popen

    def start(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        return popen([command[0], str(script), *command[3:]], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(supervisor.subprocess, "Popen", start)
    monkeypatch.setattr(supervisor, "SECONDS", 1.0)
    monkeypatch.setattr(supervisor, "_GRACE", 14.0)  # 1.2 GB take a busy machine seconds


@pytest.mark.slow  # it waits twice for what hangs
@pytest.mark.usefixtures("fake_worker")
def test_what_happens_to_a_worker() -> None:
    outcomes = {o.number: o for o in supervisor.run([[("kind", 0, 8)]], "0", processes=1)}
    assert {number: outcome.word for number, outcome in outcomes.items()} == {
        0: "opens", 1: "traceback", 2: "died", 3: "hang", 4: "memory", 5: "refused", 6: "traceback",
        7: "opens",
    }  # fmt: skip
    assert "no such thing" in outcomes[1].message
    assert "exit -6" in outcomes[2].message
    assert outcomes[5].message == "said in a sentence"


@pytest.mark.usefixtures("fake_worker")
def test_nothing_begins_after_the_time() -> None:
    assert not list(supervisor.run([[("kind", 0, 8)]], "0", processes=1, until=0.0))


def test_batches_take_turns() -> None:
    jobs = supervisor.batches({"a": 5, "b": 2}, 2)
    assert jobs == [[("a", 0, 2)], [("b", 0, 2)], [("a", 2, 4)], [("a", 4, 5)]]


def test_an_outcome_survives_as_a_line() -> None:
    outcome = Outcome("kind", 3, "refused", "é \x1b \n", 0.5, 7)
    assert Outcome.from_line(outcome.to_line()) == outcome


def test_a_mutant_is_the_same_in_every_process() -> None:
    pytest.importorskip("h5py")
    code = """
import hashlib
from fuzz import tiny
tiny.install()
from fuzz import kinds
for kind in ("pickle-zip", "safetensors", "tensorflow", "hdf5", "png", "card", "photo-labels"):
    for number in range(5):
        for data in kinds.mutant(kind, number, 3).values():
            print(hashlib.sha256(data).hexdigest())
"""
    path = f"{ROOT}:{ROOT / 'tests'}"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=ROOT,
            env={"PYTHONPATH": path, "PYTHONHASHSEED": str(number)},
        ).stdout
        for number in range(2)
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    assert Counter(outputs[0].split()).most_common(1)[0][1] < 60
    assert len(hashlib.sha256().hexdigest()) == len(outputs[0].split()[0])
