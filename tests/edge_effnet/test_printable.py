"""Text for terminals: nothing controls the terminal, JSON stays JSON, messages are bounded."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.errors import UsageError
from edge_effnet.printable import LONGEST, line, message, printable

#: Any code points, with many control characters among them.
TEXTS = st.text(st.characters() | st.characters(categories=["Cc", "Cf", "Zl", "Zp", "Cs"]))
#: Categories of Unicode that a terminal obeys or hides; of Cf, joiners of emoji and scripts stay.
CONTROLS = {"Cc", "Zl", "Zp", "Cs"}


def controls(text: str) -> list[str]:
    return [
        each
        for each in text
        if (unicodedata.category(each) in CONTROLS and each not in "\n\t")
        or unicodedata.bidirectional(each) in {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI"}
    ]


@given(TEXTS)
def test_nothing_controls_the_terminal(text: str) -> None:
    assert not controls(printable(text))
    assert printable(printable(text)) == printable(text)
    printable(text).encode("utf-8")


@given(TEXTS)
def test_json_stays_the_same(text: str) -> None:
    for ascii_only in (True, False):
        written = json.dumps([text], ensure_ascii=ascii_only)
        assert json.loads(printable(written)) == json.loads(written)


@given(TEXTS, st.integers(1, 5))
def test_messages_are_bounded_and_one_line(text: str, repeats: int) -> None:
    text = text * repeats + "x" * LONGEST * (repeats - 1)
    shown = message(text)
    assert len(shown) <= 12 * (LONGEST + 40)
    assert all(part.startswith("  ") for part in shown.split("\n")[1:])
    assert "\n" not in line(text)
    error = UsageError(text, hint=text)
    assert not controls(str(error))


def test_the_beginning_and_the_end_are_kept() -> None:
    assert message("a" * LONGEST) == "a" * LONGEST
    long = message("begin" + "a" * 1_000_000 + "end")
    assert long.startswith("begina")
    assert long.endswith("aend")
    assert "[996,008 characters omitted]" in long


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
        ("\x9b31m", "\\u009b31m"),
        ("over\rwritten", "over\\u000dwritten"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\U000e0041", "\\udb40\\udc41"),
        ("Café, 犬, 👩\u200d🍳\ttab", "Café, 犬, 👩\u200d🍳\ttab"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    assert printable(text) == shown
