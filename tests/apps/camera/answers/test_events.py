"""Answers passed on: real programs, a real server, and everything that can go wrong with them."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest

pytest.importorskip("cv2", reason="the camera needs the extra 'camera'")

from edge_effnet.apps.camera.answers import events, program, webhook
from edge_effnet.apps.camera.answers.events import ActionFailed, AnswerEvents, Event
from edge_effnet.apps.camera.answers.on_answer import action_of
from edge_effnet.errors import UsageError
from support import command
from support.waiting import until

CAT = Event(("cat",), 0.75, "a.tflite", '{"answer": {"label": "cat"}}')
UNSURE = Event((), 0.0, "a.tflite", '{"answer": null}')
NASTY = ("$(touch hacked)", "`touch hacked`", "; touch hacked", "a b 'c \"d", "%s {0}\n*")


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@dataclass
class Server:
    """Answers each POST with the next of ``codes``, then with 204."""

    codes: list[int] = field(default_factory=list)
    wait: float = 0.0
    location: str = ""
    bodies: list[object] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""


@contextmanager
def serving(**settings: object) -> Iterator[Server]:
    state = Server(**settings)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.bodies.append(json.loads(body))
            state.headers.append(dict(self.headers))
            time.sleep(state.wait)
            self.send_response(state.codes.pop(0) if state.codes else 204)
            if state.location:
                self.send_header("Location", state.location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}/lamp?key=secret"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def test_a_program_gets_the_answer_as_an_argument_and_in_variables(tmp_path: Path) -> None:
    out = tmp_path / "out"
    lamp = script(
        tmp_path / "my lamp.sh",
        f'printf "%s|" "$#" "$@" "$EDGE_EFFNET_ANSWER" "$EDGE_EFFNET_PROBABILITY" '
        f'"$EDGE_EFFNET_FILE" "$EDGE_EFFNET_JSON" >> "{out}"; echo >> "{out}"; cat >> "{out}"',
    )
    action = action_of(f"'{lamp}' --pin 17")
    action.run(CAT)
    action.run(UNSURE)
    assert out.read_text().splitlines() == [
        f"3|--pin|17|cat|cat|0.7500|a.tflite|{CAT.line}|",
        f"3|--pin|17|||0.0000|a.tflite|{UNSURE.line}|",
    ]


def test_a_program_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No shell expands the tilde of a quoted command."""
    monkeypatch.setenv("HOME", str(tmp_path))
    script(tmp_path / "lamp.sh", f'echo "$1 $2" > "{tmp_path}/out"')
    action_of("~/lamp.sh on").run(CAT)
    assert (tmp_path / "out").read_text() == "on cat\n"


@pytest.mark.parametrize("label", NASTY)
def test_labels_are_never_read_by_a_shell(
    label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path / "save.sh", 'printf "%s" "$1" > out; printf "%s" "$EDGE_EFFNET_ANSWER" > env')
    action_of("./save.sh").run(Event((label, "b"), 0.5, "a", "{}"))
    assert (tmp_path / "out").read_text() == label
    assert (tmp_path / "env").read_text() == f"{label}\nb"
    assert command.contents(tmp_path) == ["env", "out", "save.sh"]


def test_labels_that_would_be_options_are_refused() -> None:
    action = action_of("cat")
    action.check_labels(("cat", "a-b"))
    with pytest.raises(UsageError, match="'--help' would be an option to cat"):
        action.check_labels(("cat", "--help"))
    action_of("http://localhost/").check_labels(("--help",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the command is empty"),
        ("'", "cannot be read: No closing quotation"),
        ("no-such-program-here", "there is no program no-such-program-here"),
        ("lamp.sh", "there is no program lamp.sh; the one in this folder is ./lamp.sh"),
        ("./plain.txt on", r"type: chmod \+x ./plain.txt"),
        ("./folder", "is a folder"),
        ("echo a > b", "no shell reads the command, so '>' has no meaning"),
        ("mqtt://lamp/", "mqtt:// is not supported"),
        ("http://", "is no address"),
        ("http://lamp:port/", "is no address"),
        ("https://la mp/", "is no address"),
    ],
)
def test_impossible_actions_are_refused(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path / "lamp.sh", "")
    (tmp_path / "plain.txt").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=message):
        action_of(text)


