"""Text of any origin -> text that a terminal shows as it is, and that is of bounded length.

Labels, names of layers and files, metadata and messages of runtimes come from strangers. On a
terminal, an escape sequence among them could move the cursor, rewrite earlier lines, set the
window's title or fill the clipboard.
"""

from __future__ import annotations

import re

#: Largest number of characters of a message, and how many of them are kept from its end.
LONGEST, _END = 4_000, 1_000
#: Control characters of C0 and C1 except tab and line feed, direction overrides (Unicode's
#: Bidi_Control), line and paragraph separators, lone surrogates, and the invisible tag characters.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_FEED = re.compile(r"\r?\n(?!  )")


def printable(text: str) -> str:
    r"""``text`` with each character that controls a terminal as ``\u001b``, the escape of JSON.

    JSON text stays the same JSON. Line feeds and tabs are kept.
    """
    return _UNPRINTABLE.sub(_escape, text)


def message(text: str) -> str:
    """`printable` of ``text``, shortened in the middle to about `LONGEST` characters.

    A line feed becomes a space unless an indented line follows (a list of this project), so that no
    name can add a line that looks like another message.
    """
    return printable(_LINE_FEED.sub(" ", _shortened(text)))


def line(text: str) -> str:
    """`message` of ``text`` with all line feeds escaped, for one line of a longer text."""
    return printable(_shortened(text)).replace("\n", "\\u000a")


def _shortened(text: str) -> str:
    if len(text) > LONGEST:
        omitted = len(text) - LONGEST
        return f"{text[: LONGEST - _END]} [{omitted:,} characters omitted] {text[-_END:]}"
    return text


def _escape(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
