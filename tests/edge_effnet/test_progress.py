"""Notes beside progress bars: a line of their own, whole."""

from __future__ import annotations

import io
import re
import time

import pytest

from edge_effnet.commands.terminal import note, progress
from edge_effnet.progress import describe
from support.waiting import until


class Terminal(io.TextIOWrapper):
    """Standard error as a terminal of 80 columns."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding="utf-8", write_through=True)

    def isatty(self) -> bool:
        return True

    def getvalue(self) -> str:
        return self.bytes.getvalue().decode()


def screen(text: str) -> list[str]:
    """The lines that a terminal shows after ``text``: the control sequences that rich writes."""
    lines, row, column = [""], 0, 0
    for piece in re.findall(r"\x1b\[[\d;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if piece == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif piece == "\r":
            column = 0
        elif piece.startswith("\x1b["):
            if piece.endswith("K"):
                lines[row] = ""
            elif piece.endswith("A"):
                row -= int(piece[2:-1] or 1)
        else:
            lines[row] = (
                lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
            )
            column += len(piece)
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("text", ["short", "long " * 40 + "end", "[bold] {3} C:\\x --flag 12"])
def test_a_note_beside_the_bars(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress() as report:
        report("read photos", 1, 2)
        note(text)
        shown = screen(terminal.getvalue())
        report("quantize weights", 1, 2)
        note("second")
    after = screen(terminal.getvalue())
    assert shown[0] == f"note: {text}"
    assert after[:2] == [f"note: {text}", "note: second"]
    assert not any("read photos" in line for line in after), "the bars go at the end"


def test_notes_without_bars(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as report:
        report("read photos", 1, 2)
        note("one")
    note("two, with labels=FILE")
    assert capsys.readouterr().err == "note: one\nnote: two, with --labels FILE\n"


def test_a_text_beside_the_bar_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")

    def line_of(task: str) -> str:
        return "".join(text for text in screen(terminal.getvalue()) if task in text)

    with progress() as report:
        for batch in range(1, 6):
            time.sleep(0.05)
            report("fine-tune", batch, 10)
            describe("fine-tune", f"epoch {batch}/10, loss 0.4{batch}, top-1 88.2 % [x]")
        until("the time left", lambda: re.search(r"loss 0\.45.*\d:\d\d$", line_of("fine-tune")))
        line = line_of("fine-tune")
    assert "5/10" in line
    assert "epoch 5/10, loss 0.45, top-1 88.2 % [x]" in line
    assert len(line) <= 80


def test_a_text_without_bars_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as report:
        report("fine-tune", 1, 2)
        describe("fine-tune", "loss 0.41")
    assert capsys.readouterr() == ("", "")