def test_a_failing_program_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing = script(tmp_path / "fail.sh", "echo first >&2; echo 'no GPIO 99' >&2; exit 3")
    with pytest.raises(ActionFailed, match=r"ended with exit code 3 \(no GPIO 99\)"):
        action_of(str(failing)).run(CAT)
    long = script(tmp_path / "long.sh", "seq 2000 >&2; echo 'the end' >&2; exit 3")
    with pytest.raises(ActionFailed, match=r"exit code 3 \(the end\)"):
        action_of(str(long)).run(CAT)
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"\x7fELFnonsense")
    garbage.chmod(0o755)
    with pytest.raises(ActionFailed, match="cannot be run: Exec format error"):
        action_of(str(garbage)).run(CAT)
    monkeypatch.setattr(program, "TIMEOUT", 0.3)
    began = time.monotonic()
    with pytest.raises(ActionFailed, match=r"took more than 0\.3 s"):
        action_of(str(script(tmp_path / "hang.sh", "sleep 60 & wait"))).run(CAT)
    assert time.monotonic() - began < 10


def test_a_url_gets_the_line_as_json() -> None:
    with serving() as server:
        action = action_of(server.url.replace("127.0.0.1", "me:p%40ss@127.0.0.1"))
        action.run(CAT)
    assert server.bodies == [json.loads(CAT.line)]
    assert server.headers[0]["Content-Type"] == "application/json"
    assert server.headers[0]["Authorization"] == "Basic bWU6cEBzcw=="
    assert "p%40ss" not in action.name
    assert "secret" not in action.name


def test_a_busy_server_is_asked_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "WAITS", (0.01, 0.02))
    with serving(codes=[503, 500]) as server:
        action_of(server.url).run(CAT)
        assert len(server.bodies) == 3
    with serving(codes=[503] * 9) as server:
        with pytest.raises(ActionFailed, match="fails: 503 Service Unavailable"):
            action_of(server.url).run(CAT)
        assert len(server.bodies) == 3
    with serving(codes=[404]) as server:
        with pytest.raises(ActionFailed, match="refuses the answer: 404 Not Found"):
            action_of(server.url).run(CAT)
        assert len(server.bodies) == 1
    with (
        serving(codes=[301], location="http://elsewhere/x?key=secret") as server,
        pytest.raises(ActionFailed, match="redirects to http://elsewhere/x: give that"),
    ):
        action_of(server.url).run(CAT)


def test_servers_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "WAITS", (0.01,))
    monkeypatch.setattr(webhook, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}/"
        with pytest.raises(ActionFailed, match=r"does not respond within 0\.2 s"):
            action_of(address).run(CAT)
    with pytest.raises(ActionFailed, match="refuses the connection: no server listens there"):
        action_of(address).run(CAT)
    with pytest.raises(ActionFailed, match="cannot be reached"):
        action_of("http://no-such-host.invalid/").run(CAT)


class Recorded:
    """An action that keeps its events, and takes its time or fails."""

    name = "recorded"

    def __init__(self, run: Callable[[Event], None] = lambda event: None) -> None:
        self.events: list[Event] = []
        self._run = run
        self.cancelled = threading.Event()

    def check_labels(self, labels: tuple[str, ...]) -> None:
        pass

    def run(self, event: Event) -> None:
        self.events.append(event)
        self._run(event)

    def cancel(self) -> None:
        self.cancelled.set()


def sent(action: Recorded, answers: str, pause: float = 0.0) -> tuple[AnswerEvents, list[str]]:
    """The notes of events for single-letter ``answers``, ``-`` for unsure; closed at the end."""
    notes: list[str] = []
    passing = AnswerEvents(action, notes.append)
    for answer in answers:
        passing.put(event(answer))
        time.sleep(pause)
    passing.close()
    return passing, notes


