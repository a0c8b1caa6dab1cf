"""Outcome of reading one mutant."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

#: opens, refused: fine. died: the calling process ended. hang: more than `SECONDS`. memory: more
#: than `MEMORY`. traceback: an exception of no class of edge_effnet.errors. differs: the logits in
#: the child process are others than in the calling process.
Word = Literal["opens", "refused", "died", "hang", "memory", "traceback", "differs"]
FINE: tuple[Word, ...] = ("opens", "refused")
FAULTS: tuple[Word, ...] = ("died", "hang", "traceback", "memory", "differs")

SECONDS = 20.0
MEMORY = 1 << 30
_LONGEST = 2_000  # characters of a recorded message


@dataclass(frozen=True)
class Outcome:
    """Outcome of mutant ``number`` of ``kind``.

    Attributes:
        kind: Name of the kind of file.
        number: Number of the mutant; with the seed of the run, it determines the mutant.
        word: What happened.
        message: The error's message, or the traceback's end.
        seconds: Wall time of reading.
        memory: Peak memory of the calling process in bytes, while reading.
    """

    kind: str
    number: int
    word: Word
    message: str = ""
    seconds: float = 0.0
    memory: int = 0

    @property
    def is_fault(self) -> bool:
        """Whether this must not happen."""
        return self.word in FAULTS

    @property
    def fault(self) -> str:
        """The fault in a few words: its kind and the last line of the message."""
        last = self.message.strip().rpartition("\n")[2][:100]
        return f"{self.word}: {last}" if last else self.word

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps({**asdict(self), "message": self.message[-_LONGEST:]})

    @classmethod
    def from_line(cls, line: str) -> Outcome:
        """The outcome in a line of `to_line`."""
        return cls(**json.loads(line))
