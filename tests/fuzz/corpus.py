"""Corpus: files that failed once, each with the outcome that it must have.

PYTHONPATH=.:tests python -m fuzz.corpus add FOLDER NAME   adds a folder of build/fuzz/faults
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fuzz.seeds import Seed

FOLDER = Path(__file__).with_name("corpus_files")
EXPECTED = FOLDER / "expected.json"
#: Record of a fault beside the files of its mutant.
RECORD = "outcome.json"


@dataclass(frozen=True)
class Entry:
    """One folder of the corpus.

    Attributes:
        name: ``<kind>/<what is wrong>``.
        files: Its files, the opened one first.
        outcome: opens or refused.
        fault: What the file did before.
    """

    name: str
    files: Seed
    outcome: str
    fault: str


@cache
def entries(kind: str) -> list[Entry]:
    """The entries of one kind, by name."""
    return [
        _entry(name, record)
        for name, record in sorted(expected().items())
        if name.partition("/")[0] == kind
    ]


@cache
def expected() -> dict[str, dict[str, Any]]:
    """Content of expected.json: entry -> opened file, outcome, fault."""
    content: dict[str, dict[str, Any]] = json.loads(EXPECTED.read_text())
    return content


def _entry(name: str, record: dict[str, Any]) -> Entry:
    folder, opened = FOLDER / name, record["opened"]
    names = [
        path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()
    ]
    names.sort(key=lambda each: each != opened)
    files = {each: (folder / each).read_bytes() for each in names}
    return Entry(name, files, record["outcome"], record["fault"])


def add(fault: Path, name: str) -> str:
    """Copy the folder ``fault`` of a run into the corpus as ``name``; returns today's outcome."""
    from fuzz import supervisor

    record = json.loads((fault / RECORD).read_text())
    entry = f"{record['kind']}/{name}"
    shutil.copytree(fault, FOLDER / entry, ignore=shutil.ignore_patterns(RECORD))
    content = dict(expected())
    content[entry] = {"opened": record["opened"], "outcome": "refused", "fault": record["fault"]}
    _write(content)
    number = [each.name for each in entries(record["kind"])].index(entry)
    (outcome,) = supervisor.run([[(record["kind"], number, number + 1)]], "corpus", 1)
    content[entry]["outcome"] = outcome.word
    _write(content)
    return f"{entry}: {outcome.word} {outcome.message}"


def _write(content: dict[str, dict[str, Any]]) -> None:
    EXPECTED.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    expected.cache_clear()
    entries.cache_clear()


if __name__ == "__main__":
    _, verb, *arguments = sys.argv
    if verb != "add" or len(arguments) != 2:
        sys.exit(__doc__)
    print(add(Path(arguments[0]), arguments[1]))