def handled(action: Recorded, answers: str) -> tuple[AnswerEvents, list[str]]:
    """`sent`, each answer after the action has run for the one before."""
    notes: list[str] = []
    passing = AnswerEvents(action, notes.append)
    for number, answer in enumerate(answers):
        passing.put(event(answer))
        changes = 1 + sum(a != b for a, b in pairwise(answers[: number + 1]))
        until("the action", lambda n=changes: passing.done + passing.failed >= n)
    passing.close()
    return passing, notes


def event(answer: str) -> Event:
    return Event((answer,) if answer != "-" else (), 0.5, "a", "{}")


def labels(action: Recorded) -> str:
    return "".join("".join(event.labels) or "-" for event in action.events)


def test_only_changes_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "INTERVAL", 0.0)
    action = Recorded()
    handled(action, "---aaab--bb")
    assert labels(action) == "-ab-b"


def test_a_slow_action_holds_up_nobody_and_gets_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "INTERVAL", 0.0)
    ending = threading.Event()
    action = Recorded(lambda event: ending.wait(60))
    passing = AnswerEvents(action, print)
    passing.put(event("a"))
    until("the action", lambda: labels(action) == "a")
    for answer in "bcdbcdbce":  # would wait for ever, if for the action
        passing.put(event(answer))
    ending.set()
    passing.close()
    assert labels(action) == "ae"
    assert passing.as_json() == {"action": "recorded", "done": 2, "failed": 0}


def test_an_answer_that_comes_back_meanwhile_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "INTERVAL", 0.0)
    ending = threading.Event()
    action = Recorded(lambda event: ending.wait(60))
    passing = AnswerEvents(action, print)
    passing.put(event("a"))
    until("the action", lambda: labels(action) == "a")
    passing.put(event("b"))
    passing.put(event("a"))
    ending.set()
    passing.close()
    assert labels(action) == "a"


def test_a_flickering_answer_floods_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "INTERVAL", 0.2)
    action = Recorded()
    began = time.monotonic()
    sent(action, "ab" * 20, pause=0.02)  # at least 0.8 s
    assert 2 <= len(action.events) <= (time.monotonic() - began) / events.INTERVAL + 2


def test_each_reason_of_failure_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "INTERVAL", 0.0)

    def fail(event: Event) -> None:
        raise ActionFailed("burns" if event.labels == ("c",) else "is broken")

    passing, notes = handled(Recorded(fail), "ababcab")
    assert [note.split(";")[0] for note in notes] == [
        "on-answer: recorded is broken",
        "on-answer: recorded burns",
    ]
    assert passing.as_json()["failed"] == 7


def test_an_action_that_never_ends_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 0.2)
    action = Recorded()

    def hang(event: Event) -> None:
        action.cancelled.wait(30)
        raise ActionFailed("was ended by signal 9")

    action._run = hang
    began = time.monotonic()
    passing, notes = sent(action, "a")
    assert time.monotonic() - began < 5
    (note,) = notes
    assert "recorded was ended: it took more than 0.2 s" in note
    assert passing.as_json() == {"action": "recorded", "done": 0, "failed": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_camera_that_is_killed_leaves_no_program_behind(
    number: signal.Signals, tmp_path: Path
) -> None:
    lamp = script(tmp_path / "lamp.sh", f'echo $$ > "{tmp_path}/pid"; sleep 60 & wait')
    words = ("camera", command.file("int8", ".tflite"), "--source", command.photos(), "--loop",
             "--preview", "none", "--on-answer", lamp)  # fmt: skip
    process = subprocess.Popen(
        [str(word) for word in (command.SCRIPT, *words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    limit = time.monotonic() + 300
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < limit
        time.sleep(0.05)
    process.send_signal(number)
    out, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert "0 done, 1 failed" in out
    assert f"{lamp} was ended: it took more than 3 s at the end" in errors
    assert "Traceback" not in errors
    group = (tmp_path / "pid").read_text().strip()
    states = subprocess.run(["ps", "-o", "stat=", "-g", group], capture_output=True, text=True)
    assert not [state for state in states.stdout.split() if not state.startswith("Z")]
